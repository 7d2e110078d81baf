//! What was acknowledged survives `kill -9`: what the kit, which lives in one process, cannot know.
//!
//! The test starts itself as a child that submits one batch after the other and says which were acknowledged.

use redflag_core::{
    Fleet,
    batch::Batch,
    conformance::{
        Lab,
        generate::{Rng, agent, at, batch_id, discovered, enrolment, event_id, offers},
    },
    event::Actor,
    feed::FeedPosition,
    store::{EventStore as _, StateStore as _},
};
use redflag_example_backend::RedbStore;
use std::{
    env,
    error::Error,
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

/// Set in the child: the file to write.
const FILE: &str = "REDFLAG_KILLED_CHILD_FILE";
const EVENTS: u64 = 20;
const KILLS: u64 = 5;

#[tokio::test]
async fn acknowledged_batches_survive_kill_9() {
    if let Some(file) = env::var_os(FILE) {
        submit_until_killed(Path::new(&file)).await.expect("the child writes until it is killed");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fleet.redb");
    let mut acknowledged = 0;
    for kill in 1..=KILLS {
        acknowledged = acknowledged_before_kill(&file, acknowledged + kill).expect("a child can be started and killed");
        let store = RedbStore::open(&file).expect("the file opens after its writer was killed");
        let head = store.agent(agent(0)).await.unwrap().expect("the agent's enrolment was acknowledged");
        // The commit under way when the child was killed may have been in time.
        assert!((acknowledged..=acknowledged + 1).contains(&head.batches), "{acknowledged} acknowledged, {} stored", head.batches);
        let log = store.replay(agent(0), 0, u32::MAX).await.unwrap();
        assert_eq!((log.len() as u64, head.events), (head.batches * EVENTS, head.batches * EVENTS), "no batch is torn");
        let feed = store.feed(FeedPosition::START, u32::MAX).await.unwrap();
        let positions: Vec<_> = feed.iter().map(|entry| (entry.position.0, entry.number)).collect();
        assert_eq!(positions, (1..=head.batches).map(|number| (number, number)).collect::<Vec<_>>(), "the feed has every batch once");
        let lab = Lab::over(Arc::new(store));
        lab.counts_agree().await.unwrap();
        assert_eq!(lab.fleet.check(agent(0)).await.unwrap(), [], "everything follows from the log");
    }
}

/// Starts a child, kills it once it said that batch `enough` was acknowledged; answers the last one it said so of.
fn acknowledged_before_kill(file: &Path, enough: u64) -> Result<u64, Box<dyn Error>> {
    let mut child = Command::new(env::current_exe()?)
        .args(["--exact", "acknowledged_batches_survive_kill_9", "--nocapture"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut last = 0;
    for line in BufReader::new(child.stdout.take().ok_or("the child has no output")?).lines() {
        // The harness may print the test's name before the first one.
        if let Some((_, number)) = line?.rsplit_once("acknowledged ") {
            last = number.parse()?;
            if last >= enough {
                child.kill()?;
            }
        }
    }
    child.wait()?;
    if last < enough { Err(format!("the child ended by itself after batch {last}").into()) } else { Ok(last) }
}

async fn submit_until_killed(file: &Path) -> Result<(), Box<dyn Error>> {
    let fleet = Fleet::new(RedbStore::open(file)?);
    fleet.enrol(enrolment(0)).await?;
    let head = fleet.store().agent(agent(0)).await?.ok_or("the agent was just enrolled")?;
    for number in head.batches + 1.. {
        let manager = format!("manager{number}");
        let offers = offers(&mut Rng::new(number), &manager, EVENTS as usize);
        let events = (number * EVENTS..).zip(offers).map(|(id, offer)| discovered(event_id(id), &manager, offer)).collect();
        let batch = Batch::new(agent(0), batch_id(number), Actor::Agent, events)?;
        let receipt = fleet.submit(batch, at(1)).await?;
        assert_eq!((receipt.number, u64::from(receipt.accepted)), (number, EVENTS));
        writeln!(io::stdout(), "acknowledged {number}")?;
    }
    Ok(())
}
