//! Recent activity: the newest batches, those of one report told as one thing.

use super::{
    batch_row::batch_href,
    text::{self, When, counted},
    update_row::agent_href,
};
use redflag_core::{
    event::Source,
    ids::{AgentId, ReportId},
    names::Text,
    query::{BatchQuery, BatchRow, PageSize},
    store::{Store, StoreError},
    time::Timestamp,
};

/// Batches looked at; a report of 20,000 changes still counts in full.
const BATCHES: u32 = 200;
/// Things told.
const TOLD: usize = 8;

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) struct Activity {
    pub(crate) agent: Text,
    pub(crate) agent_href: String,
    /// What was done.
    pub(crate) words: String,
    /// How much of it.
    pub(crate) summary: String,
    pub(crate) href: String,
    pub(crate) rejected: u64,
    pub(crate) at: When,
}

/// What happened last, newest first.
pub(super) async fn recent(store: &dyn Store, now: Timestamp) -> Result<Vec<Activity>, StoreError> {
    let page = store.batches(&BatchQuery { size: PageSize::new(BATCHES)?, ..BatchQuery::default() }).await?;
    let whole = page.total <= u64::from(BATCHES);
    let mut groups: Vec<&[BatchRow]> = page.items.chunk_by(together).collect();
    if !whole && groups.len() > 1 {
        // The oldest group may go on behind the window: half a report is not told as a whole one.
        groups.pop();
    }
    Ok(groups.into_iter().take(TOLD).filter_map(|group| tell(group, now)).collect())
}

fn cause(row: &BatchRow) -> (AgentId, Option<ReportId>) {
    let report = match row.record.source {
        Source::Report { report_id } => Some(report_id),
        Source::Decision | Source::Submitted | Source::Command { .. } => None,
    };
    (row.record.receipt.agent, report)
}

fn together(a: &BatchRow, b: &BatchRow) -> bool {
    cause(a).1.is_some() && cause(a) == cause(b)
}

fn tell(group: &[BatchRow], now: Timestamp) -> Option<Activity> {
    let newest = group.first()?;
    let receipt = &newest.record.receipt;
    let sum = |count: fn(&BatchRow) -> u32| group.iter().map(|row| u64::from(count(row))).sum::<u64>();
    let accepted = sum(|row| row.record.receipt.accepted);
    let words = match newest.record.source {
        Source::Report { .. } => "reported".to_owned(),
        Source::Decision => format!("{} made", text::actor(&newest.record.actor)),
        Source::Submitted => format!("submitted by {}", text::actor(&newest.record.actor)),
        Source::Command { .. } => format!("a step of a command by {}", text::actor(&newest.record.actor)),
    };
    let mut summary = match newest.record.source {
        Source::Decision => counted(accepted, "decision", "decisions"),
        Source::Report { .. } | Source::Submitted | Source::Command { .. } => counted(accepted, "change", "changes"),
    };
    // The link leads to what has something to show: the batch with rejections, or the only one.
    let telling = group.iter().find(|row| row.record.receipt.rejected > 0).unwrap_or(newest);
    if group.len() > 1 {
        summary = format!("{summary} in {} batches", text::grouped(group.len() as u64));
    }
    Some(Activity {
        agent: newest.agent_name.clone(),
        agent_href: agent_href(receipt.agent),
        words,
        summary,
        href: batch_href(receipt.agent, telling.record.receipt.batch),
        rejected: sum(|row| row.record.receipt.rejected),
        at: When::seen_from(now, receipt.received_at),
    })
}
