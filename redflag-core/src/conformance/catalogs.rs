//! Backends keep names once, under numbers of their own, and remember those numbers: what is remembered must be what is stored.

use super::{
    CheckResult, Failure, Harness, Lab,
    atomicity::discoveries,
    ensure, ensure_eq,
    generate::{agent, at, batch_id, discovered, enrolment, event_id, report_id, report_of, scope_of, text},
    lab::{batch_work, pool, report_work},
    queries::every_order_is_the_reference,
};
use crate::{
    MemoryStore,
    agent::Enrolment,
    offer::OfferInput,
    report::Report,
    store::{BatchStore, Mode, Store, StoreErrorKind},
    work::{Decide, Decision, UnitOfWork},
};

/// A batch whose manager, packages and candidates nobody named before.
fn fresh_batch(host: u32, number: u64) -> Result<UnitOfWork, Failure> {
    batch_work(agent(host), batch_id(number), discoveries(number, &format!("tool{number}"), 6, number * 100), at(1))
}

/// A report of the like.
fn fresh_report(host: u32, number: u64) -> UnitOfWork {
    let words = [format!("tool{number}"), format!("other{number}")];
    let scopes = words.iter().map(|word| scope_of(word, at(1), &pool(number, word, 6).1, &[])).collect();
    // Without a number of its own, so that the order of arrival counts.
    let report = Report { sequence: None, ..report_of(report_id(number), number, scopes) };
    report_work(agent(host), report, at(1), 4)
}

/// Runs `rehearsed` to no effect and `committed` for good; what can be read is what the memory store, which never heard of the
/// former, has.
struct Pair<'a> {
    store: &'a dyn Store,
    memory: MemoryStore,
}

impl Pair<'_> {
    async fn commit(&self, work: &UnitOfWork) -> CheckResult {
        let expected = self.memory.run(work, Mode::Commit).await?;
        ensure_eq!(self.store.run(work, Mode::Commit).await?, expected, "the answer to {work:?}");
        Ok(())
    }

    async fn same(&self, what: &str) -> CheckResult {
        let agents = [agent(0), agent(1)];
        let expected = super::transcript(&self.memory, &agents).await?;
        ensure_eq!(super::transcript(self.store, &agents).await?, expected, "what can be read after {what}");
        Ok(())
    }
}

async fn pair(store: &dyn Store) -> Result<Pair<'_>, Failure> {
    let pair = Pair { store, memory: MemoryStore::new() };
    for host in 0..2 {
        pair.commit(&UnitOfWork::EnrolAgent(enrolment(host))).await?;
    }
    Ok(pair)
}

pub(super) async fn names_of_a_rehearsal_are_forgotten(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 0).await?;
    let pair = pair(lab.store()).await?;
    let works = [
        [fresh_batch(0, 1)?, fresh_batch(0, 2)?, fresh_batch(1, 3)?],
        [fresh_batch(0, 4)?, fresh_report(0, 5), fresh_batch(1, 6)?],
        [fresh_report(1, 7), fresh_report(0, 8), fresh_report(1, 9)],
    ];
    for (round, [first, second, third]) in works.iter().enumerate() {
        for rehearsed in [first, second] {
            lab.store().run(rehearsed, Mode::Rehearse).await?;
        }
        // The first new names of the database are now others than those of the rehearsals.
        pair.commit(third).await?;
        lab.store().run(first, Mode::Rehearse).await?;
        pair.commit(second).await?;
        pair.commit(first).await?;
        pair.same(&format!("rehearsals of new names, round {round}")).await?;
    }
    let Pair { memory, .. } = pair;
    let lab = lab.reopened(harness).await;
    Pair { store: lab.store(), memory }.same("reopening").await?;
    lab.counts_agree().await
}

pub(super) async fn names_of_refused_work_are_forgotten(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 0).await?;
    let pair = pair(lab.store()).await?;
    pair.commit(&fresh_batch(0, 1)?).await?;
    pair.commit(&fresh_report(0, 2)).await?;
    let new_names = discoveries(8, "tool8", 6, 800);
    let decide = |batch: u64| {
        let (package, offer) = pool(9, "tool9", 1).1.remove(0);
        let decisions = vec![(package.clone(), Decision::Approve { offer_digest: offer.digest(&package), comment: None })];
        UnitOfWork::Decide(Decide { agent: agent(0), batch: batch_id(batch), operator: text("eve"), decisions, received_at: at(9) })
    };
    let refused = [
        fresh_batch(7, 10)?,
        fresh_report(7, 11),
        batch_work(agent(0), batch_id(1), new_names, at(9))?,
        report_work(agent(0), report_of(report_id(2), 99, vec![scope_of("tool7", at(1), &pool(7, "tool7", 6).1, &[])]), at(9), 100),
        decide(1),
        UnitOfWork::EnrolAgent(Enrolment { public_key: [9; 32], name: text("thief"), ..enrolment(0) }),
    ];
    for (round, work) in (0..).zip(&refused) {
        let kind = lab.store().run(work, Mode::Commit).await.err().map(|error| error.kind().clone());
        ensure!(matches!(kind, Some(StoreErrorKind::Refused(_))), "{work:?} was answered with {kind:?}");
        // A decision about what nobody knows is no refusal, and still leaves nothing.
        pair.commit(&decide(500 + round)).await?;
        pair.commit(&fresh_batch(1, 20 + round)?).await?;
        pair.commit(&fresh_report(0, 40 + round)).await?;
        pair.same(&format!("refused work, round {round}")).await?;
    }
    lab.counts_agree().await
}

/// Words whose order differs by collation, by what joins the parts of a key, and by what stands for a missing part.
const MANAGERS: [&str; 4] = ["m", "m-1", "m.1", "m1"];
const NAMES: [&str; 3] = ["zz", "Zz", "a-b"];
const ARCHES: [Option<&str>; 4] = [None, Some("_a"), Some("A"), Some("a")];

pub(super) async fn equal_names_are_told_apart_in_every_order(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 0).await?;
    // Three agents, two of one name; everything happens at one moment and is equally severe.
    for (host, name) in [(0, "host"), (1, "Host"), (2, "host")] {
        lab.fleet.enrol(Enrolment { name: text(name), ..enrolment(host) }).await?;
    }
    let keys = || MANAGERS.into_iter().flat_map(|word| NAMES.into_iter().flat_map(move |name| ARCHES.map(|arch| (word, name, arch))));
    for host in [2, 0, 1] {
        let mut events = Vec::new();
        for (number, (word, name, arch)) in (1..).zip(keys()) {
            let (package_name, arch) = (name.to_owned(), arch.map(str::to_owned));
            let offer = OfferInput { package_name, arch, available_version: "1".to_owned(), ..OfferInput::default() };
            events.push(discovered(event_id(number), word, offer));
        }
        // Not in the order in which they are to be listed.
        events.rotate_left(host as usize * 7 + 5);
        let receipt = lab.submit_for(agent(host), batch_id(1), events, at(1)).await?;
        ensure_eq!(receipt.accepted as usize, keys().count(), "packages that differ in one part of their key");
    }
    every_order_is_the_reference(&lab, &[5, 48, 500]).await?;
    lab.counts_agree().await
}
