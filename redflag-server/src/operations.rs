//! Bulk decisions as operations: started once, carried out in the background, gone on with after a restart.
//!
//! What an operation is about stands in a record of its own before anything is decided. Carrying it out again has no second effect
//! (`redflag_core::bulk`), so a server that starts goes on with every operation that has no end yet, and two servers that do
//! so at once harm nobody.

use crate::{app::AppState, listing, problem::Problem};
use axum::http::StatusCode;
use redflag_core::{
    audit::{
        AuditKind, FactName,
        entry::{By, Note},
    },
    bulk::{BulkDecision, Operation, OperationCounts, Selected, Selection},
    feed::FeedPosition,
    ids::OperationId,
    limits,
    names::Text,
    query::UpdateFilter,
    rejection::quoted,
    store::{Expected, Record, StoreError, StoreErrorKind},
    time::Timestamp,
    words::IgnoreScope,
};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, error::Error as _, sync::Mutex, time::Duration};

const NAMESPACE: &str = "operations";
/// How long an operation rests when the database fails under it.
const REST: Duration = Duration::from_secs(5);

/// How far operations under way have come; what has ended stands in its record.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(Mutex<HashMap<OperationId, OperationCounts>>);

impl UnderWay {
    fn note(&self, id: OperationId, counts: OperationCounts) {
        self.0.lock().expect("nothing panics under this lock").insert(id, counts);
    }

    fn of(&self, id: OperationId) -> Option<OperationCounts> {
        self.0.lock().expect("nothing panics under this lock").get(&id).copied()
    }

    fn forget(&self, id: OperationId) {
        self.0.lock().expect("nothing panics under this lock").remove(&id);
    }
}

/// What was shown and confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confirmed {
    /// Who confirmed it.
    pub(crate) operator: Text,
    /// What is decided.
    pub(crate) decision: BulkDecision,
    /// The filter, as the query string of a list of updates.
    pub(crate) filter: String,
    /// The position of the feed at which it was counted.
    pub(crate) as_of: FeedPosition,
    /// About how many updates the decision could be made.
    pub(crate) possible: u64,
}

/// An operation as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// What it is.
    pub(crate) confirmed: Confirmed,
    /// What it was about when it began.
    pub(crate) selected: Selected,
    /// When it began.
    pub(crate) started_at: Timestamp,
    /// What became of it, as far as it has come.
    pub(crate) counts: OperationCounts,
    /// When it ended.
    pub(crate) finished_at: Option<Timestamp>,
    /// Why it ended before its end.
    pub(crate) failure: Option<String>,
}

impl Confirmed {
    /// The selection it is about.
    ///
    /// # Errors
    /// A 400 problem that names what of the filter is wrong.
    pub(crate) fn selection(&self) -> Result<Selection, Problem> {
        Ok(Selection { filter: filter_of(&self.filter)?, as_of: self.as_of })
    }
}

/// Reads a filter that stands as the query string of a list of updates.
///
/// # Errors
/// A 400 problem that names the parameter at fault.
pub(crate) fn filter_of(query: &str) -> Result<UpdateFilter, Problem> {
    let uri = format!("/?{query}").parse().map_err(|_| Problem::parameter("filter", "not a query string"))?;
    listing::filter_from_uri(&uri)
}

impl Kept {
    /// `running`, `finished`, or `failed` where it ended before its end.
    pub(crate) const fn status(&self) -> &'static str {
        match (&self.finished_at, &self.failure) {
            (None, _) => "running",
            (Some(_), None) => "finished",
            (Some(_), Some(_)) => "failed",
        }
    }
}

