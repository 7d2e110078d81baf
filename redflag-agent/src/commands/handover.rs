//! Handing one command to the executor, until it has said what became of it or has had its time.
//!
//! What an installation prints meanwhile is passed on; nothing depends on it.

use super::{CommandOptions, claim, inbox::Kept};
use crate::{
    delivery,
    executor::{
        answer::{Answer, Outcome},
        service,
    },
};
use redflag_core::{
    command::{
        record::Claim,
        refusal::{CommandRefusal, RefusalCode},
    },
    ids::CommandId,
};
use std::io;
use tokio::sync::mpsc::Sender;

/// Whether the executor may have had the command before, and with it whether a refusal proves that nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Had {
    /// Nobody has handed it over.
    Never,
    /// It was handed over, or somebody was about to when the process ended.
    Perhaps,
}

/// Why there is no claim yet.
struct Hindrance {
    refusal: CommandRefusal,
    had: Had,
}

/// Hands a command over, as often as `options` has patience, and says how it ended. What an installation prints goes to `printed`.
///
/// Cancel safe: an executor that has the command goes on with it, and says at the next call what became of it.
pub(crate) async fn hand_over(options: &CommandOptions, kept: &Kept, mut had: Had, printed: &Sender<String>) -> Claim {
    let mut delays = options.patience.delays();
    loop {
        let hindrance = match ask(options, kept, had, printed).await {
            Ok(claim) => return claim,
            Err(hindrance) => hindrance,
        };
        if hindrance.had == Had::Perhaps {
            had = Had::Perhaps;
        }
        let Some(delay) = delays.next() else { return given_up(hindrance.refusal, had) };
        let after = delivery::wait(delay, None);
        tracing::warn!(command = %kept.id, after_ms = after.as_millis() as u64, "{}; handing it over again", hindrance.refusal);
        tokio::time::sleep(after).await;
    }
}

async fn ask(options: &CommandOptions, kept: &Kept, had: Had, printed: &Sender<String>) -> Result<Claim, Hindrance> {
    let socket = options.socket.display();
    let not_ready = |message: String| CommandRefusal::new(RefusalCode::NotReady, message);
    let mut missed = false;
    let mut pass_on = |part: String| {
        let part = if missed { format!("[a part is missing]\n{part}") } else { part };
        // Whoever listens may be slow, or have given up.
        missed = printed.try_send(part).is_err();
    };
    let answer = match service::ask(&options.socket, kept.envelope.as_bytes(), &mut pass_on).await {
        Ok(bytes) => read(kept.id, &bytes),
        Err(error) => {
            let had = if never_reached(&error) { Had::Never } else { Had::Perhaps };
            return Err(Hindrance { refusal: not_ready(format!("no answer from the executor at {socket}: {error}")), had });
        }
    };
    let answer = answer.map_err(|reason| {
        let refusal = not_ready(format!("the answer of the executor at {socket} cannot be used: {reason}"));
        Hindrance { refusal, had: Had::Perhaps }
    })?;
    answer.notes.iter().for_each(|note| tracing::warn!(command = %kept.id, "the executor notes: {note}"));
    tracing::info!(command = %kept.id, "{}", answer.outcome.summary());
    match answer.outcome {
        Outcome::Refused(refused) if matches!(refused.refusal.code, RefusalCode::Busy | RefusalCode::NotReady) => {
            Err(Hindrance { refusal: refused.refusal, had: Had::Never })
        }
        // It may have been carried out so long ago that the executor does not keep the result any more.
        Outcome::Refused(refused) if had == Had::Perhaps && refused.refusal.code == RefusalCode::Replayed && refused.earlier.is_none() => {
            Ok(not_known(&refused.refusal))
        }
        outcome => Ok(claim::of(outcome)),
    }
}

fn read(id: CommandId, bytes: &[u8]) -> Result<Answer, String> {
    if bytes.is_empty() {
        return Err("it ended without one".to_owned());
    }
    let answer: Answer = serde_json::from_slice(bytes).map_err(|error| format!("{error}; are agent and executor of one version?"))?;
    match answer.command_id {
        Some(other) if other != id => Err(format!("it is about command {other}")),
        _ => Ok(answer),
    }
}

/// Whether nobody can have read the command.
fn never_reached(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::PermissionDenied)
}

fn given_up(refusal: CommandRefusal, had: Had) -> Claim {
    match had {
        Had::Never => Claim::Refused(refusal),
        Had::Perhaps => not_known(&refusal),
    }
}

fn not_known(refusal: &CommandRefusal) -> Claim {
    claim::failed(&format!("whether it was carried out is not known: {refusal}"))
}
