//! The audit log for people: who did what, newest first, how far it is signed, and how to verify it.

use super::{
    frame::{Answer, Frame, Place, page},
    text::{When, spaced},
};
use crate::{
    access::{Operator, Role},
    api::audit::REPORTED,
    app::AppState,
    audit::Verdict,
    listing::{Parameters, audit_href, take_audit},
};
use askama::Template;
use axum::{extract::State, http::Uri};
use redflag_core::{
    audit::{AuditKind, FactName, chain::Link, entry::By},
    limits,
    names::Text,
    signing,
    time::Timestamp,
};

/// Most agents that are counted of those which report a fork.
const FORKS_MAX: u32 = 500;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    rows: Vec<Row>,
    total: u64,
    head: String,
    newest: Option<Newest>,
    fingerprint: String,
    /// Entries behind the newest checkpoint.
    unsigned: u64,
    verdict: Option<Verified>,
    /// Agents that have reported a fork.
    forks: u64,
    /// Whether this operator may take the whole log away.
    exports: bool,
    kind: Option<AuditKind>,
    by: String,
    kinds: &'static [AuditKind],
    next_href: Option<String>,
    /// Whether this is not the newest page.
    older: bool,
}

/// The newest checkpoint.
struct Newest {
    number: u64,
    size: u64,
    digest: String,
    fingerprint: String,
    at: When,
}

/// The newest verdict that is kept.
struct Verified {
    at: When,
    entries: u64,
    wrong: Option<String>,
}

struct Row {
    number: u64,
    kind: String,
    by: Fact,
    facts: Vec<Fact>,
    at: When,
}

/// A fact, short enough for a row.
struct Fact {
    name: String,
    shown: String,
    /// What is shown, in full.
    whole: String,
    href: Option<String>,
}

impl Fact {
    /// A value as it is, a digest by its first twelve digits.
    fn plain(name: &str, value: impl ToString) -> Self {
        let whole = value.to_string();
        let digest = whole.len() == 64 && whole.bytes().all(|byte| byte.is_ascii_hexdigit());
        Self { name: spaced(name), shown: if digest { format!("{}…", &whole[..12]) } else { whole.clone() }, whole, href: None }
    }

    /// An id by its last twelve digits, which are random in every version of ids, with the page it leads to.
    fn id(name: &str, id: impl ToString, href: String) -> Self {
        let whole = id.to_string();
        let shown = whole.rsplit('-').next().map_or_else(|| whole.clone(), |last| format!("…{last}"));
        Self { name: spaced(name), shown, whole, href: Some(href) }
    }

    fn agent(name: &str, agent: impl ToString) -> Self {
        let agent = agent.to_string();
        let href = format!("/agents/{agent}");
        Self::id(name, agent, href)
    }
}

impl Row {
    fn of(link: &Link, now: Timestamp) -> Self {
        let entry = &link.entry;
        let agent = entry.facts.get(&FactName::Agent);
        let fact = |(name, value): (&FactName, &Text)| match (name, agent) {
            (FactName::Agent, _) => Fact::agent(name.as_str(), value),
            (FactName::Command, Some(agent)) => Fact::id(name.as_str(), value, format!("/commands/{agent}/{value}")),
            _ => Fact::plain(name.as_str(), value),
        };
        let mut facts: Vec<Fact> = entry.facts.iter().map(fact).collect();
        if let Some(damage) = &entry.damage {
            facts.push(Fact::plain("behind entry", damage.after));
            facts.push(Fact::plain("damaged records", damage.records));
            facts.push(Fact::plain("digest", damage.digest));
        }
        if let Some(batch) = &entry.batch {
            facts.push(Fact::plain("feed position", batch.position));
            facts.push(Fact::agent("agent", batch.agent));
            facts.push(Fact::plain("number", batch.number));
            facts.push(Fact::plain("digest", batch.digest));
        }
        let by = match &entry.by {
            By::Agent { agent } => Fact::agent("agent", agent),
            by => Fact::plain("", by),
        };
        Self { number: entry.number, kind: spaced(entry.kind.as_str()), by, facts, at: When::seen_from(now, entry.at) }
    }
}

/// `GET /audit`.
pub(super) async fn list(State(app): State<AppState>, operator: Operator, uri: Uri) -> Answer {
    let mut given = Parameters::read(&uri)?;
    let before: Option<u64> = given.take_number("before", 1..=limits::COMMAND_COUNTER_MAX)?;
    let filter = take_audit(&mut given)?;
    given.finish()?;
    let (log, now) = (&app.audit, app.now());
    let (links, next_before) = log.backwards(before, limits::PAGE_SIZE_DEFAULT as usize, |entry| filter.passes(entry)).await?;
    let place = log.place().await?;
    let newest = log.newest_checkpoint().await?.map(|stored| Newest {
        number: stored.checkpoint.number,
        size: stored.checkpoint.size,
        digest: stored.checkpoint.digest().to_string(),
        fingerprint: signing::fingerprint_of(&stored.key_id),
        at: When::seen_from(now, stored.checkpoint.at),
    });
    let verdict = log.verdict().await?.map(|Verdict { at, entries, wrong }| Verified { at: When::seen_from(now, at), entries, wrong });
    page(&AuditPage {
        frame: Frame::of(&app, Place::Audit, &operator).await?,
        rows: links.iter().map(|link| Row::of(link, now)).collect(),
        total: place.number,
        head: place.digest.to_string(),
        unsigned: place.number.saturating_sub(newest.as_ref().map_or(0, |newest| newest.size)),
        newest,
        verdict,
        forks: app.fleet.store().list(REPORTED, None, FORKS_MAX).await?.len() as u64,
        exports: operator.role >= Role::Admin,
        fingerprint: app.audit_key.fingerprint(),
        next_href: next_before.map(|before| audit_href(&filter, before)),
        kind: filter.kind,
        by: filter.by.map_or_else(String::new, |by| by.to_string()),
        kinds: AuditKind::ALL,
        older: before.is_some(),
    })
}
