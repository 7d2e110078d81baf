//! What was seen of each agent, in the database: for servers that share one, so that two hosts of one key are found out although each comes
//! to a server of its own, as agents that wait for commands do.
//!
//! Each server tells now and then what came to it since: a number that came to two of them is proof, whoever had it first. That is one small
//! write for each agent and server in minutes, not one for each request. Servers tell by their own clocks; what is fresh for one and
//! forgotten by another would have to come by clocks ten minutes apart.

use super::replay::{Behind, Request, SECOND_MICROS, Seen, Sighting};
use redflag_core::{
    ids::AgentId,
    limits,
    store::{Expected, Record, Store, StoreError, StoreErrorKind},
};
use serde::{Deserialize, Serialize};

const NAMESPACE: &str = "signatures-seen";
/// Tries to tell beside other servers that tell of the same agent.
const TRIES_MAX: u32 = 100;

/// What is stored of one agent: of each request the differences to the one before, which are small numbers.
#[derive(Serialize, Deserialize)]
struct Stored {
    past: u64,
    behind: Behind,
    /// When it came, in seconds; its counter; when it was signed.
    seen: Vec<(i64, i64, i64)>,
}

/// Tells what came to this server since it told last, oldest first, all of which it took; whether all servers together have seen two hosts.
///
/// # Errors
/// When the store fails, or other servers tell of the agent all the time.
pub(super) async fn tell(store: &dyn Store, agent: AgentId, requests: &[Request]) -> Result<Sighting, StoreError> {
    let key = agent.to_string();
    for _ in 0..TRIES_MAX {
        let record = store.get(NAMESPACE, &key).await?;
        let mut seen = record.as_ref().map(read).transpose()?.unwrap_or_default();
        let mut sighting = Sighting::First;
        for Request { at, counter, created } in requests {
            // A replay at another server changed nothing, and what is too much here is refused where it comes.
            if seen.note(*counter, *created, at.div_euclid(SECOND_MICROS) * SECOND_MICROS) == Sighting::TwoHosts {
                sighting = Sighting::TwoHosts;
            }
        }
        let text = text_within_limits(&mut seen);
        let expected = record.map_or(Expected::Absent, |record| Expected::Revision(record.revision));
        if store.put(NAMESPACE, &key, &text, expected).await?.is_some() {
            return Ok(sighting);
        }
    }
    Err(StoreError::caused(StoreErrorKind::Unavailable, "other servers told of the agent all the time"))
}

/// Forgets an agent that was removed.
///
/// # Errors
/// When the store fails.
pub(crate) async fn forget(store: &dyn Store, agent: AgentId) -> Result<(), StoreError> {
    let key = agent.to_string();
    while let Some(record) = store.get(NAMESPACE, &key).await? {
        if store.delete(NAMESPACE, &key, record.revision).await? {
            break;
        }
    }
    Ok(())
}

/// Numbers far apart make a record long; the oldest are left out of one that would be too long.
fn text_within_limits(seen: &mut Seen) -> String {
    loop {
        let text = text(seen);
        if text.len() <= limits::RECORD_BYTES_MAX {
            return text;
        }
        let kept = seen.order.len() / 2;
        let order = seen.order.split_off(seen.order.len() - kept);
        *seen = Seen::kept(order, seen.past, seen.behind);
    }
}

fn text(seen: &Seen) -> String {
    let mut before = (0, 0, 0);
    let differences = seen.order.iter().map(|(at, (counter, created))| {
        let (at, counter, created) = (at / SECOND_MICROS, counter.cast_signed(), *created);
        let difference = (at.wrapping_sub(before.0), counter.wrapping_sub(before.1), created.wrapping_sub(before.2));
        before = (at, counter, created);
        difference
    });
    let stored = Stored { seen: differences.collect(), past: seen.past, behind: seen.behind };
    serde_json::to_string(&stored).expect("numbers always serialise")
}

