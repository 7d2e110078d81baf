//! New commands: asked for, confirmed, asked for again, and what every new one must be.

use super::{
    lifecycle::{CommandEvent, CommandState},
    payload::{Action, Audience, CommandApproval, Order, SigningMode},
    plan::{Excess, Item, Plan},
    queue::{Happening, Queue, name, system},
    record::{CommandRecord, End, Ending, Requested, Success, Terms},
    refusal::{CommandRefusal, RefusalCode},
    step::{Confirm, Request, Retry, Wanted},
};
use crate::{
    event::{Actor, EventKind},
    ids::{CommandId, Digest},
    limits,
    names::{DOCKER, PackageKey, Text},
    signing,
    state::Standing,
    work::Refusal,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What a new command is made of.
struct New {
    id: CommandId,
    action: Action,
    approvals: Vec<CommandApproval>,
    terms: Terms,
    request: Requested,
    follows: Option<CommandId>,
}

impl Queue<'_> {
    pub(super) fn request(&mut self, request: &Request) -> Result<CommandRecord, Refusal> {
        let Request { command, by, wanted, terms } = request;
        let digest = content(&("request", by, wanted, terms));
        if let Some(known) = self.asked_before(*command, digest)? {
            return Ok(known);
        }
        let packages = wanted.packages();
        self.check_free(packages.iter())?;
        let request = Requested { by: by.clone(), at: self.at, digest };
        let new = |action, approvals| New { id: *command, action, approvals, terms: terms.clone(), request, follows: None };
        match wanted {
            Wanted::Updates(_) => self.request_plan(&packages, new),
            Wanted::Host(action @ (Action::Plan { .. } | Action::Install(_) | Action::Recreate(_))) => {
                Err(invalid(format!("{} is asked for by the updates it is about", action.kind())))
            }
            Wanted::Host(action) => {
                let record = self.create(new(action.clone(), self.own_consent(by)))?;
                Ok(self.keep(record))
            }
        }
    }

    /// A plan of approved updates. Where no command can be about them, it ends at once as refused, and they go to review: an approval that
    /// cannot be carried out must not look as if it could.
    fn request_plan(
        &mut self,
        packages: &[PackageKey],
        new: impl FnOnce(Action, Vec<CommandApproval>) -> New,
    ) -> Result<CommandRecord, Refusal> {
        let (mut items, mut unsound) = (Vec::new(), None);
        for item in self.approved(packages)? {
            match item {
                Ok(item) => items.push(item),
                Err(refusal) => unsound = Some(refusal),
            }
        }
        let approvals = merged(items.iter().filter_map(|item| self.approval(item)));
        let new = new(Action::Plan { items }, approvals);
        check_terms(&new.terms)?;
        let record = self.draft(new);
        let sound = unsound.map_or_else(|| record.payload_with(1).check(), Err);
        match sound {
            Ok(()) => Ok(self.keep(record)),
            Err(refusal) => Ok(self.refuse_plan(record, packages, refusal)),
        }
    }

    fn refuse_plan(&mut self, mut record: CommandRecord, packages: &[PackageKey], refusal: CommandRefusal) -> CommandRecord {
        let reason = Text::lossy(&format!("no plan: refused: {refusal}"));
        let how = Ending::Refused(refusal);
        record.state = how.state();
        record.end = Some(End { at: self.at, by: system(), how });
        let events = packages.iter().map(|package| (package.clone(), EventKind::ReviewRequested { reason: reason.clone() }));
        self.happen(&record, system(), events.collect());
        self.keep(record)
    }

    pub(super) fn confirm(&mut self, confirm: &Confirm) -> Result<CommandRecord, Refusal> {
        let Confirm { command, plan: plan_command, digest: plan_digest, operator, comment } = confirm;
        let digest = content(&("confirm", plan_command, plan_digest, operator, comment));
        if let Some(known) = self.asked_before(*command, digest)? {
            return Ok(known);
        }
        let planned = self.known(*plan_command)?;
        let plan = match planned.end.as_ref().map(|end| &end.how) {
            Some(Ending::Succeeded(Success { plan: Some(plan), .. })) if plan.digest() == *plan_digest => plan.clone(),
            _ => return Err(Refusal::OtherPlan { command: *plan_command }),
        };
        let items = planned.action.items();
        self.check_free(items.iter().map(|item| &item.package))?;
        if let Some(wrong) = plan.excess(items).iter().find(|excess| excess.side_effect().is_none()) {
            return Err(invalid(format!("the plan {wrong}, which is not what was approved")));
        }
        let (consents, mut events) = self.approve_again(items, comment.as_ref())?;
        let by = Actor::Operator(operator.clone());
        let request = Requested { by: by.clone(), at: self.at, digest };
        let consents = consents.into_iter().chain(self.own_consent(&by));
        let record = self.installation(*command, &planned, &plan, consents, request)?;
        events.extend(queued(&record));
        self.happen(&record, by, events);
        Ok(self.keep(record))
    }

    pub(super) fn retry(&mut self, retry: &Retry) -> Result<CommandRecord, Refusal> {
        let Retry { command, failed, operator } = retry;
        let digest = content(&("retry", failed, operator));
        if let Some(known) = self.asked_before(*command, digest)? {
            return Ok(known);
        }
        let old = self.known(*failed)?;
        self.may(&old, CommandEvent::Retry)?;
        let items = old.action.items();
        self.check_free(items.iter().map(|item| &item.package))?;
        let by = Actor::Operator(operator.clone());
        let request = Requested { by: by.clone(), at: self.at, digest };
        let (action, terms, follows) = (old.action.clone(), old.terms.clone(), Some(*failed));
        let (record, events) = if old.installs() {
            if let Some(item) = items.iter().find(|item| !self.failed_under(item, *failed)) {
                return Err(not_approved(item));
            }
            let record = self.create(New { id: *command, action, approvals: old.approvals.clone(), terms, request, follows })?;
            let events = queued(&record).collect();
            (record, events)
        } else {
            let (consents, events) = self.approve_again(items, None)?;
            let approvals = if items.is_empty() { self.own_consent(&by) } else { merged(consents) };
            (self.create(New { id: *command, action, approvals, terms, request, follows })?, events)
        };
        self.happen(&record, by, events);
        Ok(self.keep(record))
    }

    /// What a plan within its terms leads to.
    pub(super) fn install_planned(&mut self, planned: &CommandRecord, plan: &Plan) -> Result<CommandRecord, Refusal> {
        let id = CommandId::of_plan(self.agent, planned.id);
        let consents: Vec<_> = planned.action.items().iter().filter_map(|item| self.approval(item)).collect();
        let request = Requested { by: system(), at: self.at, digest: content(&("planned", planned.id)) };
        let record = self.installation(id, planned, plan, consents, request)?;
        let events = queued(&record).collect();
        self.happen(&record, system(), events);
        Ok(self.keep(record))
    }

    fn installation(
        &self,
        id: CommandId,
        planned: &CommandRecord,
        plan: &Plan,
        consents: impl IntoIterator<Item = CommandApproval>,
        request: Requested,
    ) -> Result<CommandRecord, Refusal> {
        let items = planned.action.items().to_vec();
        let side_effects = plan.excess(&items).iter().filter_map(Excess::side_effect).collect();
        let of_containers = items.first().is_some_and(|item| item.package.manager.as_str() == DOCKER);
        let order = Order { items, side_effects, plan_digest: plan.digest() };
        let action = if of_containers { Action::Recreate(order) } else { Action::Install(order) };
        let (approvals, terms, follows) = (merged(consents), planned.terms.clone(), Some(planned.id));
        self.create(New { id, action, approvals, terms, request, follows })
    }

    /// A command that fits its format and its terms, not kept yet.
    fn create(&self, new: New) -> Result<CommandRecord, Refusal> {
        check_terms(&new.terms)?;
        let record = self.draft(new);
        record.payload_with(1).check().map_err(Refusal::InvalidCommand)?;
        Ok(record)
    }

    fn draft(&self, new: New) -> CommandRecord {
        let New { id, action, approvals, terms, request, follows } = new;
        let audience = Audience { agent: self.agent, key_id: signing::key_id(&self.head.public_key) };
        let changes_host = matches!(action, Action::Install(_) | Action::Recreate(_) | Action::Reboot);
        let not_before = terms.not_before.filter(|_| changes_host).map_or(self.at, |from| from.max(self.at));
        let expires_at = not_before.saturating_add(Duration::from_secs(terms.lifetime_seconds.into()));
        let state = match terms.mode {
            SigningMode::ServerSigns => CommandState::Queued,
            SigningMode::OperatorSigns => CommandState::AwaitingSignature,
        };
        CommandRecord {
            id,
            audience,
            action,
            approvals,
            terms,
            request,
            follows,
            not_before,
            expires_at,
            state,
            counter: None,
            signatures: BTreeMap::new(),
            attempts: 0,
            leased_until: None,
            started_at: None,
            end: None,
            late: Vec::new(),
            revision: 0,
        }
    }

    /// The consent of an operator who asks.
    fn own_consent(&self, by: &Actor) -> Vec<CommandApproval> {
        match by {
            Actor::Operator(operator) => vec![CommandApproval { actor: operator.clone(), at: self.at }],
            Actor::Agent | Actor::System(_) => Vec::new(),
        }
    }

    /// A request that came before, with the same content.
    fn asked_before(&self, command: CommandId, digest: Digest) -> Result<Option<CommandRecord>, Refusal> {
        match self.find(command) {
            Some(known) if known.request.digest == digest => Ok(Some(known.clone())),
            Some(_) => Err(Refusal::CommandIdReused { command }),
            None => Ok(None),
        }
    }

    /// Room for one more command, and no other about one of the packages.
    fn check_free<'b>(&self, packages: impl Iterator<Item = &'b PackageKey>) -> Result<(), Refusal> {
        let open = self.open();
        if open.len() >= limits::COMMANDS_OPEN_MAX {
            return Err(Refusal::TooManyCommands { agent: self.agent });
        }
        let wanted: BTreeSet<_> = packages.collect();
        for record in &open {
            if let Some(item) = record.action.items().iter().find(|item| wanted.contains(&item.package)) {
                return Err(Refusal::CommandUnderWay { package: item.package.clone(), command: record.id });
            }
        }
        Ok(())
    }

    /// What was approved of these packages, or why no command can bring it.
    fn approved(&self, packages: &[PackageKey]) -> Result<Vec<Result<Item, CommandRefusal>>, Refusal> {
        let item = |package: &PackageKey| {
            let state = self.state(package).filter(|state| matches!(state.standing, Standing::Approved(_)));
            let state = state.ok_or_else(|| Refusal::NotApproved { package: package.clone() })?;
            Ok(Item::of_offer(package, &state.offer).ok_or_else(|| nothing_installed(package)))
        };
        packages.iter().map(item).collect()
    }

    /// The consents to items that are approved or in review, with the events that approve the latter again.
    fn approve_again(&self, items: &[Item], comment: Option<&Text>) -> Result<(Vec<CommandApproval>, Vec<Happening>), Refusal> {
        let (mut consents, mut events) = (Vec::new(), Vec::new());
        for item in items {
            let state = self.update(item).ok_or_else(|| not_approved(item))?;
            let approval = match &state.standing {
                Standing::Approved(approval) => approval,
                Standing::NeedsReview { approval, .. } => {
                    let approved = EventKind::Approved { offer_digest: state.offer_digest(), comment: comment.cloned() };
                    events.push((item.package.clone(), approved));
                    approval
                }
                _ => return Err(not_approved(item)),
            };
            consents.push(CommandApproval { actor: name(&approval.actor), at: approval.at });
        }
        Ok((consents, events))
    }

    /// Whether an update stands where the failure of this command left it.
    fn failed_under(&self, item: &Item, command: CommandId) -> bool {
        let standing = self.update(item).map(|state| &state.standing);
        matches!(standing, Some(Standing::Failed { dispatch, .. }) if dispatch.command == command)
    }
}

