//! Why a command is not carried out: one stable code per reason, shared by server, agent and executor (clause S8).

use crate::words::words;
use serde::{Deserialize, Serialize};

words! {
    /// Why a command was refused. Nothing was changed by a command that was refused.
    "refusal" RefusalCode {
        /// The envelope has more bytes than any command may.
        TooLarge = "too-large",
        /// Envelope or payload is not of the format.
        Malformed = "malformed",
        /// The envelope holds something else than a command.
        WrongPayloadType = "wrong-payload-type",
        /// A signature names a key that is not pinned.
        UnknownKey = "unknown-key",
        /// A signature does not fit its key and the bytes.
        BadSignature = "bad-signature",
        /// Fewer keys signed than must.
        TooFewSignatures = "too-few-signatures",
        /// A key signed that is not pinned for the command's mode.
        WrongMode = "wrong-mode",
        /// The payload is of a version this program does not read.
        UnsupportedSchema = "unsupported-schema",
        /// The action is none this program knows.
        UnknownAction = "unknown-action",
        /// A name or version is outside its manager's grammar.
        OutOfGrammar = "out-of-grammar",
        /// An item would go to an older version, or the same.
        Downgrade = "downgrade",
        /// The command is for another agent.
        WrongAudience = "wrong-audience",
        /// The command is for this agent under another key: enrolled anew, or cloned.
        WrongAgentKey = "wrong-agent-key",
        /// It may be carried out later, by this host's clock.
        NotYetValid = "not-yet-valid",
        /// It may not be carried out any more, by this host's clock.
        Expired = "expired",
        /// It is valid for longer than any command may be.
        LifetimeTooLong = "lifetime-too-long",
        /// Its counter was seen before, or a later one was.
        Replayed = "replayed",
        /// Its counter is further ahead than counters may jump.
        CounterJump = "counter-jump",
        /// The executor cannot tell which counters it has seen.
        CounterUnknown = "counter-unknown",
        /// The executor does not carry out this action.
        UnsupportedAction = "unsupported-action",
        /// The policy of the host does not allow the action.
        ActionForbidden = "action-forbidden",
        /// The policy of the host does not allow the manager, or it is not installed.
        ManagerForbidden = "manager-forbidden",
        /// The policy of the host does not allow the package.
        PackageForbidden = "package-forbidden",
        /// The policy of the host does not allow the action at this time.
        OutsideWindow = "outside-window",
        /// The policy of the host demands more approvals.
        TooFewApprovals = "too-few-approvals",
        /// A dry run shows a new package that was not approved.
        ExtraPackage = "extra-package",
        /// A dry run shows a removal that was not approved.
        Removal = "removal",
        /// A dry run shows that another package would change, which was not approved.
        OtherPackage = "other-package",
        /// A dry run shows another version than the approved one.
        OtherVersion = "other-version",
        /// A dry run shows the version coming from elsewhere.
        OtherOrigin = "other-origin",
        /// A dry run shows that an item would stay as it is.
        NotInPlan = "not-in-plan",
        /// A dry run differs from the approved plan in a way that is allowed as such.
        PlanChanged = "plan-changed",
        /// The package manager cannot make a plan.
        NoPlan = "no-plan",
        /// Another command is being carried out.
        Busy = "busy",
        /// The executor does not take commands from this user.
        ForeignUser = "foreign-user",
        /// The executor's own files or policy cannot be used.
        NotReady = "not-ready",
    }
}

/// A refusal: its code, and what was wrong in words for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{code}: {message}")]
pub struct CommandRefusal {
    /// The reason.
    pub code: RefusalCode,
    /// What was wrong, in one line.
    pub message: String,
}

impl CommandRefusal {
    /// A refusal for `code`.
    #[must_use]
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
