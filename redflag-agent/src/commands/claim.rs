//! What the agent tells the server of what the executor answered.

use crate::{
    executor::answer::{Found, ItemFound, Outcome, Refused},
    install::{InstallError, Installed},
};
use redflag_core::{
    command::{
        record::{Claim, Failure, Success},
        refusal::RefusalCode,
    },
    names::Text,
};

/// The claim that `outcome` is.
#[must_use]
pub fn of(outcome: Outcome) -> Claim {
    match outcome {
        Outcome::Installed(Installed { reboot_required, output, .. }) => Claim::Succeeded(Success { plan: None, reboot_required, output }),
        Outcome::Planned { plan, .. } => Claim::Succeeded(Success { plan: Some(plan), ..Success::default() }),
        Outcome::Refreshed | Outcome::Rebooting | Outcome::Cancelled => Claim::Succeeded(Success::default()),
        Outcome::TooLate { ref earlier } => failed(&format!("too late to cancel: {}", earlier.summary())),
        Outcome::WouldRun { .. } => failed("the executor only looked whether it would carry it out"),
        Outcome::Failed { error } => of_error(&error),
        Outcome::Interrupted { reason, found, items } => interrupted(reason, found, &items),
        Outcome::Refused(refused) => of_refusal(*refused),
    }
}

/// A failure of which nothing more is known.
#[must_use]
pub fn failed(reason: &str) -> Claim {
    Claim::Failed(Failure { reason: Text::lossy(reason), rolled_back: false, output: String::new() })
}

fn of_error(error: &InstallError) -> Claim {
    let (mut reason, mut failure) = (error.to_string(), Failure { reason: Text::lossy("-"), rolled_back: false, output: String::new() });
    if let InstallError::Failed { done, rolled_back, output, .. } = error {
        failure.rolled_back = *rolled_back;
        failure.output.clone_from(output);
        if !done.is_empty() {
            reason = format!("{reason}; installed all the same: {}", done.join(", "));
        }
    }
    Claim::Failed(Failure { reason: Text::lossy(&reason), ..failure })
}

fn interrupted(reason: String, found: Found, items: &[ItemFound]) -> Claim {
    match found {
        Found::Done => Claim::Succeeded(Success { output: format!("{reason}; what was ordered is there\n"), ..Success::default() }),
        Found::NotDone => failed(&format!("interrupted, nothing happened: {reason}")),
        Found::Unknown if items.is_empty() => failed(&format!("interrupted, and what happened is not known: {reason}")),
        Found::Unknown => {
            let items: Vec<_> = items.iter().map(|item| format!("{} {}", item.package, item.found)).collect();
            failed(&format!("interrupted: {reason}; found: {}", items.join(", ")))
        }
    }
}

/// A command that came before was carried out then: what became of it counts, not that it was refused the second time.
fn of_refusal(Refused { refusal, earlier, .. }: Refused) -> Claim {
    match earlier {
        Some(earlier) if refusal.code == RefusalCode::Replayed => of(*earlier),
        _ => Claim::Refused(refusal),
    }
}
