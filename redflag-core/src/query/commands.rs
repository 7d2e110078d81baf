//! Pages of commands, newest first, with the reference evaluator.

use super::{PageSize, QueryError};
use crate::{
    command::{lifecycle::CommandState, record::CommandRecord},
    ids::{AgentId, CommandId},
    names::Text,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, fmt, str::FromStr};

/// Which commands by state. In text: `any`, `open`, or one state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommandFilter {
    /// All.
    #[default]
    Any,
    /// Those that have not ended.
    Open,
    /// Those that stand there.
    Only(CommandState),
}

impl CommandFilter {
    /// Whether a command that stands there passes.
    #[must_use]
    pub fn matches(self, state: CommandState) -> bool {
        match self {
            Self::Any => true,
            Self::Open => state.open(),
            Self::Only(only) => only == state,
        }
    }

    /// The states that pass.
    pub fn states(self) -> impl Iterator<Item = CommandState> {
        CommandState::ALL.iter().copied().filter(move |state| self.matches(*state))
    }
}

impl FromStr for CommandFilter {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        match text {
            "any" => Ok(Self::Any),
            "open" => Ok(Self::Open),
            word => match word.parse() {
                Ok(state) => Ok(Self::Only(state)),
                Err(error) => Err(QueryError::new("state", format!("{error}; or: any, open"))),
            },
        }
    }
}

impl fmt::Display for CommandFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Any => "any",
            Self::Open => "open",
            Self::Only(state) => state.as_str(),
        })
    }
}

/// A command's place in the order of lists: by when it was asked for, then agent, then id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CommandPosition {
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// Its agent.
    pub agent: AgentId,
    /// Its id.
    pub command: CommandId,
}

impl CommandPosition {
    /// The place of a command.
    #[must_use]
    pub const fn of(record: &CommandRecord) -> Self {
        Self { requested_at: record.request.at, agent: record.audience.agent, command: record.id }
    }
}

/// A page of commands, newest first. The order never changes, so a walk sees each command once, whatever happens meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandQuery {
    /// Of this agent; none for all.
    pub agent: Option<AgentId>,
    /// That stand there.
    pub state: CommandFilter,
    /// Behind this place; none from the newest on.
    pub after: Option<CommandPosition>,
    /// How many.
    pub size: PageSize,
}

/// One command in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRow {
    /// The name of its agent.
    pub agent_name: Text,
    /// The command.
    pub record: CommandRecord,
}

/// One page of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandPage {
    /// The rows.
    pub items: Vec<CommandRow>,
    /// All commands that pass.
    pub total: u64,
    /// Behind which the next page begins; none on the last.
    pub next: Option<CommandPosition>,
}

/// Answers a query over all commands: the reference every backend is compared with.
#[must_use]
pub fn evaluate_commands(commands: impl IntoIterator<Item = CommandRow>, query: &CommandQuery) -> CommandPage {
    let passes =
        |row: &CommandRow| query.agent.is_none_or(|agent| agent == row.record.audience.agent) && query.state.matches(row.record.state);
    let mut rows: Vec<_> = commands.into_iter().filter(passes).collect();
    rows.sort_unstable_by_key(|row| Reverse(CommandPosition::of(&row.record)));
    let total = rows.len() as u64;
    rows.retain(|row| query.after.is_none_or(|after| CommandPosition::of(&row.record) < after));
    CommandPage::cut(rows, total, query.size)
}

impl CommandPage {
    /// The page that holds the first of these rows, which may go on behind its end.
    #[must_use]
    pub fn cut(mut rows: Vec<CommandRow>, total: u64, size: PageSize) -> Self {
        let more = rows.len() > size.get() as usize;
        rows.truncate(size.get() as usize);
        let next = rows.last().filter(|_| more).map(|row| CommandPosition::of(&row.record));
        Self { items: rows, total, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_as_they_are_written() {
        let words = CommandState::ALL.iter().copied().map(CommandFilter::Only);
        for filter in [CommandFilter::Any, CommandFilter::Open].into_iter().chain(words) {
            assert_eq!(filter.to_string().parse::<CommandFilter>().unwrap(), filter);
        }
        let error = "running".parse::<CommandFilter>().unwrap_err();
        assert!(error.parameter == "state" && error.message.ends_with("; or: any, open"), "{error:?}");
    }
}