/// Reads a decision from its word and what belongs to it. Words and reasons are one thing to whoever writes them: `comment`.
///
/// # Errors
/// A 400 problem for an unknown word, or for a scope or an end where the decision has none.
pub(crate) fn decision(
    word: &str,
    comment: Option<Text>,
    scope: Option<IgnoreScope>,
    until: Option<Timestamp>,
) -> Result<BulkDecision, Problem> {
    let of_ignores = [("scope", scope.is_some()), ("until", until.is_some())];
    if let Some((field, _)) = of_ignores.into_iter().find(|(_, given)| *given && word != "ignore") {
        return Err(Problem::parameter(field, "only an ignore has it"));
    }
    match word {
        "approve" => Ok(BulkDecision::Approve { comment }),
        "withdraw-approval" => Ok(BulkDecision::WithdrawApproval { comment }),
        "ignore" => Ok(BulkDecision::Ignore { scope: scope.unwrap_or(IgnoreScope::Version), until, reason: comment }),
        "reopen" => Ok(BulkDecision::Reopen { comment }),
        other => Err(Problem::parameter("decision", format!("unknown decision {}", quoted(other)))),
    }
}

/// Begins an operation, or finds that it was begun before, and returns it as it stands. It goes on in the background.
///
/// # Errors
/// 409 when as many updates as were confirmed can no longer be told, or the id stands for another operation; 503 when the store
/// fails.
pub(crate) async fn start(app: &AppState, id: OperationId, confirmed: Confirmed) -> Result<Kept, Problem> {
    if let Some((_, kept)) = read(app, id).await? {
        return same(kept, &confirmed);
    }
    let selection = confirmed.selection()?;
    let selected = app.fleet.select(&selection, &confirmed.decision).await?;
    if selected.possible != confirmed.possible {
        let detail = format!("{} updates were confirmed, and it would be about {}", confirmed.possible, selected.possible);
        return Err(Problem::new(StatusCode::CONFLICT, "selection_changed", detail));
    }
    let counts = OperationCounts::default();
    let kept = Kept { confirmed, selected, started_at: app.now(), counts, finished_at: None, failure: None };
    if app.fleet.store().put(NAMESPACE, &id.to_string(), &json(&kept), Expected::Absent).await?.is_none() {
        let (_, other) = read(app, id).await?.ok_or_else(unknown)?;
        return same(other, &kept.confirmed);
    }
    let operation = Operation { id, operator: kept.confirmed.operator.clone(), selection, decision: kept.confirmed.decision.clone() };
    let by = By::Operator { name: operation.operator.clone() };
    app.audit.note(note(by, &operation, &kept.confirmed.filter, selected.possible, kept.started_at)).await?;
    tracing::info!(operation = %id, operator = kept.confirmed.operator.as_str(), updates = selected.possible, "an operation begins");
    tokio::spawn(carry_out(app.clone(), id));
    Ok(kept)
}

/// What the audit log says of a decision about many updates, those that match `filter`.
#[must_use]
pub fn note(by: By, operation: &Operation, filter: &str, updates: u64, at: Timestamp) -> Note {
    let decision = match &operation.decision {
        BulkDecision::Approve { .. } => "approve",
        BulkDecision::WithdrawApproval { .. } => "withdraw-approval",
        BulkDecision::Ignore { .. } => "ignore",
        BulkDecision::Reopen { .. } => "reopen",
    };
    Note::new(AuditKind::BulkDecision, by, at)
        .with(FactName::Operation, operation.id)
        .with(FactName::Decision, decision)
        .with(FactName::Filter, format!("{filter} as of position {}", operation.selection.as_of))
        .with(FactName::Count, updates)
}

/// An operation as it stands.
///
/// # Errors
/// 404 for an unknown id; 503 when the store fails.
pub(crate) async fn find(app: &AppState, id: OperationId) -> Result<Kept, Problem> {
    let (_, mut kept) = read(app, id).await?.ok_or_else(unknown)?;
    if kept.finished_at.is_none() {
        kept.counts = app.operations.of(id).unwrap_or(kept.counts);
    }
    Ok(kept)
}

