//! Plans for what is approved: the way from a decision into the queue.

use super::{
    payload::check_item,
    plan::Item,
    record::{CommandRecord, Terms},
    step::{Request, Step, Wanted},
};
use crate::{
    Fleet,
    event::Actor,
    ids::{AgentId, CommandId, Digest},
    limits,
    names::{Manager, PackageKey, Text},
    offer::Offer,
    query::{CommandFilter, CommandQuery, PageNumber, PageSize, PageStart, StatusFilter, UpdateFilter, UpdateQuery, UpdateRow},
    state::Standing,
    store::{StoreError, StoreErrorKind},
    time::Timestamp,
    words::{AvailabilityKind, Status},
    work::Refusal,
};
use std::collections::{BTreeMap, BTreeSet};

/// Packages that are planned together, each with when it was approved.
type Group = Vec<(PackageKey, Timestamp)>;

/// What came of [`Fleet::request_approved`].
#[derive(Clone, Debug, Default)]
pub struct RequestedPlans {
    /// The plan commands that wait for the agent now.
    pub commands: Vec<CommandRecord>,
    /// Why others could not be requested. Nothing of them has changed.
    pub refused: Vec<Refusal>,
}

impl Fleet {
    /// Requests a plan for every approved update of an agent that no open command is about.
    ///
    /// What can be installed now is planned together by manager; every other update, and one that no command can be about, alone, so that it
    /// can only fail alone (clause C5). The latter is in review afterwards.
    /// The ids follow from the approvals: any number of processes may do this at once. What changes meanwhile, or finds no room in the
    /// queue, is left to the next call.
    ///
    /// # Errors
    /// When the agent is unknown or the store fails; what was requested until then stays, and is answered by the queue.
    pub async fn request_approved(&self, agent: AgentId, terms: &Terms, at: Timestamp) -> Result<RequestedPlans, StoreError> {
        let mut requested = RequestedPlans::default();
        let approved = self.approved(agent).await?;
        if approved.is_empty() {
            return Ok(requested);
        }
        let under_way = self.under_way(agent).await?;
        for group in groups(approved, &under_way) {
            let request = Request {
                command: id_of(agent, &group, terms),
                by: Actor::System(Text::lossy("approvals")),
                wanted: Wanted::Updates(group.into_iter().map(|(package, _)| package).collect()),
                terms: terms.clone(),
            };
            match self.command(agent, Step::Request(request), at).await {
                Ok(commands) => requested.commands.extend(commands.into_iter().filter(|command| command.state.open())),
                Err(error) => match error.kind() {
                    // Somebody was quicker, or the approval is gone: the next call finds it settled.
                    StoreErrorKind::Refused(Refusal::CommandUnderWay { .. } | Refusal::NotApproved { .. }) => {}
                    StoreErrorKind::Refused(refusal @ (Refusal::TooManyCommands { .. } | Refusal::InvalidCommand(_))) => {
                        requested.refused.push(refusal.clone());
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(requested)
    }

    /// The approved updates of an agent, up to as many as one command can be about.
    async fn approved(&self, agent: AgentId) -> Result<Vec<UpdateRow>, StoreError> {
        let filter = UpdateFilter { status: StatusFilter::Is(Status::Approved), agent: Some(agent), ..UpdateFilter::default() };
        let start = PageStart::Number(PageNumber::default());
        let mut query = UpdateQuery { filter, start, size: PageSize::MAX, ..UpdateQuery::default() };
        let mut approved = Vec::new();
        loop {
            let page = self.store().updates(&query).await?;
            approved.extend(page.items);
            match page.next {
                Some(cursor) if approved.len() < limits::COMMAND_ITEMS_MAX => query.start = PageStart::After(cursor),
                _ => {
                    approved.truncate(limits::COMMAND_ITEMS_MAX);
                    return Ok(approved);
                }
            }
        }
    }

    /// The packages that open commands of an agent are about.
    async fn under_way(&self, agent: AgentId) -> Result<BTreeSet<PackageKey>, StoreError> {
        let query = CommandQuery { agent: Some(agent), state: CommandFilter::Open, size: PageSize::MAX, ..CommandQuery::default() };
        let open = self.store().commands(&query).await?.items;
        Ok(open.iter().flat_map(|row| row.record.action.items()).map(|item| item.package.clone()).collect())
    }
}

fn groups(approved: Vec<UpdateRow>, under_way: &BTreeSet<PackageKey>) -> Vec<Group> {
    let (mut together, mut alone) = (BTreeMap::<Manager, Group>::new(), Vec::new());
    for row in approved.into_iter().filter(|row| !under_way.contains(&row.state.package)) {
        let Standing::Approved(approval) = &row.state.standing else { continue };
        let (package, at) = (row.state.package, approval.at);
        if can_be_installed(&package, &row.state.offer) {
            together.entry(package.manager.clone()).or_default().push((package, at));
        } else {
            alone.push(vec![(package, at)]);
        }
    }
    let mut groups: Vec<_> = together.into_values().chain(alone).collect();
    groups.iter_mut().for_each(|group| group.sort());
    groups
}

/// Whether an update can be installed now, by a command.
fn can_be_installed(package: &PackageKey, offer: &Offer) -> bool {
    let orderable = Item::of_offer(package, offer).is_some_and(|item| check_item(&item).is_ok());
    orderable && offer.availability.kind == AvailabilityKind::Installable
}

/// The same for the same approvals, whoever asks. An update that is approved anew is planned anew.
fn id_of(agent: AgentId, group: &Group, terms: &Terms) -> CommandId {
    let content = serde_json::to_vec(&(group, terms)).expect("packages and terms always serialise");
    CommandId::of_approvals(agent, &Digest::of("redflag approvals v1", &[&content]))
}
