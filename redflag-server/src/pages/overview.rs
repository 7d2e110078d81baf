//! The overview: the fleet at a glance. Every number links to the list behind it and equals it.

use super::{
    activity::{self, Activity},
    agent_row::{AgentView, Clock},
    agents::AgentListing,
    enrolment::Enrolment,
    frame::{Answer, Frame, Place, page},
    roll,
    text::counted,
    trend::Trend,
    update_row::updates_href,
};
use crate::{access::Operator, app::AppState, listing::no_parameters};
use askama::Template;
use axum::{extract::State, http::Uri};
use redflag_core::{
    agent::{AgentStatus, AgentStatusWord},
    names::Manager,
    query::{AgentQuery, AgentRow, StatusFilter, UpdateFilter, UpdateStats},
    words::{AvailabilityKind, Severity, Status},
};
use std::cmp::Reverse;

/// Agents that need a look and are named on the page.
const LOOK_MAX: usize = 8;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    lead: String,
    enrolment: Enrolment,
    tiles: Vec<Tile>,
    trend: Trend,
    agents: Agents,
    severities: Vec<Share<Severity>>,
    severity_spread: Vec<Part>,
    managers: Vec<Share<Manager>>,
    activity: Vec<Activity>,
}

/// One large number.
struct Tile {
    name: &'static str,
    title: &'static str,
    count: u64,
    tone: &'static str,
    href: String,
}

struct Agents {
    total: u64,
    troubled: u64,
    shares: Vec<Share<AgentStatusWord>>,
    spread: Vec<Part>,
    look: Vec<AgentView>,
}

/// One kind with its count.
struct Share<Word> {
    word: Word,
    count: u64,
    /// Of the largest kind.
    percent: u64,
    why: &'static str,
    href: String,
}

/// A part of a bar, in percent of its width.
struct Part {
    word: &'static str,
    from: u64,
    width: u64,
}

/// `GET /`.
pub(super) async fn show(State(app): State<AppState>, operator: Operator, uri: Uri) -> Answer {
    no_parameters(&uri)?;
    let store = app.fleet.store();
    let clock = Clock::of(&app);
    let open = store.stats(&UpdateFilter::default()).await?;
    let roll = roll::call(store, &AgentQuery::default(), clock).await?;
    let activity = activity::recent(store, clock.now).await?;
    let trend = Trend::load(store, clock.now).await?;
    let agents = agents(&roll, clock);
    let severities = severities(&open);
    page(&OverviewPage {
        frame: Frame::of(&app, Place::Overview, &operator).await?,
        lead: lead(&agents),
        enrolment: Enrolment::at(&app),
        tiles: tiles(&open),
        trend,
        severity_spread: spread(severities.iter().map(|share| (share.word.as_str(), share.count))),
        severities,
        managers: managers(&open),
        agents,
        activity,
    })
}

fn lead(agents: &Agents) -> String {
    match (agents.total, agents.troubled) {
        (0, _) => String::new(),
        (total, 0) => format!("{}, all reporting as they should", counted(total, "agent", "agents")),
        (total, troubled) => {
            let need = if troubled == 1 { "needs" } else { "need" };
            format!("{}, {troubled} {need} a look", counted(total, "agent", "agents"))
        }
    }
}

fn tiles(open: &UpdateStats) -> Vec<Tile> {
    let of_status = |status| {
        let count = open.by_status.get(&status).copied().unwrap_or(0);
        (count, UpdateFilter { status: StatusFilter::Is(status), ..UpdateFilter::default() })
    };
    let security = UpdateFilter { security: Some(true), ..UpdateFilter::default() };
    let installable = UpdateFilter { availability: Some(AvailabilityKind::Installable), ..UpdateFilter::default() };
    let tile = |name, title, (count, filter): (u64, UpdateFilter), tone| Tile { name, title, count, tone, href: updates_href(filter) };
    let alarming = |count: u64, tone: &'static str| if count > 0 { tone } else { "" };
    let failed = of_status(Status::Failed);
    let review = of_status(Status::NeedsReview);
    let failed_tone = alarming(failed.0, "failed");
    let review_tone = alarming(review.0, "needs-review");
    vec![
        tile("open", "open updates", (open.total, UpdateFilter::default()), ""),
        tile("installable", "installable now", (open.installable, installable), ""),
        tile("security", "security updates", (open.security, security), alarming(open.security, "critical")),
        tile("pending", "wait for a decision", of_status(Status::Pending), ""),
        tile("approved", "approved", of_status(Status::Approved), ""),
        tile("needs-review", "need a second look", review, review_tone),
        tile("failed", "failed", failed, failed_tone),
    ]
}

