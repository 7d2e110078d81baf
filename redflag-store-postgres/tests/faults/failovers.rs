//! Failover: the primary is killed while it is written to, its standby takes over, and the store finds it by the same address.

use crate::subject::Subject;
use redflag_core::{
    conformance::{Findings, generate::Rng},
    store::Durability,
};
use redflag_faults::{Campaign, Cluster, Proxy, Signal, signal};

/// What brings a standby what its primary writes, while it stands still.
struct Stalled(u32);

impl Stalled {
    fn of(standby: &Cluster) -> Self {
        let processes = standby.processes();
        let receiver = processes.iter().find(|(_, does)| does.contains("walreceiver"));
        let (receiver, _) = receiver.unwrap_or_else(|| panic!("no receiver among {processes:?}"));
        signal(*receiver, Signal::STOP);
        Self(*receiver)
    }

    /// Ends it; what was on its way to the standby is gone.
    fn end(&self) {
        signal(self.0, Signal::TERM);
        signal(self.0, Signal::CONT);
    }
}

/// Kills the primary for good and lets the standby take over. Whoever was not under way goes on writing there.
fn fail_over(primary: &mut Cluster, standby: Cluster, stalled: Option<Stalled>, proxy: &Proxy) {
    primary.kill();
    stalled.iter().for_each(Stalled::end);
    standby.promote();
    proxy.lead_to(&standby.socket());
    *primary = standby;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synchronous_standby_takes_over_everything_acknowledged() {
    let test = "-p redflag-store-postgres --test faults a_synchronous_standby_takes_over_everything_acknowledged";
    let mut campaign = Campaign::new("PostgreSQL: failover to a synchronous standby", test, 4);
    let mut behind = 0;
    while let Some((seed, mut rng)) = campaign.seed() {
        let mut primary = Cluster::new(&[]);
        let proxy = Proxy::before(&primary.socket()).await;
        let mut subject = Subject::new(&proxy.url(), seed, Durability::Power).await;
        while !subject.witness.finished() && campaign.cycle() {
            let standby = primary.standby("standby");
            primary.synchronise("standby");
            let writing = subject.writing(40, &mut rng).await;
            // Now and then the standby falls behind first: what it has not got must not be acknowledged.
            let stalled = rng.chance(50).then(|| Stalled::of(&standby));
            behind += u32::from(stalled.is_some());
            fail_over(&mut primary, standby, stalled, &proxy);
            subject.ended(writing).await;
            subject.audit().await;
        }
        campaign.add(&subject.settle().await);
    }
    campaign.end(&format!("{behind} with a standby that had fallen behind"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_harness_sees_what_an_asynchronous_standby_had_not_got() {
    let mut found = Findings::default();
    for seed in 0..3 {
        let mut primary = Cluster::new(&[]);
        let proxy = Proxy::before(&primary.socket()).await;
        let mut subject = Subject::new(&proxy.url(), seed, Durability::Power).await;
        let standby = primary.standby("standby");
        let writing = subject.writing(100, &mut Rng::new(seed)).await;
        let stalled = Stalled::of(&standby);
        writing.wait_for(40).await;
        fail_over(&mut primary, standby, Some(stalled), &proxy);
        subject.ended(writing).await;
        subject.witness.audit(&subject.store).await.unwrap();
        found.add(subject.witness.findings());
        if found.lost > 0 {
            assert_eq!((found.torn, found.duplicates, found.wrong_answers), (0, 0, 0), "{found}");
            return;
        }
    }
    panic!("a standby that had fallen behind three times lost nothing: {found}");
}
