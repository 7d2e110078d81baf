//! What simulated agents do after their first report.

use clap::ValueEnum;

/// How a simulated fleet behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// First reports and nothing else
    First,
    /// Check-ins of hosts on which nothing changed: each must be answered as unchanged, without an event
    Idle,
    /// About half of the hosts change in each round
    #[default]
    Changes,
    /// A copy of each agent reports with numbers the original has used: it must be refused
    Clones,
    /// A clock that is too far off signs a report, which must be refused; with the right time it must be taken
    Skew,
    /// The answer to each changed report is dropped, and the same bytes are sent again: the answer must be the same
    LostAnswers,
    /// Every fifth agent does each of these
    Mixed,
}

/// What one agent does in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    Idle,
    Change,
    Clone,
    Skew,
    LoseAnswer,
}

impl Profile {
    /// What agent `index` does in every round; nothing in a profile of first reports.
    pub(super) fn behaviour(self, index: u64) -> Option<Behaviour> {
        const MIXED: [Behaviour; 5] = [Behaviour::Idle, Behaviour::Change, Behaviour::Clone, Behaviour::Skew, Behaviour::LoseAnswer];
        match self {
            Self::First => None,
            Self::Idle => Some(Behaviour::Idle),
            Self::Changes => Some(Behaviour::Change),
            Self::Clones => Some(Behaviour::Clone),
            Self::Skew => Some(Behaviour::Skew),
            Self::LostAnswers => Some(Behaviour::LoseAnswer),
            Self::Mixed => MIXED.get(usize::try_from(index % 5).expect("below five")).copied(),
        }
    }
}