fn read(record: &Record) -> Result<Seen, StoreError> {
    let Stored { past, behind, seen } =
        serde_json::from_str(&record.value).map_err(|error| StoreError::caused(StoreErrorKind::Corrupt, error))?;
    let mut before = (0_i64, 0_i64, 0_i64);
    let order = seen.into_iter().map(|(at, counter, created)| {
        before = (before.0.wrapping_add(at), before.1.wrapping_add(counter), before.2.wrapping_add(created));
        (before.0.wrapping_mul(SECOND_MICROS), (before.1.cast_unsigned(), before.2))
    });
    Ok(Seen::kept(order.collect(), past, behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use redflag_core::{MemoryStore, store::RecordStore as _};

    const AGENT: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";
    /// A moment in seconds.
    const NOON: i64 = 1_764_000_000;

    /// What two servers tell of one agent.
    #[derive(Default)]
    struct Told {
        store: MemoryStore,
        untold: [Vec<Request>; 2],
    }

    impl Told {
        fn comes(&mut self, server: usize, counter: u64, second: i64) {
            self.untold[server].push(Request { at: second * SECOND_MICROS, counter, created: second });
        }

        /// One server tells.
        async fn tells(&mut self, server: usize) -> Sighting {
            let requests = std::mem::take(&mut self.untold[server]);
            tell(&self.store, AGENT.parse().unwrap(), &requests).await.unwrap()
        }
    }

    /// With numbers that run side by side or far apart; the servers tell in turns, five minutes apart.
    #[tokio::test]
    async fn two_hosts_are_found_out_though_each_comes_to_a_server_of_its_own() {
        for apart in [0, 3, 7, 500, 100_000] {
            let (mut told, mut counter, mut found) = (Told::default(), 1_000, None);
            for round in 0..40 {
                for minute in 0..5 {
                    counter += 1;
                    let second = NOON + round * 300 + minute * 60;
                    told.comes(0, counter + apart, second);
                    told.comes(1, counter, second + 20);
                }
                let sightings = [told.tells(0).await, told.tells(1).await];
                found = found.or(sightings.contains(&Sighting::TwoHosts).then_some(round));
            }
            assert!(found.is_some_and(|round| round <= 20), "{apart} apart: {found:?}");
        }
    }

    /// Whatever server its requests come to, out of order, and however late a server tells; and what is replayed at the other one.
    #[tokio::test]
    async fn one_host_is_never_taken_for_two() {
        let mut told = Told::default();
        for number in 1..5_000_u64 {
            let server = usize::from(number % 7 < 3);
            told.comes(server, number ^ 1, NOON + number.cast_signed() * 40);
            if number % 11 == 0 {
                let replayed = told.untold[server][0];
                told.untold[1 - server].push(replayed);
            }
            for (server, every) in [(0, 5), (1, 13)] {
                if number % every == 0 {
                    assert_eq!(told.tells(server).await, Sighting::First, "{number}");
                }
            }
        }
    }

    /// Told one by one, two hosts in turns with rests between are found out exactly as in memory: what is stored reads back as it was.
    #[tokio::test]
    async fn what_is_stored_judges_as_what_was_never_written() {
        let (mut told, mut memory, mut second, mut found) = (Told::default(), Seen::default(), NOON, 0);
        for round in 0..400_u64 {
            second += [1, 40, 300, 0, 700][round as usize % 5];
            let counter = if round % 2 == 1 { 10 } else { 1_000 } + round;
            let in_memory = memory.note(counter, second, second * SECOND_MICROS);
            told.comes(0, counter, second);
            assert_eq!(told.tells(0).await, in_memory, "round {round}");
            found += u32::from(in_memory == Sighting::TwoHosts);
        }
        assert!(found > 1, "{found}");
        forget(&told.store, AGENT.parse().unwrap()).await.unwrap();
        assert!(told.store.list(NAMESPACE, None, 1).await.unwrap().is_empty(), "nothing of a removed agent stays");
    }

    #[tokio::test]
    async fn what_is_kept_of_an_agent_has_a_limit() {
        let mut told = Told::default();
        for number in 0..4_000_u64 {
            told.comes(0, number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 62, NOON);
        }
        told.tells(0).await;
        let (_, record) = told.store.list(NAMESPACE, None, 1).await.unwrap().remove(0);
        assert!((limits::RECORD_BYTES_MAX / 4..=limits::RECORD_BYTES_MAX).contains(&record.value.len()), "{}", record.value.len());
    }
}
