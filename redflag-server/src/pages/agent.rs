//! One agent: its host, what each manager's last scan said, what waits, and what it reported.

use super::{
    agent_row::{AgentView, Clock},
    batch_row::{BatchView, batch_href},
    command_row::{self, CommandView},
    frame::{Answer, Frame, Place, page},
    removal::removal_href,
    text::When,
    update_row::{UpdateView, agent_href},
};
use crate::{
    access::{Operator, Role},
    api,
    app::AppState,
    ids,
    listing::{Listing as _, no_parameters},
    problem::Problem,
    quarantine::{self, Quarantine},
};
use askama::Template;
use axum::{
    extract::{Path, State},
    http::Uri,
    response::{IntoResponse as _, Redirect},
};
use redflag_core::{
    agent::{AgentHead, ScopeHead, Virtualisation, VirtualisationKind},
    ids::{AgentId, BatchId, CommandId},
    names::{Manager, Text},
    query::{AgentRow, BatchQuery, CommandQuery, PageSize, UpdateFilter, UpdateQuery},
    report::{ReportStatus, StoredReport},
    signing,
    time::Timestamp,
    words::ScanResult,
};

/// Rows of the short lists on the page.
const ROWS: u32 = 10;

#[derive(Template)]
#[template(path = "agent.html")]
struct AgentPage {
    frame: Frame,
    row: AgentView,
    facts: Vec<(&'static str, String)>,
    booted: Option<When>,
    reboot: Option<ToDo>,
    services: Option<ToDo>,
    enrolled: When,
    key: String,
    scopes: Vec<ScopeView>,
    updates: Vec<UpdateView>,
    reports: Vec<ReportView>,
    batches: Vec<BatchView>,
    batches_total: u64,
    batches_href: String,
    commands: Vec<CommandView>,
    commands_total: u64,
    commands_href: String,
    /// Whether the operator may have it scan.
    scans: bool,
    /// Whether people sign commands here, so that nobody can have it scan.
    people_sign: bool,
    /// Whether the operator may have it restart.
    restarts: bool,
    /// The id that a command asked for here will have, so that a form sent twice has one effect.
    next_id: CommandId,
    /// Since when and why nothing is taken from it.
    quarantine: Option<(When, Text)>,
    /// Whether the operator may let it out of quarantine.
    releases: bool,
    /// Where the operator can remove it, if it is an administrator.
    removal_href: Option<String>,
}

struct ToDo {
    /// What to say when there are no entries.
    nothing: &'static str,
    entries: Vec<String>,
}

struct ScopeView {
    manager: Manager,
    result: ScanResult,
    troubles: Vec<String>,
    received: When,
    complete: Option<When>,
    metadata: Option<When>,
    offers: u64,
}

struct ReportView {
    sequence: u64,
    /// Its first batch, if it wrote one.
    href: Option<String>,
    status: ReportStatus,
    notes: Vec<String>,
    recorded: u64,
    unchanged: u64,
    rejected: u64,
    events: u64,
    received: When,
}

/// `GET /agents/{id}`.
pub(super) async fn show(State(app): State<AppState>, operator: Operator, Path(id): Path<String>, uri: Uri) -> Answer {
    no_parameters(&uri)?;
    let unknown = || Problem::not_found("no agent has this address");
    let agent: AgentId = id.parse().map_err(|_| unknown())?;
    let store = app.fleet.store();
    let head = store.agent(agent).await?.ok_or_else(unknown)?;
    let size = PageSize::new(ROWS)?;
    let filter = UpdateFilter { agent: Some(agent), ..UpdateFilter::default() };
    let open = store.updates(&UpdateQuery { filter, size, ..UpdateQuery::default() }).await?;
    let of_agent = BatchQuery { agent: Some(agent), ..BatchQuery::default() };
    let batches = store.batches(&BatchQuery { size, ..of_agent.clone() }).await?;
    let reports = store.reports(agent, ROWS).await?;
    let commands_of_agent = command_row::of_agent(agent);
    let commands = store.commands(&CommandQuery { size, ..commands_of_agent }).await?;
    let clock = Clock::of(&app);
    let row = AgentRow { head, open: open.stats };
    page(&AgentPage {
        frame: Frame::within(&app, Place::Agents, &operator).await?,
        row: AgentView::new(&row, clock),
        facts: facts(&row.head),
        booted: row.head.host.booted_at.map(|at| When::seen_from(clock.now, at)),
        reboot: to_do(row.head.host.reboot_reasons.as_ref(), "not needed"),
        services: to_do(row.head.host.services_to_restart.as_ref(), "none"),
        enrolled: When::seen_from(clock.now, row.head.enrolled_at),
        key: signing::fingerprint(&row.head.public_key),
        scopes: row.head.scopes.iter().map(|(manager, scope)| scope_view(manager, scope, clock.now)).collect(),
        updates: open.items.iter().map(|row| UpdateView::new(row, clock.now)).collect(),
        reports: reports.iter().map(|report| report_view(agent, report, clock.now)).collect(),
        batches: batches.items.iter().map(|row| BatchView::new(&row.agent_name, &row.record, clock.now)).collect(),
        batches_total: batches.total,
        batches_href: of_agent.href("/batches"),
        commands: commands.items.iter().map(|row| CommandView::new(&row.agent_name, &row.record, clock.now)).collect(),
        commands_total: commands.total,
        commands_href: commands_of_agent.href(command_row::PATH),
        scans: operator.role >= Role::Approver,
        people_sign: app.settings.terms.signatures_min > 0,
        restarts: operator.role >= Role::Admin,
        next_id: ids::command_id(),
        quarantine: quarantine::of(store, agent).await?.map(|Quarantine { at, reason }| (When::seen_from(clock.now, at), reason)),
        releases: operator.role >= Role::Admin,
        removal_href: (operator.role >= Role::Admin).then(|| removal_href(agent)),
    })
}

/// `POST /agents/{id}/release`.
pub(super) async fn release(State(app): State<AppState>, operator: Operator, Path(id): Path<String>) -> Answer {
    let agent: AgentId = id.parse().map_err(|_| Problem::not_found("no agent has this address"))?;
    api::release(&app, &operator, agent).await?;
    Ok(Redirect::to(&agent_href(agent)).into_response())
}

/// What the agent says of its host, each fact once; what it does not say is left out, and a host's name only where it is not
/// the agent's.
fn facts(head: &AgentHead) -> Vec<(&'static str, String)> {
    let host = &head.host;
    let hostname = host.hostname.as_ref().filter(|hostname| **hostname != head.name);
    let told =
        [("Host name", hostname), ("System", host.os.as_ref()), ("Kernel", host.kernel.as_ref()), ("Architecture", host.arch.as_ref())];
    let mut facts: Vec<(&'static str, String)> =
        told.into_iter().filter_map(|(title, fact)| fact.map(|fact| (title, fact.to_string()))).collect();
    facts.extend(host.virtualisation.as_ref().map(|virtualisation| ("Runs on", runs_on(virtualisation))));
    facts.extend(host.agent_version.as_ref().map(|version| ("Agent version", version.to_string())));
    // Copies of a machine show the same one.
    facts.extend(host.machine_digest.map(|digest| ("Machine", digest.to_string()[..16].to_owned())));
    if !head.tags.is_empty() {
        let tags: Vec<_> = head.tags.iter().map(ToString::to_string).collect();
        facts.push(("Tags", tags.join(", ")));
    }
    facts
}

fn runs_on(virtualisation: &Virtualisation) -> String {
    let kind = match virtualisation.kind {
        VirtualisationKind::Physical => "hardware of its own",
        VirtualisationKind::VirtualMachine => "a virtual machine",
        VirtualisationKind::Container => "a container",
    };
    virtualisation.technology.as_ref().map_or_else(|| kind.to_owned(), |technology| format!("{kind} ({technology})"))
}

/// A list that is empty when there is nothing to do, and none when nobody knows.
fn to_do(list: Option<&Vec<Text>>, nothing: &'static str) -> Option<ToDo> {
    list.map(|list| ToDo { nothing, entries: list.iter().map(ToString::to_string).collect() })
}

fn scope_view(manager: &Manager, scope: &ScopeHead, now: Timestamp) -> ScopeView {
    let when = |at| When::seen_from(now, at);
    let quarantine = scope.quarantined_at.map(|at| format!("an implausible empty scan waits to be confirmed, {}", when(at).ago));
    let error = scope.error.as_ref().map(ToString::to_string);
    let refresh = scope.refresh_error.as_ref().map(|error| format!("metadata was not refreshed: {error}"));
    ScopeView {
        manager: manager.clone(),
        result: scope.result,
        troubles: [quarantine, error, refresh].into_iter().flatten().collect(),
        received: when(scope.received_at),
        complete: scope.complete_at.map(when),
        metadata: scope.metadata_at.map(when),
        offers: scope.offers,
    }
}

fn report_view(agent: AgentId, report: &StoredReport, now: Timestamp) -> ReportView {
    let answer = &report.answer;
    let (recorded, unchanged, rejected) = answer.outcomes.counts();
    let list = |managers: &[Manager]| managers.iter().map(Manager::as_str).collect::<Vec<_>>().join(", ");
    let full = (!answer.full_required.is_empty()).then(|| format!("packages asked for again: {}", list(&answer.full_required)));
    let quarantined = (!answer.quarantined.is_empty()).then(|| format!("held back as implausible: {}", list(&answer.quarantined)));
    ReportView {
        sequence: report.sequence,
        href: (answer.batches > 0).then(|| batch_href(agent, BatchId::of_report(agent, report.report_id, 0))),
        status: answer.status,
        notes: [full, quarantined].into_iter().flatten().collect(),
        recorded,
        unchanged,
        rejected,
        events: answer.events.into(),
        received: When::seen_from(now, report.received_at),
    }
}
