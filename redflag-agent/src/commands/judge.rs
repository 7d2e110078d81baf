//! What the agent itself looks at before it takes a command: who signed it, and to whom it is. The executor judges again, and more.

use crate::signer::PinnedSigner;
use redflag_core::{
    command::{
        delivery::SignerBody,
        payload::{ActionKind, Audience, SigningMode},
        refusal::{CommandRefusal, RefusalCode},
        verify::Authentic,
    },
    ids::CommandId,
};

const TRUST: &str = "once the server's operator has confirmed a new key, run `redflag-agent trust-server-key KEY`";

/// What is to be done, when the pinned key signed the command and it is to this agent. None where keys of people sign: the agent has
/// none of them, and only relays what the executor will verify.
///
/// # Errors
/// A refusal; the command must not be handed over.
pub(crate) fn judge(
    id: CommandId,
    envelope: &str,
    signer: &PinnedSigner,
    audience: &Audience,
) -> Result<Option<ActionKind>, CommandRefusal> {
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
pub(crate) fn refused(id: CommandId, refusal: &CommandRefusal, signer: &PinnedSigner) -> String {
    let message = format!("command {id} was not handed over: {refusal}");
    match refusal.code {
        RefusalCode::UnknownKey | RefusalCode::BadSignature | RefusalCode::WrongMode => {
            format!("{message}; the pinned key is {}; {TRUST}", signer.fingerprint())
        }
        _ => message,
    }
}

/// That the server announces another key than the pinned one; none when it does not.
pub(crate) fn other_key(signer: &PinnedSigner, announced: &SignerBody) -> Option<String> {
    if *announced == signer.to_body() {
        return None;
    }
    let pinned = signer.fingerprint();
    Some(match PinnedSigner::from_body(announced) {
        Ok(other) if other.key_id() == signer.key_id() => {
            format!("the server says {} of its key, and {} is pinned", other.mode(), signer.mode())
        }
        Ok(other) => format!(
            "the server signs with the key {}, and the pinned key is {pinned}: nothing that another key signed is handed over; {TRUST}",
            other.fingerprint()
        ),
        Err(error) => format!("the server announces a key that cannot be one ({error}); the pinned key is {pinned}"),
    })
}

/// That no key is pinned, and what to do.
pub(crate) fn not_pinned() -> String {
    format!("no key of the server is pinned, as it named none at enrolment; {TRUST}")
}
