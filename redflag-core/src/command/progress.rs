//! What happens to a command on its way: it is signed, handed out, begun, and ended by its agent or by somebody who calls it off.

use super::{
    envelope::Envelope,
    lifecycle::{CommandEvent, CommandState, Move, moves},
    payload::{Action, SideEffect},
    people::People,
    plan::{Excess, Item, Plan},
    queue::{Queue, system},
    record::{Claim, CommandRecord, CommandSignature, End, Ending, Failure, Success},
    step::Sign,
};
use crate::{
    event::{Actor, EventKind},
    ids::CommandId,
    limits,
    names::Text,
    work::Refusal,
};
use std::collections::{BTreeMap, BTreeSet};

impl Queue<'_> {
    pub(super) fn lease(&mut self, new: u32) -> Vec<CommandRecord> {
        self.sweep();
        let new = new.min(limits::COMMANDS_LEASED_MAX) as usize;
        let mut given = Vec::new();
        let mut waiting = Vec::new();
        for record in self.open() {
            match record.state {
                CommandState::Leased => given.push(record),
                // What was delivered before does not take the place of what was not (clause C5).
                CommandState::Queued if record.delivered() => given.push(self.hand_out(record)),
                // What nobody put off is due, even if the clock of who asked for it is ahead of this one.
                CommandState::Queued if record.terms.not_before.is_none() || record.not_before <= self.at => waiting.push(record),
                _ => {}
            }
        }
        waiting.sort_by_key(|record| record.counter.unwrap_or(u64::MAX));
        for record in waiting.into_iter().take(new) {
            let record = self.hand_out(record);
            given.push(record);
        }
        given.sort_by_key(|record| record.counter);
        self.overtake(given.last().and_then(|record| record.counter));
        given
    }

    fn hand_out(&mut self, mut record: CommandRecord) -> CommandRecord {
        record.state = CommandState::Leased;
        record.attempts += 1;
        record.leased_until = Some(self.at.saturating_add(limits::COMMAND_LEASE));
        if record.counter.is_none() {
            self.counter += 1;
            record.counter = Some(self.counter);
        }
        self.keep(record)
    }

    /// An executor refuses a counter below one it has seen, so what was signed with one and never delivered must be signed anew.
    fn overtake(&mut self, delivered: Option<u64>) {
        for record in self.open() {
            let overtaken = record.counter.is_some_and(|counter| delivered.is_some_and(|delivered| counter < delivered));
            if !record.delivered() && overtaken {
                let state = CommandState::AwaitingSignature;
                self.keep(CommandRecord { state, counter: None, signatures: BTreeMap::new(), ..record });
            }
        }
    }

    pub(super) fn start(&mut self, id: CommandId) -> Result<CommandRecord, Refusal> {
        let record = self.known(id)?;
        let mut record = self.settle(record);
        match self.may(&record, CommandEvent::Start)? {
            Move::To(state) => {
                record.state = state;
                record.leased_until = None;
                record.started_at = Some(self.at);
                if record.installs() {
                    let started = |item: &Item| (item.package.clone(), EventKind::InstallStarted { command: id });
                    let events = record.action.items().iter().map(started).collect();
                    self.happen(&record, Actor::Agent, events);
                }
                Ok(self.keep(record))
            }
            _ => Ok(record),
        }
    }

    /// The command, then the one that follows from it.
    pub(super) fn finish_command(&mut self, id: CommandId, claim: &Claim) -> Result<Vec<CommandRecord>, Refusal> {
        let mut record = self.known(id)?;
        let how = said(&record, claim);
        let event = match &how {
            Ending::Succeeded(_) => CommandEvent::Succeed,
            Ending::Failed(_) => CommandEvent::Fail,
            _ => CommandEvent::Refuse,
        };
        match self.may(&record, event)? {
            Move::To(_) => {
                let record = self.end(record, Actor::Agent, how.clone());
                let follows = match (&record.action, how) {
                    (Action::Plan { items }, Ending::Succeeded(Success { plan: Some(plan), .. })) => {
                        self.planned(&record, &items.clone(), &plan)
                    }
                    _ => None,
                };
                Ok(std::iter::once(record).chain(follows).collect())
            }
            _ => {
                let heard = record.end.iter().chain(&record.late).any(|end| end.how == how);
                if !heard && record.late.len() < limits::COMMAND_LATE_RESULTS_MAX {
                    record.late.push(End { at: self.at, by: Actor::Agent, how });
                    record = self.keep(record);
                }
                let follows = self.find(CommandId::of_plan(self.agent, id)).cloned();
                Ok(std::iter::once(record).chain(follows).collect())
            }
        }
    }

    pub(super) fn cancel(&mut self, id: CommandId, by: Actor, how: Ending) -> Result<CommandRecord, Refusal> {
        let record = self.known(id)?;
        match self.may(&record, CommandEvent::Cancel)? {
            Move::To(_) => Ok(self.end(record, by, how)),
            _ => Ok(record),
        }
    }

    pub(super) fn sign(&mut self, sign: &Sign) -> Result<CommandRecord, Refusal> {
        let Sign { command, counter, person, key_id, signature, people } = sign;
        let record = self.known(*command)?;
        let mut record = self.settle(record);
        let signed = CommandSignature(*signature);
        if record.counter == Some(*counter) && record.signatures.get(key_id) == Some(&signed) {
            return Ok(record);
        }
        let Move::To(queued) = self.may(&record, CommandEvent::Sign)? else { return Ok(record) };
        // Reserved by the first signature, so that several people can sign several commands of an agent, each in a round of their own.
        let next = record.counter.unwrap_or(self.counter + 1);
        if *counter != next {
            return Err(Refusal::CounterMoved { command: *command, next });
        }
        let key = people.key_of(person, *key_id).map_err(Refusal::InvalidCommand)?;
        let envelope = Envelope::around(&record.payload_with(*counter));
        key.check(record.terms.mode, &envelope.bytes_to_sign(), signature).map_err(Refusal::InvalidCommand)?;
        record.signatures.retain(|key_id, _| people.person(key_id).is_some_and(|signer| signer != person));
        record.signatures.insert(*key_id, signed);
        record.counter = Some(*counter);
        self.counter = self.counter.max(*counter);
        if people.suffice(&record) {
            record.state = queued;
        }
        Ok(self.keep(record))
    }

    /// Takes back what was signed by keys that do not count any more.
    pub(super) fn recall(&mut self, people: &People) -> Vec<CommandRecord> {
        let mut recalled = Vec::new();
        for mut record in self.open() {
            let lacking = !people.suffice(&record);
            match record.state {
                CommandState::Started => {}
                // The agent may have it, with signatures that counted then.
                _ if record.delivered() && lacking => {
                    let reason = Some(Text::lossy("a key that signed it does not count any more"));
                    recalled.push(self.end(record, system(), Ending::Cancelled { reason }));
                }
                _ if record.delivered() => {}
                _ => {
                    let before = record.signatures.len();
                    record.signatures.retain(|key_id, _| people.person(key_id).is_some());
                    if record.signatures.len() < before {
                        if lacking {
                            record.state = CommandState::AwaitingSignature;
                        }
                        recalled.push(self.keep(record));
                    }
                }
            }
        }
        recalled
    }

    /// What the table says, and that agents are heard only of what they were given.
    pub(super) fn may(&self, record: &CommandRecord, event: CommandEvent) -> Result<Move, Refusal> {
        let unheard = record.state == CommandState::Queued && !record.delivered();
        let of_agent = matches!(event, CommandEvent::Start | CommandEvent::Succeed | CommandEvent::Fail | CommandEvent::Refuse);
        match moves(event, record.state) {
            possible if possible != Move::Forbidden && !(unheard && of_agent) => Ok(possible),
            _ => Err(Refusal::IllegalStep { command: record.id, event, state: record.state }),
        }
    }

    /// What a plan leads to: the installation, or a second look (clause A1).
    fn planned(&mut self, record: &CommandRecord, items: &[Item], plan: &Plan) -> Option<CommandRecord> {
        if items.iter().any(|item| self.approval(item).is_none()) {
            let reason = Text::lossy("planned together with packages that are not as they were approved any more");
            self.ask_for_review(record, items, &reason);
            return None;
        }
        let excess = plan.excess(items);
        let beyond: Vec<_> = excess.iter().filter(|excess| !excess.within(&record.terms.side_effects)).collect();
        if !beyond.is_empty() {
            self.ask_for_review(record, items, &summary(&beyond));
            return None;
        }
        match self.install_planned(record, plan) {
            Ok(installation) => Some(installation),
            Err(refusal) => {
                self.ask_for_review(record, items, &Text::lossy(&refusal.to_string()));
                None
            }
        }
    }
}

