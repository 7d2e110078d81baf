//! What the agent itself looks at before it takes a command: who signed it, and to whom it is. The executor judges again, and more.

use crate::signer::{PinnedSigner, Pins};
use redflag_core::{
    command::{
        delivery::SignerBody,
        payload::{ActionKind, Audience, SigningMode},
        refusal::{CommandRefusal, RefusalCode},
        verify::Authentic,
    },
    ids::{CommandId, Digest},
    signing,
};

const TRUST: &str = "once the server's operator has confirmed a new key, run `redflag-agent trust-server-key KEY`";
const PREPARE: &str = "once the server's operator has confirmed that key, run `redflag-agent trust-server-key --next KEY`";

/// A command that may be handed over.
#[derive(Debug)]
pub(crate) struct Judged<'pins> {
    /// What is to be done. None where keys of people sign: the agent has none of them, and only relays what the executor will verify.
    pub(crate) action: Option<ActionKind>,
    /// The key to come, when that is the one that signed: it must be followed before anything else is done.
    pub(crate) next: Option<&'pins PinnedSigner>,
}

/// Whether one of the pinned keys signed the command, and it is to this agent.
///
/// # Errors
/// A refusal; the command must not be handed over.
pub(crate) fn judge<'pins>(id: CommandId, envelope: &str, pins: &'pins Pins, audience: &Audience) -> Result<Judged<'pins>, CommandRefusal> {
    // One key at a time: an envelope is the server's, which has one.
    match (judge_by(id, envelope, pins.current(), audience), pins.next()) {
        (Err(refusal), Some(next)) if refusal.code == RefusalCode::UnknownKey => {
            judge_by(id, envelope, next, audience).map(|action| Judged { action, next: Some(next) })
        }
        (judged, _) => judged.map(|action| Judged { action, next: None }),
    }
}

fn judge_by(id: CommandId, envelope: &str, signer: &PinnedSigner, audience: &Audience) -> Result<Option<ActionKind>, CommandRefusal> {
    if signer.mode() == SigningMode::OperatorSigns {
        return Ok(None);
    }
    let authentic = Authentic::read(envelope.as_bytes(), std::slice::from_ref(signer.key()), 1)?;
    authentic.check_audience(audience)?;
    let command = authentic.command();
    if command.id != id {
        let message = format!("it was handed out as command {id}, and what was signed is command {}", command.id);
        return Err(CommandRefusal::new(RefusalCode::Malformed, message));
    }
    Ok(Some(command.action.kind()))
}

/// That a command was refused here, and where another key signed it, what to do.
pub(crate) fn refused(id: CommandId, refusal: &CommandRefusal, pins: &Pins) -> String {
    let message = format!("command {id} was not handed over: {refusal}");
    match refusal.code {
        RefusalCode::UnknownKey | RefusalCode::BadSignature | RefusalCode::WrongMode => {
            format!("{message}; {}; {TRUST}", pinned(pins))
        }
        _ => message,
    }
}

/// That the server signs with a key that is not pinned; none when it does not.
pub(crate) fn other_key(pins: &Pins, announced: &SignerBody) -> Option<String> {
    if pins.all().any(|signer| *announced == signer.to_body()) {
        return None;
    }
    let pinned = pinned(pins);
    Some(match PinnedSigner::from_body(announced) {
        Ok(other) if pins.all().any(|signer| signer.key_id() == other.key_id()) => {
            let (said, pinned) = (other.mode(), pins.current().mode());
            format!(
                "the server says {said} of its key, and {pinned} is pinned; once the server's operator has confirmed that, run \
                 `redflag-agent trust-server-key --mode {said} KEY`"
            )
        }
        Ok(other) => format!(
            "the server signs with the key {}, and {pinned}: nothing that another key signed is handed over; {TRUST}",
            other.fingerprint()
        ),
        Err(error) => format!("the server announces a key that cannot be one ({error}); {pinned}"),
    })
}

/// That the server has prepared a key that is not pinned, and what to do before it signs; none when there is nothing to do.
pub(crate) fn unprepared(pins: &Pins, next_key_id: Option<Digest>) -> Option<String> {
    // Where keys of people sign, nothing waits for the server's.
    let follows = pins.current().mode() == SigningMode::ServerSigns;
    let next_key_id = next_key_id.filter(|id| follows && pins.all().all(|signer| signer.key_id() != *id))?;
    let fingerprint = signing::fingerprint_of(&next_key_id);
    Some(format!("the server is about to sign with the key {fingerprint}, and {}; {PREPARE}", pinned(pins)))
}

fn pinned(pins: &Pins) -> String {
    let next = pins.next().map_or(String::new(), |next| format!(" and the next one {}", next.fingerprint()));
    format!("the pinned key is {}{next}", pins.current().fingerprint())
}

/// That no key is pinned, and what to do.
pub(crate) fn not_pinned() -> String {
    format!("no key of the server is pinned, as it named none at enrolment; {TRUST}")
}
