//! Reading the log: batches, rejections, events, base states and reports. The keys already sort the way each is read.

use crate::{
    documents::{all, find, find_by_id, read},
    error::Failure,
    lists,
    tables::{self, BASES, BATCH_NUMBERS, BATCHES, EVENTS, EVENTS_OF_PACKAGE, Json, REJECTIONS, REPORTS, Uuid},
};
use redb::{ReadTransaction, ReadableTable};
use redflag_core::{
    batch::{BatchRecord, RejectedItem},
    event::RecordedEvent,
    ids::{AgentId, BatchId, UpdateId},
    query::{BatchPage, BatchQuery, BatchRow},
    report::StoredReport,
    state::PackageState,
};
use serde::de::DeserializeOwned;
use std::{cmp::Reverse, ops::Bound};

pub(crate) fn batch(transaction: &ReadTransaction, agent: AgentId, batch: BatchId) -> Result<Option<BatchRecord>, Failure> {
    let (numbers, batches) = (transaction.open_table(BATCH_NUMBERS)?, transaction.open_table(BATCHES)?);
    find_by_id(&numbers, &batches, (tables::agent(agent), tables::batch(batch)))
}

pub(crate) fn rejections(transaction: &ReadTransaction, agent: AgentId, batch: BatchId) -> Result<Vec<RejectedItem>, Failure> {
    all(transaction.open_table(REJECTIONS)?.range(tables::rejections_of((tables::agent(agent), tables::batch(batch))))?)
}

/// A page of batches, newest first: by receive time, then agent, then number.
pub(crate) fn batches(transaction: &ReadTransaction, query: &BatchQuery) -> Result<BatchPage, Failure> {
    let table = transaction.open_table(BATCHES)?;
    let mut rows = Vec::new();
    for head in lists::heads(transaction, query.agent)? {
        let records: Vec<BatchRecord> = all(table.range(tables::numbered(tables::agent(head.agent)))?)?;
        let wanted = records.into_iter().filter(|record| !query.with_rejections || record.receipt.rejected > 0);
        rows.extend(wanted.map(|record| BatchRow { agent_name: head.name.clone(), record }));
    }
    rows.sort_unstable_by_key(|row| Reverse((row.record.receipt.received_at, row.record.receipt.agent, row.record.receipt.number)));
    let total = rows.len() as u64;
    let start = usize::try_from(query.page.offset(query.size)).unwrap_or(usize::MAX);
    Ok(BatchPage { items: rows.into_iter().skip(start).take(query.size.get() as usize).collect(), total })
}

/// Every event of one package, through the index that holds their sequences.
pub(crate) fn events(transaction: &ReadTransaction, id: &UpdateId) -> Result<Vec<RecordedEvent>, Failure> {
    let events = transaction.open_table(EVENTS)?;
    let of_package = transaction.open_table(EVENTS_OF_PACKAGE)?;
    let event = |sequence: u64| {
        let missing = || Failure::corrupt(format!("event {sequence} of agent {} is in the index and not in the log", id.agent));
        find(&events, (tables::agent(id.agent), sequence))?.ok_or_else(missing)
    };
    of_package.range(tables::numbered(tables::update(id)))?.map(|entry| event(entry?.1.value())).collect()
}

pub(crate) fn replay(transaction: &ReadTransaction, agent: AgentId, after: u64, limit: u32) -> Result<Vec<RecordedEvent>, Failure> {
    slice(&transaction.open_table(EVENTS)?, agent, after, limit)
}

pub(crate) fn agent_batches(transaction: &ReadTransaction, agent: AgentId, after: u64, limit: u32) -> Result<Vec<BatchRecord>, Failure> {
    slice(&transaction.open_table(BATCHES)?, agent, after, limit)
}

/// Up to `limit` documents of an agent with a number above `after`.
fn slice<T: DeserializeOwned>(
    table: &impl ReadableTable<(Uuid, u64), Json>,
    agent: AgentId,
    after: u64,
    limit: u32,
) -> Result<Vec<T>, Failure> {
    let agent = tables::agent(agent);
    let later = table.range((Bound::Excluded((agent, after)), Bound::Included((agent, u64::MAX))))?;
    later.take(limit as usize).map(|entry| read(entry?.1.value())).collect()
}

pub(crate) fn bases(transaction: &ReadTransaction, agent: AgentId) -> Result<Vec<PackageState>, Failure> {
    all(transaction.open_table(BASES)?.range(tables::packages_of(agent))?)
}

pub(crate) fn reports(transaction: &ReadTransaction, agent: AgentId, limit: u32) -> Result<Vec<StoredReport>, Failure> {
    let reports = transaction.open_table(REPORTS)?;
    let newest_first = reports.range(tables::numbered(tables::agent(agent)))?.rev();
    newest_first.take(limit as usize).map(|entry| read(entry?.1.value())).collect()
}