/// What an agent said, within its limits and in keeping with what it was asked.
fn said(record: &CommandRecord, claim: &Claim) -> Ending {
    let plans = matches!(record.action, Action::Plan { .. });
    let failed = |reason: &str, output| Claim::Failed(Failure { reason: Text::lossy(reason), rolled_back: false, output });
    let claim = match claim.clone() {
        Claim::Succeeded(Success { plan: None, output, .. }) if plans => failed("the agent sent no plan", output),
        Claim::Succeeded(Success { plan: Some(plan), output, .. }) if plans && plan.changes.len() > limits::PLAN_CHANGES_MAX => {
            failed(&format!("the plan changes {} packages, more than can be looked at", plan.changes.len()), output)
        }
        Claim::Succeeded(success) if !plans => Claim::Succeeded(Success { plan: None, ..success }),
        other => other,
    };
    Ending::from(claim).bounded()
}

/// What a plan does beyond its terms, in words for people.
fn summary(beyond: &[&Excess]) -> Text {
    const NAMED: usize = 8;
    let named: Vec<String> = beyond.iter().take(NAMED).map(ToString::to_string).collect();
    let more = beyond.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    Text::lossy(&format!("the plan {}{rest}", named.join("; ")))
}

impl Excess {
    /// The side effect it is; none when the items themselves would not come as they were approved, which nothing can allow.
    #[must_use]
    pub const fn side_effect(&self) -> Option<SideEffect> {
        match self {
            Self::NewPackage(_) => Some(SideEffect::NewPackage),
            Self::Removal(_) => Some(SideEffect::Removal),
            Self::OtherPackage(_) => Some(SideEffect::OtherPackage),
            Self::OtherVersion(_) | Self::OtherOrigin(_) | Self::Missing(_) => None,
        }
    }

    /// Whether these side effects allow it.
    #[must_use]
    pub fn within(&self, allowed: &BTreeSet<SideEffect>) -> bool {
        self.side_effect().is_some_and(|effect| allowed.contains(&effect))
    }
}
