//! The agent as a witness of its server's audit log: it keeps the newest checkpoint it was shown, and goes along only with a log that
//! goes on from there.
//!
//! The key that signs checkpoints is the one seen first. A server that shows another way on, or another key, is not believed again before
//! a person of this host says so ([`forget`]); reports and commands go on meanwhile. Two checkpoints that contradict each other are kept
//! and told to the server, which puts that down, too.

use crate::{
    agent::Agent,
    clock, durable,
    error::{Error, Result},
    home::AgentHome,
    server::Server,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use redflag_core::{
    audit::witness::{CheckpointName, ForkBody, Kept, Objection, WitnessAnswer, WitnessBody, go_along},
    limits,
    public_key::PublicKey,
    signing,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

const FILE: &str = "witness.json";
/// Most answers that are asked for in a row; what is left is for the next time.
const ANSWERS_MAX: u32 = 20;
const WITNESS: &str = "api/v1/audit/witness";
const FORK: &str = "api/v1/audit/fork";

/// What a witness keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    /// The key that signs checkpoints, in base64.
    public_key: String,
    /// The newest checkpoint.
    kept: Option<Kept>,
    /// What it does not go along with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    objection: Option<Objected>,
}

/// What a witness does not go along with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Objected {
    at: Timestamp,
    what: String,
    /// The checkpoint that does not follow; none when what was shown proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shown: Option<Kept>,
    /// Whether the server has been told.
    told: bool,
}

/// What a witness knows, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Witnessed {
    /// The [`signing::fingerprint`] of the key that signs checkpoints.
    pub key_fingerprint: String,
    /// The number of the checkpoint kept.
    pub checkpoint: Option<u64>,
    /// The entries it stands for.
    pub entries: Option<u64>,
    /// Since when, and why, the server's log is not believed.
    pub objection: Option<(Timestamp, String)>,
}

/// What is kept in `home`; none before the first checkpoint was shown.
///
/// # Errors
/// When the file cannot be read.
pub fn witnessed(home: &AgentHome) -> Result<Option<Witnessed>> {
    let Some(memory) = durable::read_json::<Memory>(&home.file(FILE))? else { return Ok(None) };
    let key = memory.key()?;
    let checkpoint = memory.kept.as_ref().and_then(|kept| kept.read(&key).ok());
    Ok(Some(Witnessed {
        key_fingerprint: signing::fingerprint(&key.to_bytes()),
        checkpoint: checkpoint.as_ref().map(|checkpoint| checkpoint.number),
        entries: checkpoint.as_ref().map(|checkpoint| checkpoint.size),
        objection: memory.objection.map(|objected| (objected.at, objected.what)),
    }))
}

/// Forgets key, checkpoint and objection: the next that is shown is the first seen. Answers what was forgotten.
///
/// # Errors
/// When the file cannot be read or removed.
pub fn forget(home: &AgentHome) -> Result<Option<Witnessed>> {
    let Some(before) = witnessed(home)? else { return Ok(None) };
    let path = home.file(FILE);
    std::fs::remove_file(&path).map_err(Error::state("remove", &path))?;
    durable::sync_directory_of(&path)?;
    Ok(Some(before))
}

/// Goes along with the server's log as far as it does.
///
/// # Errors
/// When the server does not answer, or what is kept cannot be read or written.
///
/// # Cancel safety
/// What was not kept is shown again.
pub(crate) async fn look(agent: &mut Agent, home: &AgentHome, server: &Server) -> Result<()> {
    let path = home.file(FILE);
    let mut memory = durable::read_json::<Memory>(&path)?;
    for _ in 0..ANSWERS_MAX {
        if let Some(memory) = &mut memory
            && memory.objection.is_some()
        {
            return memory.tell(agent, home, server).await;
        }
        let kept = memory.as_ref().map(Memory::name).transpose()?.flatten();
        let answer = agent.post(server, WITNESS, json(&WitnessBody { kept })?).await?;
        let answer: WitnessAnswer = serde_json::from_slice(&answer)
            .map_err(|error| server.unreachable(format!("its answer about the audit log is not readable: {error}"), None))?;
        if answer.checkpoints.is_empty() {
            return Ok(());
        }
        let whole = answer.checkpoints.len() == limits::CHECKPOINTS_TOLD_MAX as usize;
        let after = Memory::after(memory.take(), &answer)?;
        if let Some(Objected { what, .. }) = &after.objection {
            tracing::error!("the server's audit log is not believed any more: {what}");
        }
        durable::replace_json(&path, &after)?;
        let objects = after.objection.is_some();
        memory = Some(after);
        if !whole && !objects {
            return Ok(());
        }
    }
    Ok(())
}

impl Memory {
    fn key(&self) -> Result<PublicKey> {
        key(&self.public_key)
    }

    fn name(&self) -> Result<Option<CheckpointName>> {
        let key = self.key()?;
        let damaged = |error: redflag_core::audit::checkpoint::CheckpointFault| Error::invalid(format!("{FILE}: {error}"));
        self.kept.as_ref().map(|kept| Ok(CheckpointName::of(&kept.read(&key).map_err(damaged)?))).transpose()
    }

    /// What is kept after the server has shown this.
    fn after(before: Option<Self>, answer: &WitnessAnswer) -> Result<Self> {
        let before = before.unwrap_or_else(|| Self { public_key: answer.public_key.clone(), kept: None, objection: None });
        let objected = |what: String, shown| Some(Objected { at: clock::now(), what, shown, told: false });
        Ok(match go_along(before.kept.as_ref(), &answer.checkpoints, &before.key()?) {
            Ok(kept) => Self { kept, ..before },
            Err(Objection::Fork { shown, what }) => Self { objection: objected(what, Some(shown)), ..before },
            Err(other) => Self { objection: objected(other.to_string(), answer.checkpoints.first().cloned()), ..before },
        })
    }

    /// Tells the server of a contradiction, once.
    async fn tell(&mut self, agent: &mut Agent, home: &AgentHome, server: &Server) -> Result<()> {
        let (Some(kept), Some(objected)) = (&self.kept, &mut self.objection) else { return Ok(()) };
        let Some(shown) = objected.shown.clone().filter(|_| !objected.told) else { return Ok(()) };
        let fork = ForkBody { kept: kept.clone(), shown, what: objected.what.clone() };
        match agent.post(server, FORK, json(&fork)?).await {
            Ok(_) => {}
            // It will not hear of it; what is kept here stays.
            Err(error @ Error::Refused { .. }) => tracing::error!("the server does not take the report of the fork: {error}"),
            Err(error) => return Err(error),
        }
        objected.told = true;
        durable::replace_json(&home.file(FILE), self)
    }
}

fn key(public_key: &str) -> Result<PublicKey> {
    let invalid = |why: String| Error::invalid(format!("the key of the audit log {public_key:?} cannot be used: {why}"));
    let bytes = STANDARD.decode(public_key).map_err(|error| invalid(error.to_string()))?;
    let bytes = bytes.try_into().map_err(|bytes: Vec<u8>| invalid(format!("{} bytes, and a key has 32", bytes.len())))?;
    PublicKey::new(&bytes).map_err(|error| invalid(error.to_string()))
}

fn json(body: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(body).map_err(|error| Error::invalid(format!("could not encode what is asked about the audit log: {error}")))
}
