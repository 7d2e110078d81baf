//! Kills: the executor dies by SIGKILL before each system call that keeps something, and within the installation. Whatever was on
//! disk then, the effect comes about exactly once.
//!
//! strace brings the kills about, so that the program under test holds no code for them. The executor killed is this very test
//! binary, started again for [`executor_process`].

use crate::lab::*;
use redflag_agent::executor::{
    Executor,
    answer::{Found, Outcome},
};
use redflag_core::command::refusal::RefusalCode;
use redflag_faults::Disk;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, ExitStatus},
};

/// Where a process started for [`executor_process`] finds its executor.
const DIRECTORY: &str = "REDFLAG_LAB_DIRECTORY";

/// What happens to disk and ledger happens in one of these calls.
const CALLS: &[&str] = &["openat", "mkdir", "write", "pwrite64", "ftruncate", "fsync", "fdatasync", "rename", "flock"];

/// Not a test by itself: the executor that the others kill. Without a directory to work in it does nothing.
#[tokio::test]
async fn executor_process() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let envelope = fs::read(directory.join("envelope.json")).unwrap();
    let mut executor = Executor::open(options(directory), vec![Box::new(Host::new(directory))]).await.unwrap();
    executor.run(&envelope).await;
}

/// Lets an executor process handle the envelope in the lab's directory, behind `wrapper`.
fn execute(lab: &Lab, wrapper: &[&str]) -> ExitStatus {
    let own = std::env::current_exe().unwrap();
    let own = [own.to_str().unwrap(), "--exact", "kills::executor_process", "--test-threads=1"];
    let words = [wrapper, &own].concat();
    let output = Command::new(words[0]).args(&words[1..]).env(DIRECTORY, lab.path()).output();
    output.unwrap_or_else(|error| panic!("this test needs {}: apt-get install strace: {error}", words[0])).status
}

fn was_killed(status: ExitStatus) -> bool {
    assert!(status.success() || status.signal() == Some(9), "{status}");
    !status.success()
}