/// Says of each update that this command is to install it.
fn queued(record: &CommandRecord) -> impl Iterator<Item = Happening> {
    record.action.items().iter().map(|item| (item.package.clone(), EventKind::InstallQueued { command: record.id }))
}

/// The consents, the newest of each person, by name.
fn merged(consents: impl IntoIterator<Item = CommandApproval>) -> Vec<CommandApproval> {
    let mut newest = BTreeMap::new();
    for CommandApproval { actor, at } in consents {
        let known = newest.entry(actor).or_insert(at);
        *known = at.max(*known);
    }
    newest.into_iter().map(|(actor, at)| CommandApproval { actor, at }).collect()
}

fn content(content: &impl Serialize) -> Digest {
    Digest::of("redflag command request v1", &[&serde_json::to_vec(content).expect("requests always serialise")])
}

fn not_approved(item: &Item) -> Refusal {
    Refusal::NotApproved { package: item.package.clone() }
}

fn nothing_installed(package: &PackageKey) -> CommandRefusal {
    CommandRefusal::new(RefusalCode::Malformed, format!("of {package} no installed version is replaced, and commands only upgrade"))
}

fn invalid(message: String) -> Refusal {
    Refusal::InvalidCommand(CommandRefusal::new(RefusalCode::Malformed, message))
}

fn check_terms(terms: &Terms) -> Result<(), Refusal> {
    let within = |seconds: u32, max: Duration| seconds > 0 && Duration::from_secs(seconds.into()) <= max;
    if !within(terms.lifetime_seconds, limits::COMMAND_LIFETIME_MAX) || !within(terms.run_seconds, limits::COMMAND_RUN_MAX) {
        return Err(invalid(format!("{} seconds to begin and {} to run are out of range", terms.lifetime_seconds, terms.run_seconds)));
    }
    let signatures = match terms.mode {
        SigningMode::ServerSigns => 0..=0,
        SigningMode::OperatorSigns => 1..=limits::COMMAND_SIGNATURES_MAX,
    };
    if !signatures.contains(&(terms.signatures_min as usize)) {
        return Err(invalid(format!("{} signatures of people where the mode is {}", terms.signatures_min, terms.mode)));
    }
    Ok(())
}
