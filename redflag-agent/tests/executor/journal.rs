//! The executor's files under damage, full disks and read-only ones: loud, without a crash loop, and never a command twice.

use crate::lab::*;
use redflag_agent::executor::answer::{Answer, Found, Outcome};
use redflag_core::command::refusal::RefusalCode;
use redflag_faults::Tmpfs;
use std::{fs, path::PathBuf};

/// A host that has carried out two commands, their envelopes, and the journal's file.
async fn lived() -> (Lab, [Vec<u8>; 2], PathBuf) {
    let lab = Lab::new();
    let envelopes = [signed(&install(1, &["app"])), signed(&install(2, &["lib"]))];
    for envelope in &envelopes {
        assert!(matches!(lab.run(envelope).await.outcome, Outcome::Installed(_)));
    }
    let journal = lab.state("journal/0000000000000001.segment");
    (lab, envelopes, journal)
}

/// Both commands are refused as seen, without effect, and a new one is carried out.
async fn goes_on(lab: &Lab, envelopes: &[Vec<u8>; 2]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for envelope in envelopes {
        let answer = lab.refuses(envelope).await;
        assert_eq!(refusal(&answer), RefusalCode::Replayed, "{answer:?}");
        answers.push(answer);
    }
    let next = lab.run(&signed(&install(3, &["extra"]))).await;
    assert!(matches!(next.outcome, Outcome::Installed(_)), "{next:?}");
    answers
}

#[tokio::test]
async fn every_kind_of_damage_to_the_journal_is_set_aside_and_no_command_comes_twice() {
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let damages: [(&str, Damage); 6] = [
        ("cut", |bytes| bytes[..bytes.len() - 3].to_vec()),
        ("cut to its header", |bytes| bytes[..8].to_vec()),
        ("empty", |_| Vec::new()),
        ("zero-filled tail", |mut bytes| {
            let half = bytes.len() / 2;
            bytes[half..].fill(0);
            bytes
        }),
        ("all zero", |bytes| vec![0; bytes.len()]),
        ("one bit", |mut bytes| {
            let at = bytes.len() / 3;
            bytes[at] ^= 4;
            bytes
        }),
    ];
    for (name, damage) in damages {
        let (lab, envelopes, journal) = lived().await;
        fs::write(&journal, damage(fs::read(&journal).unwrap())).unwrap();
        let first = goes_on(&lab, &envelopes).await.remove(0);
        let silent = matches!(name, "cut to its header" | "empty");
        assert_eq!(first.notes.is_empty(), silent, "{name}: a loss at a record's end cannot be seen, any other is told: {first:?}");
        let kept = fs::read_dir(lab.state("quarantine")).unwrap().count();
        assert_eq!(kept, usize::from(!silent), "{name}");
    }
}

#[tokio::test]
async fn a_damaged_counter_is_mended_from_the_journal() {
    for content in ["", "{", "{\"counter\":-1}", "\0\0\0\0"] {
        let (lab, envelopes, _) = lived().await;
        fs::write(lab.state("counter.json"), content).unwrap();
        let first = goes_on(&lab, &envelopes).await.remove(0);
        assert!(first.notes[0].contains("holds no counter"), "{first:?}");
    }
    let (lab, envelopes, _) = lived().await;
    fs::remove_file(lab.state("counter.json")).unwrap();
    goes_on(&lab, &envelopes).await;
}

#[tokio::test]
async fn with_both_damaged_no_command_is_taken_until_a_person_says_where_the_counter_stands() {
    let (lab, envelopes, journal) = lived().await;
    fs::write(lab.state("counter.json"), "").unwrap();
    fs::write(&journal, vec![0; 100]).unwrap();
    for _ in 0..2 {
        for envelope in envelopes.iter().chain([&signed(&install(3, &["extra"]))]) {
            let answer = lab.refuses(envelope).await;
            assert_eq!(refusal(&answer), RefusalCode::CounterUnknown);
            assert!(refused(&answer).refusal.message.contains("{\"counter\": N}"), "{answer:?}");
        }
    }
    fs::write(lab.state("counter.json"), "{\"counter\": 2}").unwrap();
    goes_on(&lab, &envelopes).await;
}