/// Goes on with every operation that has no end yet.
///
/// # Errors
/// When the store fails or a record cannot be read.
pub(crate) async fn resume(app: &AppState) -> Result<(), StoreError> {
    let (store, mut after) = (app.fleet.store(), None::<String>);
    loop {
        let records = store.list(NAMESPACE, after.as_deref(), limits::PAGE_SIZE_MAX).await?;
        let Some((last, _)) = records.last() else { return Ok(()) };
        after = Some(last.clone());
        for (key, record) in records {
            let id = key.parse().map_err(|error| StoreError::caused(StoreErrorKind::Corrupt, error))?;
            if parse(&record)?.finished_at.is_none() {
                tracing::info!(operation = %id, "going on with an operation");
                tokio::spawn(carry_out(app.clone(), id));
            }
        }
    }
}

/// Carries an operation out until it ends or the server stops. A database that fails is tried again.
async fn carry_out(app: AppState, id: OperationId) {
    let ended = async {
        while let Err(error) = carry_out_once(&app, id).await {
            tracing::error!(operation = %id, error = &error as &dyn std::error::Error, "an operation rests");
            tokio::time::sleep(REST).await;
        }
    };
    if app.stopping.run_until_cancelled(ended).await.is_none() {
        tracing::info!(operation = %id, "an operation stops with the server; the next start goes on with it");
    }
    app.operations.forget(id);
}

async fn carry_out_once(app: &AppState, id: OperationId) -> Result<(), StoreError> {
    let record = app.fleet.store().get(NAMESPACE, &id.to_string()).await?;
    let Some(record) = record else { return Ok(()) };
    let mut kept = parse(&record)?;
    let Confirmed { operator, decision, .. } = kept.confirmed.clone();
    let corrupt = |problem: Problem| StoreError::caused(StoreErrorKind::Corrupt, problem.detail().to_owned());
    let operation = Operation { id, operator, selection: kept.confirmed.selection().map_err(corrupt)?, decision };
    match app.fleet.carry_out(&operation, app.now(), |counts| app.operations.note(id, *counts)).await {
        Ok(counts) => kept.counts = counts,
        // What was shown can no longer be told; what was decided by now stays.
        Err(error) if *error.kind() == StoreErrorKind::Pruned => {
            kept.counts = app.operations.of(id).unwrap_or(kept.counts);
            kept.failure = Some(error.source().map_or_else(|| error.to_string(), ToString::to_string));
        }
        Err(error) => return Err(error),
    }
    // Updates of agents that were removed since it began are not seen any more.
    let seen = kept.counts.done + kept.counts.changed + kept.counts.failed;
    kept.counts.failed += kept.selected.possible.saturating_sub(seen);
    kept.finished_at = Some(app.now());
    // When another server was quicker, its record says the same.
    app.fleet.store().put(NAMESPACE, &id.to_string(), &json(&kept), Expected::Revision(record.revision)).await?;
    let OperationCounts { done, changed, failed } = kept.counts;
    tracing::info!(operation = %id, done, changed, failed, "an operation ended");
    Ok(())
}

fn same(kept: Kept, confirmed: &Confirmed) -> Result<Kept, Problem> {
    if kept.confirmed == *confirmed {
        return Ok(kept);
    }
    Err(Problem::new(StatusCode::CONFLICT, "operation_id_reused", "the operation id was used before for something else"))
}

async fn read(app: &AppState, id: OperationId) -> Result<Option<(u64, Kept)>, StoreError> {
    let record = app.fleet.store().get(NAMESPACE, &id.to_string()).await?;
    record.map(|record| Ok((record.revision, parse(&record)?))).transpose()
}

fn parse(record: &Record) -> Result<Kept, StoreError> {
    serde_json::from_str(&record.value).map_err(|error| StoreError::caused(StoreErrorKind::Corrupt, error))
}

fn json(kept: &Kept) -> String {
    serde_json::to_string(kept).expect("operations always serialise")
}

fn unknown() -> Problem {
    Problem::not_found("no operation has this id")
}