/// What the next executor says of the command, and that after a second command for the same package, if it takes one, the effect is
/// there exactly once.
async fn exactly_once(lab: &Lab, envelope: &[u8]) -> &'static str {
    let answer = lab.run(envelope).await;
    let (story, done) = match &answer.outcome {
        Outcome::Installed(_) => ("carried out only now", true),
        Outcome::Refused(refused) if refused.refusal.code == RefusalCode::Replayed => match refused.earlier.as_deref() {
            Some(Outcome::Installed(_)) => ("known as installed", true),
            Some(Outcome::Interrupted { found: Found::Done, .. }) => ("found as done", true),
            Some(Outcome::Interrupted { found: Found::NotDone, .. }) => ("found as not done", false),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(lab.host().ledger().len(), usize::from(done), "{story}: {answer:?}");
    let again = lab.run(&signed(&install(2, &["app"]))).await;
    assert_eq!(matches!(again.outcome, Outcome::Installed(_)), !done, "{story}: {again:?}");
    assert_eq!(lab.host().ledger(), ["app 2.0-1"]);
    assert_eq!(refusal(&lab.refuses(envelope).await), RefusalCode::Replayed);
    story
}

#[tokio::test]
async fn killed_before_any_system_call_that_keeps_something_the_effect_comes_about_once() {
    let mut stories: BTreeMap<&str, u32> = BTreeMap::new();
    for call in CALLS {
        for when in 1.. {
            let (lab, envelope) = (Lab::new(), signed(&install(1, &["app"])));
            fs::write(lab.path().join("envelope.json"), &envelope).unwrap();
            let inject = format!("inject={call}:signal=KILL:when={when}");
            let killed = was_killed(execute(&lab, &["strace", "-f", "-o", "/dev/null", "-e", &inject]));
            *stories.entry(exactly_once(&lab, &envelope).await).or_default() += 1;
            if !killed {
                break;
            }
        }
    }
    let told: Vec<_> = stories.keys().copied().collect();
    assert_eq!(told, ["carried out only now", "found as done", "found as not done", "known as installed"], "{stories:?}");
    println!("{stories:?}");
}

#[tokio::test]
async fn killed_within_the_installation_what_is_installed_decides() {
    for (trouble, story) in [(Trouble::KilledBefore, "found as not done"), (Trouble::KilledAfter, "found as done")] {
        let (lab, envelope) = (Lab::new(), signed(&install(1, &["app"])));
        fs::write(lab.path().join("envelope.json"), &envelope).unwrap();
        lab.host().trouble(trouble);
        assert!(was_killed(execute(&lab, &["env"])));
        fs::remove_file(lab.path().join("trouble")).unwrap();
        assert_eq!(exactly_once(&lab, &envelope).await, story);
    }
}

#[tokio::test]
async fn killed_between_two_items_each_is_found_as_it_is() {
    let (lab, envelope) = (Lab::new(), signed(&install(1, &["app", "lib"])));
    fs::write(lab.path().join("envelope.json"), &envelope).unwrap();
    lab.host().trouble(Trouble::KilledBetween);
    assert!(was_killed(execute(&lab, &["env"])));
    let answer = lab.refuses(&envelope).await;
    let earlier = refused(&answer).earlier.as_deref();
    let Some(Outcome::Interrupted { found: Found::Unknown, items, .. }) = earlier else { panic!("{answer:?}") };
    assert_eq!(items.iter().map(|item| item.found).collect::<Vec<_>>(), [Found::Done, Found::NotDone]);
    assert_eq!(answer.notes[0], "the host was looked at", "the installer had its turn before");
    assert_eq!(lab.host().ledger(), ["app 2.0-1"]);
}

/// The power fails in the moment of the kill: what had not been synced is lost, and intent and counter had been.
#[tokio::test]
async fn after_a_power_cut_a_command_that_was_begun_is_known() {
    for (trouble, story) in [(Trouble::KilledBefore, "found as not done"), (Trouble::KilledAfter, "found as done")] {
        let (lab, envelope) = (Lab::new(), signed(&install(1, &["app"])));
        fs::write(lab.path().join("envelope.json"), &envelope).unwrap();
        lab.host().trouble(trouble);
        let disk = Disk::new(16);
        lab.keep_state_on(disk.path());
        assert!(was_killed(execute(&lab, &["env"])));
        let disk = disk.cut().restored();
        lab.keep_state_on(disk.path());
        fs::remove_file(lab.path().join("trouble")).unwrap();
        assert_eq!(exactly_once(&lab, &envelope).await, story);
    }
}

/// The package manager outlives the executor that started it: as long as it works, no other command is begun.
#[tokio::test]
async fn what_a_killed_executor_left_running_keeps_the_next_one_from_beginning() {
    let (lab, envelope) = (Lab::new(), signed(&install(1, &["app"])));
    fs::write(lab.path().join("envelope.json"), &envelope).unwrap();
    let [pipe, alive] = ["pipe", "alive"].map(|name| lab.path().join(name));
    redflag_faults::run("mkfifo", &[pipe.to_str().unwrap(), alive.to_str().unwrap()]);
    lab.host().trouble(Trouble::KilledAlone);
    assert!(was_killed(execute(&lab, &["env"])));
    let error = lab.open().await.unwrap_err();
    assert!(matches!(error, redflag_agent::Error::Busy { .. }), "{error}");
    let mut alive = fs::File::open(alive).unwrap();
    fs::write(&pipe, "go on\n").unwrap();
    assert_eq!(std::io::copy(&mut alive, &mut std::io::sink()).unwrap(), 0, "it has ended");
    fs::remove_file(lab.path().join("trouble")).unwrap();
    assert_eq!(exactly_once(&lab, &envelope).await, "found as not done");
}
