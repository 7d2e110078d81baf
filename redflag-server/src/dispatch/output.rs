//! What the tools of running commands print, for whoever watches: the newest part, in memory. The result brings the output that is kept.

use redflag_core::{
    ids::{AgentId, CommandId},
    limits,
};
use std::{collections::VecDeque, sync::Mutex};

/// Of how many commands the output is kept; the oldest goes first.
const COMMANDS_MAX: usize = 256;

/// The output of running commands.
#[derive(Debug, Default)]
pub(crate) struct Outputs(Mutex<VecDeque<Output>>);

/// The output of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// Ids of commands are unique within their agent only.
    of: (AgentId, CommandId),
    /// How many bytes were sent, also those that are gone.
    pub(crate) sent: u64,
    /// The end of them.
    pub(crate) text: String,
}

impl Outputs {
    /// Adds a part that begins at `offset`, as the agent says; what was there before counts once, and a gap is marked.
    pub(crate) fn add(&self, agent: AgentId, command: CommandId, offset: u64, text: &str) {
        let mut outputs = self.0.lock().expect("nothing panics under this lock");
        let position = outputs.iter().position(|output| output.of == (agent, command));
        let position = position.unwrap_or_else(|| {
            if outputs.len() == COMMANDS_MAX {
                outputs.pop_front();
            }
            outputs.push_back(Output { of: (agent, command), sent: offset, text: String::new() });
            outputs.len() - 1
        });
        outputs[position].add(offset, text);
    }

    /// What a command has printed.
    pub(crate) fn of(&self, agent: AgentId, command: CommandId) -> Option<Output> {
        self.0.lock().expect("nothing panics under this lock").iter().find(|output| output.of == (agent, command)).cloned()
    }

    /// Forgets a command that has ended.
    pub(crate) fn forget(&self, agent: AgentId, command: CommandId) {
        self.0.lock().expect("nothing panics under this lock").retain(|output| output.of != (agent, command));
    }
}

impl Output {
    fn add(&mut self, offset: u64, text: &str) {
        if offset > self.sent {
            self.text.push_str("\n[a part is missing]\n");
            self.sent = offset;
        }
        let known = usize::try_from(self.sent - offset).unwrap_or(usize::MAX);
        let new = text.get(text.ceil_char_boundary(known.min(text.len()))..).unwrap_or_default();
        self.text.push_str(new);
        self.sent = self.sent.max(offset.saturating_add(text.len() as u64));
        let surplus = self.text.len().saturating_sub(limits::COMMAND_OUTPUT_BYTES_MAX);
        self.text.drain(..self.text.ceil_char_boundary(surplus));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(number: u128) -> AgentId {
        AgentId::from_uuid(uuid::Uuid::from_u128(number)).unwrap()
    }

    fn command(number: u128) -> CommandId {
        CommandId::from_uuid(uuid::Uuid::from_u128(number)).unwrap()
    }

    #[test]
    fn parts_count_once_and_gaps_show() {
        let outputs = Outputs::default();
        outputs.add(agent(1), command(1), 0, "one ");
        outputs.add(agent(1), command(1), 0, "one ");
        outputs.add(agent(1), command(1), 2, "e two ");
        assert_eq!(outputs.of(agent(1), command(1)).unwrap().text, "one two ");
        outputs.add(agent(1), command(1), 12, "four");
        assert_eq!(outputs.of(agent(1), command(1)).unwrap().text, "one two \n[a part is missing]\nfour");
        assert_eq!(outputs.of(agent(2), command(1)), None, "another agent's command of the same id is another");
        outputs.forget(agent(1), command(1));
        assert_eq!(outputs.of(agent(1), command(1)), None);
    }

    #[test]
    fn an_offset_beyond_every_output_harms_nobody() {
        let outputs = Outputs::default();
        for offset in [0, u64::MAX, u64::MAX - 1, 0] {
            outputs.add(agent(1), command(1), offset, "one ");
        }
        let kept = outputs.of(agent(1), command(1)).unwrap();
        assert_eq!((kept.sent, kept.text.as_str()), (u64::MAX, "one \n[a part is missing]\none ne "));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let outputs = Outputs::default();
        let part = "é".repeat(limits::COMMAND_OUTPUT_BYTES_MAX / 2);
        outputs.add(agent(1), command(1), 0, &part);
        outputs.add(agent(1), command(1), part.len() as u64, "end");
        let kept = outputs.of(agent(1), command(1)).unwrap();
        assert!(kept.text.len() <= limits::COMMAND_OUTPUT_BYTES_MAX && kept.text.ends_with("end"));
        assert_eq!(kept.sent, part.len() as u64 + 3);
        for number in 2..=COMMANDS_MAX as u128 + 1 {
            outputs.add(agent(1), command(number), 0, "x");
        }
        assert_eq!(outputs.of(agent(1), command(1)), None, "the oldest went");
    }
}
