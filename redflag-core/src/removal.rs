//! Removing an agent: everything of it goes, and what it was is noted (clause D2).

use crate::{
    Fleet,
    event::Actor,
    feed::Tombstone,
    ids::AgentId,
    limits,
    names::Text,
    past::{every_batch, stopped},
    store::{StoreError, StoreErrorKind},
    time::Timestamp,
    work::{Answer, Changes, Decided, Loaded, Needs, Refusal, UnitOfWork},
};
use serde::{Deserialize, Serialize};

/// Removes an agent. Its id is never enrolled again: a host that comes back gets a new one and inherits nothing.
#[derive(Clone, Debug)]
pub struct RemoveAgent {
    /// The agent.
    pub agent: AgentId,
    /// Who removes it.
    pub actor: Actor,
    /// In which words.
    pub reason: Option<Text>,
    /// When.
    pub removed_at: Timestamp,
    /// What will stand in the feed for each batch that has no tombstone yet, in order, up to the agent's newest.
    pub tombstones: Vec<Tombstone>,
}

/// What is kept of an agent that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedAgent {
    /// The agent.
    pub agent: AgentId,
    /// The name it had.
    pub name: Text,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// When it was removed.
    pub removed_at: Timestamp,
    /// Who removed it.
    pub actor: Actor,
    /// In which words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    /// Batches its stream had; the feed keeps the digest of each.
    pub batches: u64,
    /// Events its stream had.
    pub events: u64,
}

impl RemoveAgent {
    pub(crate) fn needs(&self) -> Needs {
        Needs::head(self.agent)
    }

    pub(crate) fn decide(&self, loaded: &Loaded) -> Result<Decided, Refusal> {
        if let Some(removed) = &loaded.removed {
            return Ok(Decided::nothing(Answer::Removed(removed.clone())));
        }
        let head = crate::work::known_agent(self.agent, loaded)?;
        let mut covered = head.pruned.batches;
        // Those that retention has pruned since the log was read have theirs.
        let follows = self.tombstones.iter().all(|tombstone| {
            covered += 1;
            tombstone.number == covered
        });
        if !follows || covered != head.batches {
            return Err(Refusal::AgentMoved { agent: self.agent });
        }
        let removed = RemovedAgent {
            agent: self.agent,
            name: head.name.clone(),
            enrolled_at: head.enrolled_at,
            removed_at: self.removed_at,
            actor: self.actor.clone(),
            reason: self.reason.clone(),
            batches: head.batches,
            events: head.events,
        };
        let changes = Changes { tombstones: self.tombstones.clone(), removed: Some(removed.clone()), ..Changes::default() };
        Ok(Decided { changes, answer: Answer::Removed(removed) })
    }
}

impl Fleet {
    /// Removes an agent with everything that is stored of it; answers what is kept. The same again answers the same.
    ///
    /// # Errors
    /// When the agent is unknown, it keeps reporting faster than its log can be read, or the store fails.
    pub async fn remove_agent(
        &self,
        agent: AgentId,
        actor: Actor,
        reason: Option<Text>,
        removed_at: Timestamp,
    ) -> Result<RemovedAgent, StoreError> {
        for _ in 0..limits::ATTEMPTS_MAX {
            let pruned = self.store().agent(agent).await?.map_or(0, |head| head.pruned.batches);
            let mut tombstones = Vec::new();
            every_batch(self.store(), agent, pruned, |record| {
                tombstones.push(Tombstone { number: record.receipt.number, digest: record.feed_digest() });
                Ok(())
            })
            .await?;
            let (actor, reason) = (actor.clone(), reason.clone());
            let work = UnitOfWork::RemoveAgent(RemoveAgent { agent, actor, reason, removed_at, tombstones });
            match self.run(work).await {
                Ok(Answer::Removed(removed)) => return Ok(removed),
                Ok(other) => return Err(crate::fleet::wrong_answer(&other)),
                Err(error) if matches!(error.kind(), StoreErrorKind::Refused(Refusal::AgentMoved { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Err(stopped(agent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agent::{AgentHead, Enrolment, Pruned},
        ids::Digest,
    };

    /// A removal of an agent with five batches, of which two are pruned, by tombstones of these batches.
    fn decided(numbers: &[u64]) -> Result<Decided, Refusal> {
        let agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().expect("a UUID");
        let name = Text::parse("web-1").expect("a short text");
        let enrolment = Enrolment { agent, name, public_key: [7; 32], tags: Vec::new(), enrolled_at: Timestamp::EPOCH };
        let pruned = Pruned { batches: 2, ..Pruned::default() };
        let head = AgentHead { batches: 5, pruned, ..AgentHead::enrolled(&enrolment) };
        let tombstones = numbers.iter().map(|number| Tombstone { number: *number, digest: Digest::of("test", &[]) }).collect();
        let work = RemoveAgent { agent, actor: Actor::Agent, reason: None, removed_at: Timestamp::EPOCH, tombstones };
        work.decide(&Loaded { head: Some(head), ..Loaded::default() })
    }

    #[test]
    fn exactly_the_batches_without_a_tombstone_get_one() {
        assert!(decided(&[3, 4, 5]).is_ok());
        // Read before the newest batch came, before retention went on, and with one missing.
        for numbers in [&[3, 4][..], &[1, 2, 3, 4, 5], &[3, 5], &[]] {
            assert!(matches!(decided(numbers), Err(Refusal::AgentMoved { .. })), "{numbers:?}");
        }
    }
}