fn agents(roll: &[(AgentRow, AgentStatus)], clock: Clock) -> Agents {
    let counts: Vec<_> = roll::counts(roll).collect();
    let total = roll.len() as u64;
    let mut look: Vec<_> = roll.iter().filter(|(_, status)| status.status != AgentStatusWord::Online).collect();
    // Those that went silent and have most to lose come first; within equals the roll's order by name holds.
    look.sort_by_key(|(row, status)| (Reverse(urgency(status.status)), Reverse(row.open.security)));
    Agents {
        total,
        troubled: look.len() as u64,
        spread: spread(counts.iter().map(|(word, count)| (word.as_str(), *count))),
        look: look.iter().take(LOOK_MAX).map(|(row, _)| AgentView::new(row, clock)).collect(),
        shares: counts
            .into_iter()
            .map(|(word, count)| Share { word, count, percent: 0, why: why(word), href: AgentListing::of_status(word) })
            .collect(),
    }
}

fn urgency(status: AgentStatusWord) -> u8 {
    match status {
        AgentStatusWord::Offline => 3,
        AgentStatusWord::Degraded => 2,
        AgentStatusWord::Unknown => 1,
        AgentStatusWord::Online => 0,
    }
}

fn why(status: AgentStatusWord) -> &'static str {
    match status {
        AgentStatusWord::Online => "report as they should",
        AgentStatusWord::Degraded => "a scan or refresh failed",
        AgentStatusWord::Offline => "silent for too long",
        AgentStatusWord::Unknown => "never reported",
    }
}

fn severities(open: &UpdateStats) -> Vec<Share<Severity>> {
    let count = |word: &Severity| open.by_severity.get(word).copied().unwrap_or(0);
    let largest = Severity::ALL.iter().map(count).max().unwrap_or(0);
    let share = |word: &Severity| {
        let filter = UpdateFilter { severity: Some(*word), ..UpdateFilter::default() };
        Share { word: *word, count: count(word), percent: percent(count(word), largest), why: "", href: updates_href(filter) }
    };
    Severity::ALL.iter().map(share).collect()
}

fn managers(open: &UpdateStats) -> Vec<Share<Manager>> {
    let largest = open.by_manager.values().copied().max().unwrap_or(0);
    let share = |(word, count): (&Manager, &u64)| {
        let filter = UpdateFilter { manager: Some(word.clone()), ..UpdateFilter::default() };
        Share { word: word.clone(), count: *count, percent: percent(*count, largest), why: "", href: updates_href(filter) }
    };
    let mut shares: Vec<_> = open.by_manager.iter().filter(|(_, count)| **count > 0).map(share).collect();
    shares.sort_by_key(|share| Reverse(share.count));
    shares
}

/// `count` of `whole` in percent; what is there at all stays visible.
fn percent(count: u64, whole: u64) -> u64 {
    if count == 0 { 0 } else { (count * 100 / whole.max(1)).max(1) }
}

/// The parts of a bar side by side; the rounding is left to the last.
fn spread(counts: impl Iterator<Item = (&'static str, u64)> + Clone) -> Vec<Part> {
    let whole: u64 = counts.clone().map(|(_, count)| count).sum();
    let mut parts: Vec<Part> = Vec::new();
    let mut from = 0;
    for (word, count) in counts.filter(|(_, count)| *count > 0) {
        let width = percent(count, whole).min(100 - from);
        parts.push(Part { word, from, width });
        from += width;
    }
    if let Some(last) = parts.last_mut() {
        last.width = 100 - last.from;
    }
    parts
}
