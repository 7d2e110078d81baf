//! A plan held against what was approved, for whoever looks a second time (clause A1).

use redflag_core::{
    command::{
        payload::SideEffect,
        plan::{Excess, Plan},
        record::{CommandRecord, Ending, Success},
    },
    ids::Digest,
};

/// The plan that a command brought, and everything in which it differs from the command's items.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecondLook {
    /// The plan.
    pub plan: Plan,
    /// Its digest, which a confirmation must bring.
    pub digest: Digest,
    /// Where it goes beyond the items, or leaves them out.
    pub differences: Vec<Difference>,
}

/// One way in which a plan differs from what was approved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// What the plan does.
    pub excess: Excess,
    /// The side effect it is; none when it is about an item itself, which nothing can allow.
    pub side_effect: Option<SideEffect>,
    /// Whether the terms of the command allow it without a second look.
    pub allowed: bool,
}

impl SecondLook {
    /// The plan of a command that brought one.
    #[must_use]
    pub fn of(record: &CommandRecord) -> Option<Self> {
        let Ending::Succeeded(Success { plan: Some(plan), .. }) = &record.end.as_ref()?.how else { return None };
        let difference =
            |excess: Excess| Difference { side_effect: excess.side_effect(), allowed: excess.within(&record.terms.side_effects), excess };
        let differences = plan.excess(record.action.items()).into_iter().map(difference).collect();
        Some(Self { digest: plan.digest(), plan: plan.clone(), differences })
    }

    /// Whether a person can accept it: it brings the items as they were approved, whatever else it does.
    #[must_use]
    pub fn confirmable(&self) -> bool {
        self.differences.iter().all(|difference| difference.side_effect.is_some())
    }
}
