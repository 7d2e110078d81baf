//! Batches: the list, and one batch with the events it rejected.

use super::{
    batch_row::{BatchView, batch_href},
    frame::{Answer, Frame, Place, page},
    list::{Chip, Pager, carried},
};
use crate::{
    access::Operator,
    app::AppState,
    listing::{Listing as _, Numbered as _, no_parameters},
    problem::Problem,
};
use askama::Template;
use axum::{
    extract::{Path, State},
    http::Uri,
};
use redflag_core::{
    batch::{Outcome, RejectedItem},
    event::Source,
    ids::{AgentId, BatchId, ReportId},
    query::BatchQuery,
};

const PATH: &str = "/batches";
/// Rejections and duplicates a page names.
const NAMED_MAX: usize = 500;

#[derive(Template)]
#[template(path = "batches.html")]
struct BatchesPage {
    frame: Frame,
    lead: &'static str,
    with_rejections: bool,
    hidden: Vec<(&'static str, String)>,
    chips: Vec<Chip>,
    rows: Vec<BatchView>,
    pager: Pager,
    first_href: String,
}

/// `GET /batches`.
pub(super) async fn list(State(app): State<AppState>, operator: Operator, uri: Uri) -> Answer {
    let query = BatchQuery::from_uri(&uri)?;
    let store = app.fleet.store();
    let found = store.batches(&query).await?;
    let first = query.at_page(1);
    let mut chips = Vec::new();
    if let Some(agent) = query.agent {
        let name = store.agent(agent).await?.map_or_else(|| agent.to_string(), |head| head.name.to_string());
        chips.push(Chip { title: format!("of {name}"), href: BatchQuery { agent: None, ..first.clone() }.href(PATH) });
    }
    if query.with_rejections {
        let href = BatchQuery { with_rejections: false, ..first.clone() }.href(PATH);
        chips.push(Chip { title: "with rejected events".to_owned(), href });
    }
    let now = app.now();
    page(&BatchesPage {
        frame: Frame::of(&app, Place::Batches, &operator).await?,
        lead: if query.with_rejections { "with rejected events, newest first" } else { "in all, newest first" },
        with_rejections: query.with_rejections,
        hidden: carried(&query, &["agent_id", "page_size"]),
        chips,
        rows: found.items.iter().map(|row| BatchView::new(&row.agent_name, &row.record, now)).collect(),
        pager: Pager::new(PATH, &query, found.total, query.page.get(), query.size, |size| BatchQuery { size, ..first.clone() }),
        first_href: first.href(PATH),
    })
}

#[derive(Template)]
#[template(path = "batch.html")]
struct BatchPage {
    frame: Frame,
    row: BatchView,
    report: Option<ReportId>,
    digest: String,
    short_digest: String,
    rejections: Vec<RejectedItem>,
    duplicates: Vec<Duplicate>,
}

struct Duplicate {
    index: u32,
    batch: BatchId,
    href: String,
    original: u32,
}

/// `GET /batches/{agent}/{batch}`.
pub(super) async fn show(
    State(app): State<AppState>,
    operator: Operator,
    Path((agent, batch)): Path<(String, String)>,
    uri: Uri,
) -> Answer {
    no_parameters(&uri)?;
    let unknown = || Problem::not_found("no batch has this address");
    let agent: AgentId = agent.parse().map_err(|_| unknown())?;
    let batch: BatchId = batch.parse().map_err(|_| unknown())?;
    let store = app.fleet.store();
    let head = store.agent(agent).await?.ok_or_else(unknown)?;
    let record = store.batch(agent, batch).await?.ok_or_else(unknown)?;
    let mut rejections = store.rejections(agent, batch).await?;
    rejections.truncate(NAMED_MAX);
    let duplicates = record.receipt.exceptions.iter().filter_map(|(index, outcome)| match outcome {
        Outcome::Duplicate { batch, index: original } => {
            Some(Duplicate { index: *index, batch: *batch, href: batch_href(agent, *batch), original: *original })
        }
        _ => None,
    });
    let digest = record.digest.to_string();
    page(&BatchPage {
        frame: Frame::within(&app, Place::Batches, &operator).await?,
        row: BatchView::new(&head.name, &record, app.now()),
        report: match record.source {
            Source::Report { report_id } => Some(report_id),
            Source::Decision | Source::Submitted | Source::Command { .. } => None,
        },
        short_digest: digest[..16].to_owned(),
        digest,
        duplicates: duplicates.take(NAMED_MAX).collect(),
        rejections,
    })
}
