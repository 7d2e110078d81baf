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
            let items: Vec<_> = items.iter().map(|item| format!("{}: {}", item.package, item.found)).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use redflag_core::{
        command::{
            plan::{Change, Plan},
            refusal::CommandRefusal,
        },
        names::{PackageKey, Version},
    };

    fn installed() -> Outcome {
        Outcome::Installed(Installed { reboot_required: Some(true), transaction: None, output: "done\n".into() })
    }

    fn interrupted(found: Found, items: Vec<ItemFound>) -> Outcome {
        Outcome::Interrupted { reason: "it was killed".into(), found, items }
    }

    fn refused(code: RefusalCode, earlier: Option<Outcome>) -> Outcome {
        let refused = Refused { earlier: earlier.map(Box::new), ..Refused::of(CommandRefusal::new(code, "no")) };
        Outcome::Refused(Box::new(refused))
    }

    fn failed_to_install(done: &[&str], rolled_back: bool) -> Outcome {
        let done = done.iter().map(|name| (*name).to_owned()).collect();
        Outcome::Failed { error: InstallError::Failed { reason: "it broke".into(), done, rolled_back, output: "oops\n".into() } }
    }

    fn success(reboot_required: Option<bool>, output: &str) -> Claim {
        Claim::Succeeded(Success { plan: None, reboot_required, output: output.to_owned() })
    }

    fn failure(reason: &str, rolled_back: bool, output: &str) -> Claim {
        Claim::Failed(Failure { reason: Text::lossy(reason), rolled_back, output: output.to_owned() })
    }

    #[test]
    fn every_outcome_is_one_claim() {
        let key = PackageKey::parse("apt", "bash", None).unwrap();
        let items = vec![ItemFound { package: key.clone(), found: Found::Done }, ItemFound { package: key.clone(), found: Found::NotDone }];
        let version = |text| Some(Version::parse(text).unwrap());
        let plan = Plan::of([Change { package: key, from: version("1"), to: version("2"), origin: None }]);
        let planned = Outcome::Planned { plan: plan.clone(), plan_digest: plan.digest(), excess: vec![] };
        let refusal = |code| Claim::Refused(CommandRefusal::new(code, "no"));
        let locked = Outcome::Failed { error: InstallError::Locked { reason: "pid 1".into() } };
        for (outcome, expected) in [
            (installed(), success(Some(true), "done\n")),
            (planned, Claim::Succeeded(Success { plan: Some(plan), ..Success::default() })),
            (Outcome::Refreshed, success(None, "")),
            (Outcome::Rebooting, success(None, "")),
            (Outcome::Cancelled, success(None, "")),
            (Outcome::TooLate { earlier: Box::new(installed()) }, failure("too late to cancel: installed", false, "")),
            (Outcome::WouldRun { plan: None }, failure("the executor only looked whether it would carry it out", false, "")),
            (locked, failure("the package manager is busy: pid 1", false, "")),
            (failed_to_install(&[], true), failure("the installation failed: it broke", true, "oops\n")),
            (
                failed_to_install(&["bash", "curl"], false),
                failure("the installation failed: it broke; installed all the same: bash, curl", false, "oops\n"),
            ),
            (interrupted(Found::Done, vec![]), success(None, "it was killed; what was ordered is there\n")),
            (interrupted(Found::NotDone, vec![]), failure("interrupted, nothing happened: it was killed", false, "")),
            (interrupted(Found::Unknown, vec![]), failure("interrupted, and what happened is not known: it was killed", false, "")),
            (
                interrupted(Found::Unknown, items),
                failure("interrupted: it was killed; found: apt bash: done, apt bash: not done", false, ""),
            ),
            (refused(RefusalCode::Removal, None), refusal(RefusalCode::Removal)),
            (refused(RefusalCode::Replayed, None), refusal(RefusalCode::Replayed)),
            (refused(RefusalCode::Replayed, Some(installed())), success(Some(true), "done\n")),
            (
                refused(RefusalCode::Replayed, Some(interrupted(Found::NotDone, vec![]))),
                failure("interrupted, nothing happened: it was killed", false, ""),
            ),
            (refused(RefusalCode::Replayed, Some(refused(RefusalCode::Expired, None))), refusal(RefusalCode::Expired)),
        ] {
            let shown = outcome.summary();
            assert_eq!(of(outcome), expected, "{shown}");
        }
    }
}
