//! What was seen of each agent, in the database: for servers that share one, so that two hosts of one key are found out and a captured
//! request passes once, whichever server each comes to.
//!
//! That is one small write for each request of an agent. Servers judge by their own clocks, as they do in memory: what is fresh for one and
//! forgotten by another would have to be noted by clocks ten minutes apart.

use super::replay::{Behind, SECOND_MICROS, Seen, Sighting};
use redflag_core::{
    ids::AgentId,
    limits,
    signing::SignatureParameters,
    store::{Expected, Record, Store, StoreError, StoreErrorKind},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

const NAMESPACE: &str = "signatures-seen";
/// Tries to note one request beside others of the same agent; an agent has few under way.
const TRIES_MAX: u32 = 100;

/// What is stored of one agent: of each request the differences to the one before, which are small numbers.
#[derive(Serialize, Deserialize)]
struct Stored {
    past: u64,
    behind: Behind,
    /// When it came, in seconds; its counter; when it was signed.
    seen: Vec<(i64, i64, i64)>,
}

/// Notes a verified signature that is fresh.
///
/// # Errors
/// When the store fails, or the agent has so many requests under way that none is noted.
pub(super) async fn note(store: &dyn Store, signature: &SignatureParameters, now: Timestamp) -> Result<Sighting, StoreError> {
    let key = signature.agent.to_string();
    let now = now.as_micros().div_euclid(SECOND_MICROS) * SECOND_MICROS;
    for _ in 0..TRIES_MAX {
        let record = store.get(NAMESPACE, &key).await?;
        let mut seen = record.as_ref().map(read).transpose()?.unwrap_or_default();
        let sighting = seen.note(signature.counter, signature.created, now);
        if matches!(sighting, Sighting::Replayed | Sighting::TooMany) {
            return Ok(sighting);
        }
        let text = text(&seen);
        if text.len() > limits::RECORD_BYTES_MAX {
            return Ok(Sighting::TooMany);
        }
        let expected = record.map_or(Expected::Absent, |record| Expected::Revision(record.revision));
        if store.put(NAMESPACE, &key, &text, expected).await?.is_some() {
            return Ok(sighting);
        }
    }
    Err(StoreError::caused(StoreErrorKind::Unavailable, "other requests of the agent were noted all the time"))
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

    fn signature(counter: u64, created: i64) -> SignatureParameters {
        SignatureParameters { created, agent: AGENT.parse().unwrap(), counter }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * SECOND_MICROS).unwrap()
    }

    /// Two hosts in turns, retries, replays and rests: what is read back judges as what was never written.
    #[tokio::test]
    async fn the_database_judges_as_memory_does() {
        let (store, mut memory) = (MemoryStore::new(), Seen::default());
        let (mut told, mut now) = ([0; 3], 1_000_000);
        for round in 0..400_u64 {
            now += [1, 40, 300, 0, 700][round as usize % 5];
            // One host, and a copy of it from a while ago.
            let copied = round % 2 == 1;
            let (counter, created) = (if copied { 10 } else { 1_000 } + round, now - [0, 30, -20][round as usize % 3]);
            let in_memory = memory.note(counter, created, now * SECOND_MICROS);
            assert_eq!(note(&store, &signature(counter, created), at(now)).await.unwrap(), in_memory, "round {round}");
            let again = memory.note(counter, created, now * SECOND_MICROS);
            assert_eq!(note(&store, &signature(counter, created), at(now)).await.unwrap(), again, "round {round}, once more");
            for sighting in [in_memory, again] {
                told[[Sighting::First, Sighting::Replayed, Sighting::TwoHosts].iter().position(|each| *each == sighting).unwrap()] += 1;
            }
        }
        assert!(told.iter().all(|count| *count > 1), "every verdict was compared: {told:?}");
        forget(&store, AGENT.parse().unwrap()).await.unwrap();
        assert!(store.list(NAMESPACE, None, 1).await.unwrap().is_empty(), "nothing of a removed agent stays");
    }

    /// As many requests as in memory fit, and numbers that make the record as long as they can are refused, not an error.
    #[tokio::test]
    async fn what_is_kept_of_an_agent_has_a_limit() {
        let (store, now) = (MemoryStore::new(), 1_764_000_000);
        let mut seen = Seen::default();
        while seen.note(seen.order.len() as u64 * 3 + 1, now + seen.order.len() as i64 % 7, now * SECOND_MICROS) == Sighting::First {}
        assert!(seen.order.len() == 4_096 && text(&seen).len() < limits::RECORD_BYTES_MAX, "{}", text(&seen).len());
        store.put(NAMESPACE, AGENT, &text(&seen), Expected::Absent).await.unwrap();
        assert_eq!(note(&store, &signature(99_999, now), at(now)).await.unwrap(), Sighting::TooMany);
        assert_eq!(note(&store, &signature(99_999, now + 601), at(now + 601)).await.unwrap(), Sighting::First);

        let mut wild = Seen::default();
        for number in 0..4_000_u64 {
            wild.note(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 62, now, now * SECOND_MICROS);
        }
        assert!(text(&wild).len() > limits::RECORD_BYTES_MAX);
        while text(&wild).len() > limits::RECORD_BYTES_MAX {
            wild.order.pop_back();
        }
        let store = MemoryStore::new();
        store.put(NAMESPACE, AGENT, &text(&wild), Expected::Absent).await.unwrap();
        assert_eq!(note(&store, &signature(3, now), at(now)).await.unwrap(), Sighting::TooMany);
    }
}
