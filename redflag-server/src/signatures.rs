//! What people sign: the exact bytes of a command, and the signatures they bring. API and pages share this.

use crate::{access::Operator, app::App, people, problem::Problem, queue};
use redflag_core::{
    audit::{self, AuditKind, FactName},
    command::{
        envelope::Envelope,
        lifecycle::{CommandEvent, CommandState},
        record::CommandRecord,
        step::{Sign, Step},
    },
    ids::{AgentId, CommandId, Digest},
    names::Text,
    work::Refusal,
};

/// A command that waits for signatures.
#[derive(Clone, Debug)]
pub(crate) struct ToSign {
    /// As it stands.
    pub(crate) record: CommandRecord,
    /// The counter its signatures bind.
    pub(crate) counter: u64,
    /// What is signed, around it no signature yet.
    pub(crate) envelope: Envelope,
    /// Who has signed it with a key that counts.
    pub(crate) signed_by: Vec<Text>,
}

/// What a person signs for `command`, as it stands now: another command of the agent that is signed or handed out before changes it.
///
/// # Errors
/// 404 for an unknown agent or command; 409 when the command does not wait for signatures.
pub(crate) async fn to_sign(app: &App, agent: AgentId, command: CommandId) -> Result<ToSign, Problem> {
    let store = app.fleet.store();
    let unknown = || Problem::not_found(format!("no command {command} of agent {agent}"));
    let record = store.command(agent, command).await?.ok_or_else(unknown)?;
    let head = store.agent(agent).await?.ok_or_else(unknown)?;
    if record.state != CommandState::AwaitingSignature {
        return Err((&Refusal::IllegalStep { command, event: CommandEvent::Sign, state: record.state }).into());
    }
    let counter = record.counter.unwrap_or(head.commands + 1);
    let signed_by = people::counting(store).await?.signers(&record).into_iter().cloned().collect();
    Ok(ToSign { envelope: Envelope::around(&record.payload_with(counter)), record, counter, signed_by })
}

/// A signature that a person brings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signature {
    /// The key that made it.
    pub(crate) key_id: Digest,
    /// The counter in what was signed.
    pub(crate) counter: u64,
    /// Of the bytes to sign of the envelope.
    pub(crate) bytes: [u8; 64],
}

/// Adds a signature; the last that is needed lets the command be handed out. The same again changes nothing.
///
/// # Errors
/// 404 for an unknown agent or command; 409 when it does not wait for signatures, or must be signed with another counter; 422 when the key
/// is none of this operator's that counts, or the signature does not fit.
pub(crate) async fn sign(
    app: &App,
    operator: &Operator,
    agent: AgentId,
    command: CommandId,
    signature: Signature,
) -> Result<CommandRecord, Problem> {
    let Signature { key_id, counter, bytes } = signature;
    app.audit.ready().await?;
    let people = people::counting(app.fleet.store()).await?;
    let sign = Sign { command, counter, person: operator.name.clone(), key_id, signature: bytes, people };
    let before = app.fleet.store().command(agent, command).await?;
    let record = queue::first(app.fleet.command(agent, Step::Sign(sign), app.now()).await?)?;
    tracing::info!(%agent, %command, %key_id, state = %record.state, operator = operator.name.as_str(), "a person signed a command");
    if before.is_none_or(|before| before != record) {
        let note = audit::command::note(AuditKind::CommandSigned, operator.by(), &record, app.now());
        app.audit.note(note.with(FactName::KeyId, key_id)).await?;
    }
    app.wakers.wake(agent);
    Ok(record)
}
