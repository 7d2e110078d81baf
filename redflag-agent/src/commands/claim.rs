//! What the agent tells the server of what the executor answered, cut to what a server takes.

use crate::{
    executor::answer::{Found, ItemFound, Outcome, Refused},
    install::{InstallError, Installed},
};
use redflag_core::{
    command::{
        record::{Claim, Ending, Failure, Success},
        refusal::RefusalCode,
    },
    limits,
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

/// The same within what a server takes: of output the end, of a message the start; a plan that is too large fails, as nobody could look
/// at a part of it.
#[must_use]
pub fn bounded(claim: Claim) -> Claim {
    let claim = match Ending::from(claim).bounded() {
        Ending::Succeeded(success) => Claim::Succeeded(success),
        Ending::Failed(failure) => Claim::Failed(failure),
        Ending::Refused(refusal) => Claim::Refused(refusal),
        Ending::Expired { .. } | Ending::Cancelled { .. } => unreachable!("no claim is one of these"),
    };
    let Claim::Succeeded(Success { plan: Some(plan), .. }) = &claim else { return claim };
    let changes = plan.changes.len();
    if changes > limits::PLAN_CHANGES_MAX {
        return failed(&format!("the plan changes {changes} packages, and {} can be looked at", limits::PLAN_CHANGES_MAX));
    }
    match serde_json::to_vec(&claim) {
        Ok(bytes) if bytes.len() <= limits::REPORT_BYTES_MAX => claim,
        Ok(bytes) => failed(&format!("the plan changes {changes} packages and has {} bytes, more than a server takes", bytes.len())),
        Err(error) => failed(&format!("the plan cannot be encoded: {error}")),
    }
}

/// What is left to tell of `claim` to a server that takes less than others; none when nothing is left that could be cut.
#[must_use]
pub fn shorter(claim: &Claim) -> Option<Claim> {
    const CUT: &str = "[the server takes no more]\n";
    let cut = |output: &str| (output.len() > CUT.len()).then(|| CUT.to_owned());
    match claim {
        Claim::Succeeded(Success { plan: Some(plan), .. }) => {
            Some(failed(&format!("the plan changes {} packages, more than the server takes in one answer", plan.changes.len())))
        }
        Claim::Succeeded(success) => Some(Claim::Succeeded(Success { output: cut(&success.output)?, ..success.clone() })),
        Claim::Failed(failure) => Some(Claim::Failed(Failure { output: cut(&failure.output)?, ..failure.clone() })),
        Claim::Refused(_) => None,
    }
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

    fn plan(changes: usize, origin: &str) -> Claim {
        let change = |number: usize| Change {
            package: PackageKey::parse("apt", &format!("libpackage-of-a-usual-name{number:05}"), Some("amd64")).unwrap(),
            from: Some(Version::parse("1:2.3.4+dfsg-5ubuntu6.7").unwrap()),
            to: Some(Version::parse("1:2.3.4+dfsg-5ubuntu6.8").unwrap()),
            origin: Some(Text::lossy(origin)),
        };
        Claim::Succeeded(Success { plan: Some(Plan::of((0..changes).map(change))), ..Success::default() })
    }

    fn reason(claim: &Claim) -> &str {
        match claim {
            Claim::Failed(failure) => failure.reason.as_str(),
            claim => panic!("{claim:?}"),
        }
    }

    #[test]
    fn a_plan_of_the_most_changes_fits_or_fails_clearly() {
        let usual = plan(limits::PLAN_CHANGES_MAX, "Ubuntu:24.04/noble-security");
        assert_eq!(bounded(usual.clone()), usual);
        assert!(reason(&bounded(plan(limits::PLAN_CHANGES_MAX + 1, "x"))).contains("20001 packages, and 20000 can be"));
        // Every quote becomes two bytes of JSON.
        let longest = plan(limits::PLAN_CHANGES_MAX, &"\"".repeat(limits::TEXT_BYTES_MAX));
        assert!(reason(&bounded(longest)).contains("more than a server takes"));
    }

    #[test]
    fn of_output_the_end_is_told_and_of_a_message_the_start() {
        let output = format!("{}end\n", "x".repeat(limits::COMMAND_OUTPUT_BYTES_MAX));
        for claim in [success(None, &output), failure("no", false, &output)] {
            let (Claim::Succeeded(Success { output, .. }) | Claim::Failed(Failure { output, .. })) = bounded(claim) else { panic!() };
            assert!(output.len() == limits::COMMAND_OUTPUT_BYTES_MAX && output.ends_with("xend\n"));
        }
        let refusal = CommandRefusal::new(RefusalCode::NoPlan, "m".repeat(limits::REPORT_BYTES_MAX));
        let Claim::Refused(refusal) = bounded(Claim::Refused(refusal)) else { panic!() };
        assert!(refusal.message.len() <= limits::TEXT_BYTES_MAX && refusal.message.starts_with("mm"));
    }

    #[test]
    fn shorter_ends_with_nothing_to_cut() {
        let once = shorter(&success(Some(true), &"x".repeat(99))).unwrap();
        assert_eq!(once, success(Some(true), "[the server takes no more]\n"));
        assert!(reason(&shorter(&plan(3, "x")).unwrap()).contains("changes 3 packages"));
        let refusal = Claim::Refused(CommandRefusal::new(RefusalCode::NoPlan, "no"));
        for claim in [once, shorter(&plan(3, "x")).unwrap(), refusal] {
            assert_eq!(shorter(&claim), None);
        }
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