#[tokio::test]
async fn a_missing_counter_beside_a_damaged_journal_is_unknown_too() {
    let (lab, envelopes, journal) = lived().await;
    fs::remove_file(lab.state("counter.json")).unwrap();
    fs::write(&journal, vec![0; 100]).unwrap();
    for _ in 0..2 {
        assert_eq!(refusal(&lab.refuses(&envelopes[1]).await), RefusalCode::CounterUnknown);
    }
}

#[tokio::test]
async fn the_journal_stays_small_and_the_counter_outlives_what_it_forgets() {
    let lab = Lab::new();
    let mut executor = lab.open().await.unwrap();
    let first = signed(&install(1, &["app"]));
    executor.run(&first).await;
    let names: Vec<_> = (0..2_000).map(|i| format!("package{i:05}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let plan = |counter| {
        signed(&command(counter, redflag_core::command::payload::Action::Plan { items: names.iter().map(|name| item(name)).collect() }))
    };
    for counter in 2..12 {
        assert!(matches!(executor.run(&plan(counter)).await.outcome, Outcome::Planned { .. }));
    }
    drop(executor);
    assert_eq!(fs::read_dir(lab.state("journal")).unwrap().count(), 2);
    let answer = lab.refuses(&first).await;
    assert_eq!((refusal(&answer), refused(&answer).earlier.is_none()), (RefusalCode::Replayed, true));
}

#[tokio::test]
async fn on_a_full_or_read_only_disk_nothing_is_begun_and_later_all_goes_on() {
    let lab = Lab::new();
    let disk = Tmpfs::new(256);
    lab.keep_state_on(disk.path());
    let envelope = signed(&install(1, &["app"]));
    let mut executor = lab.open().await.unwrap();
    let ballast = disk.path().join("ballast");
    let full = fs::write(&ballast, vec![1; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let answer = executor.run(&envelope).await;
    assert_eq!(refusal(&answer), RefusalCode::NotReady, "{answer:?}");
    assert!(answer.to_json().contains("No space left"), "{answer:?}");
    fs::remove_file(&ballast).unwrap();
    // Its counter may be used up, so it is not carried out any more; the answer says that it never was.
    let again = executor.run(&envelope).await;
    let earlier = refused(&again).earlier.as_deref();
    assert!(matches!(earlier, Some(Outcome::Interrupted { found: Found::NotDone, .. })), "{again:?}");
    drop(executor);
    disk.protect(true);
    let error = lab.open().await.unwrap_err();
    assert!(redflag_agent::error::with_causes(&error).contains("Read-only"), "{error:?}");
    assert!(lab.host().ledger().is_empty());
    disk.protect(false);
    assert!(matches!(lab.run(&signed(&install(2, &["app"]))).await.outcome, Outcome::Installed(_)));
}

/// A disk that fills up while the package manager works: the answer is right, and the journal catches up.
#[tokio::test]
async fn a_result_that_could_not_be_kept_is_found_out_later() {
    let (lab, _, journal) = lived().await;
    let mut executor = lab.open().await.unwrap();
    let envelope = signed(&install(3, &["extra"]));
    assert!(matches!(executor.run(&envelope).await.outcome, Outcome::Installed(_)));
    drop(executor);
    // The last record is cut off, as if it had never been written.
    let bytes = fs::read(&journal).unwrap();
    let records = redflag_agent::segment::recover(&bytes).payloads;
    fs::write(&journal, &bytes[..redflag_agent::segment::record_start(records.last().unwrap())]).unwrap();
    let again = lab.refuses(&envelope).await;
    assert!(matches!(refused(&again).earlier.as_deref(), Some(Outcome::Interrupted { found: Found::Done, .. })), "{again:?}");
    assert!(again.notes[1].contains("found: done"), "{again:?}");
}
