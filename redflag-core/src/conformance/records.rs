//! The record store: compare-and-set, order and bounds.

use super::{CheckResult, Harness, Lab, ensure, ensure_eq};
use crate::{
    limits,
    store::{Expected, Record, Store},
};
use std::sync::Arc;
use tokio::task::JoinSet;

pub(super) async fn a_record_is_written_only_as_expected(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 0).await?;
    let store = lab.store();
    ensure_eq!(store.put("people", "ada", "1", Expected::Revision(1)).await?, None, "replacing a record that is not there");
    ensure_eq!(store.put("people", "ada", "1", Expected::Absent).await?, Some(1), "the first revision");
    ensure_eq!(store.put("people", "ada", "2", Expected::Absent).await?, None, "creating a record twice");
    ensure_eq!(store.put("people", "ada", "2", Expected::Revision(1)).await?, Some(2), "the second revision");
    ensure_eq!(store.put("people", "ada", "3", Expected::Revision(1)).await?, None, "replacing an old revision");
    ensure_eq!(store.get("people", "ada").await?, Some(Record { value: "2".to_owned(), revision: 2 }), "the record");
    ensure_eq!(store.get("places", "ada").await?, None, "the same key in another namespace");
    ensure_eq!(store.delete("people", "ada", 1).await?, false, "deleting an old revision");
    ensure_eq!(store.delete("people", "ada", 2).await?, true, "deleting the record");
    ensure_eq!(store.delete("people", "ada", 2).await?, false, "deleting it again");
    ensure_eq!(store.get("people", "ada").await?, None, "the deleted record");
    Ok(())
}

pub(super) async fn one_of_twenty_racing_writers_wins(harness: &dyn Harness) -> CheckResult {
    const WRITERS: usize = 20;
    let store: Arc<dyn Store> = harness.fresh().await;
    for expected in [Expected::Absent, Expected::Revision(1), Expected::Revision(2)] {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let store = Arc::clone(&store);
            writers.spawn(async move { (writer, store.put("race", "seat", &writer.to_string(), expected).await) });
        }
        let mut winners = Vec::new();
        for (writer, put) in writers.join_all().await {
            if put?.is_some() {
                winners.push(writer);
            }
        }
        ensure_eq!(winners.len(), 1, "winners of a race of {WRITERS} for {expected:?}");
        let record = store.get("race", "seat").await?;
        ensure_eq!(record.map(|record| record.value), Some(winners[0].to_string()), "the record the winner wrote");
    }
    Ok(())
}

pub(super) async fn records_are_listed_in_key_order(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 0).await?;
    let store = lab.store();
    let mut keys = vec!["b", "a", "Z", "ab", "a%", "a_", "é", "zz", "~", "0", "😀", "A"];
    for key in &keys {
        store.put("sorted", key, key, Expected::Absent).await?;
        store.put("sorted2", key, "other", Expected::Absent).await?;
    }
    keys.sort_unstable();
    let mut listed: Vec<String> = Vec::new();
    loop {
        let page = store.list("sorted", listed.last().map(String::as_str), 5).await?;
        ensure!(page.len() <= 5, "a page of records holds more than asked for: {}", page.len());
        ensure!(page.iter().all(|(key, record)| *key == record.value && record.revision == 1), "keys keep their records: {page:?}");
        if page.is_empty() {
            break;
        }
        listed.extend(page.into_iter().map(|(key, _)| key));
        ensure!(listed.len() <= keys.len(), "the list of records never ends");
    }
    ensure_eq!(listed, keys, "keys in byte order");
    Ok(())
}

pub(super) async fn namespaces_are_listed_in_order(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 0).await?;
    let store = lab.store();
    ensure_eq!(store.namespaces(None, 10).await?, Vec::<String>::new(), "namespaces of an empty store");
    for (namespace, key) in [("tokens", "a"), ("Sessions", "a"), ("tokens", "b"), ("settings", "z"), ("tokens2", "a"), ("é", "a")] {
        store.put(namespace, key, "value", Expected::Absent).await?;
    }
    let expected = ["Sessions", "settings", "tokens", "tokens2", "é"].map(str::to_owned);
    ensure_eq!(store.namespaces(None, 10).await?, expected.to_vec(), "all namespaces");
    ensure_eq!(store.namespaces(None, 2).await?, expected[..2].to_vec(), "the first two namespaces");
    ensure_eq!(store.namespaces(Some("tokens"), 10).await?, expected[3..].to_vec(), "namespaces after one");
    store.delete("settings", "z", 1).await?;
    ensure_eq!(store.namespaces(Some("Sessions"), 1).await?, expected[2..3].to_vec(), "namespaces once one is empty");
    Ok(())
}

pub(super) async fn records_survive_reopening_and_are_bounded(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 0).await?;
    let largest = format!("é'\"\\{}", "x".repeat(limits::RECORD_BYTES_MAX - 5));
    ensure_eq!(lab.store().put("big", "k", &largest, Expected::Absent).await?, Some(1), "a record of the largest size");
    for bad in [format!("{largest}x"), "nul\0byte".to_owned()] {
        let refused = lab.store().put("big", "bad", &bad, Expected::Absent).await;
        ensure!(refused.is_err(), "a record of {} bytes that no store may take was taken: {refused:?}", bad.len());
    }
    let lab = lab.reopened(harness).await;
    ensure_eq!(lab.store().get("big", "k").await?, Some(Record { value: largest, revision: 1 }), "the record after reopening");
    ensure_eq!(lab.store().get("big", "bad").await?, None, "the refused record");
    Ok(())
}
