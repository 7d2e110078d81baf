//! What the agent is doing right now, told stage by stage to whoever shows it.

use redflag_core::{ids::ReportId, names::Manager, words::ScanResult};
use std::time::Duration;

/// One step of the agent's work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// A manager is being asked.
    Scanning {
        /// Which.
        manager: Manager,
    },
    /// A manager has answered.
    Scanned {
        /// Which.
        manager: Manager,
        /// How the scan ended.
        result: ScanResult,
        /// Updates found.
        updates: u64,
    },
    /// A report is safe in the outbox.
    Kept {
        /// Which.
        report_id: ReportId,
        /// Bytes of its body.
        bytes: u64,
    },
    /// A report is on its way.
    Sending {
        /// Which.
        report_id: ReportId,
        /// Bytes of its body.
        bytes: u64,
        /// Reports waiting behind it.
        behind: u64,
    },
    /// The server did not answer; it will be asked again.
    Retrying {
        /// Why.
        error: String,
        /// How long from now.
        after: Duration,
    },
    /// The server has taken a report.
    Delivered {
        /// Which.
        report_id: ReportId,
    },
    /// Simulated agents were enrolled.
    Enrolled {
        /// How many so far.
        agents: u64,
        /// Of how many.
        of: u64,
    },
    /// Simulated agents have reported.
    Reported {
        /// How many so far.
        agents: u64,
        /// Of how many.
        of: u64,
        /// The round, counted from 0.
        round: u32,
    },
}

/// Something that shows progress. Any `FnMut(&Stage) + Send` is one.
pub trait Progress: Send {
    /// Shows that `stage` was reached. Must not block for long: the agent waits.
    fn stage(&mut self, stage: &Stage);
}

impl<F> Progress for F
where
    F: FnMut(&Stage) + Send,
{
    fn stage(&mut self, stage: &Stage) {
        self(stage);
    }
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn stage(&mut self, _stage: &Stage) {}
}
