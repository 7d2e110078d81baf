//! What reports say: digests, packages, what is gone, and scans that failed.

use crate::support::Lab;
use redflag_agent::{Delivery, Silent, report::Stated};
use redflag_core::words::ScanResult;

const BASH: (&str, &str, &str) = ("bash", "5.1-1", "5.2-1");
const CURL: (&str, &str, &str) = ("curl", "7.8-1", "7.9-1");
const WGET: (&str, &str, &str) = ("wget", "1.1-1", "1.2-1");

#[tokio::test]
async fn what_is_gone_is_told_with_the_version_installed_now() {
    let lab = Lab::new().await;
    let mut agent = lab.agent();
    lab.apt.offers(&[BASH, CURL, WGET], &[]);
    agent.report(&mut Silent).await.unwrap();
    lab.apt.offers(&[WGET], &[("bash", "5.2-1")]);
    agent.report(&mut Silent).await.unwrap();
    let gone = &lab.server.last_report()["scopes"][0]["gone"];
    let expected = serde_json::json!([
        {"package_name": "bash", "arch": "amd64", "installed_version": "5.2-1"},
        {"package_name": "curl", "arch": "amd64"},
    ]);
    assert_eq!(*gone, expected);
    assert_eq!(lab.server.open().await.into_keys().collect::<Vec<_>>(), ["wget"]);

    lab.apt.offers(&[], &[("bash", "5.2-1"), ("wget", "1.2-1")]);
    agent.report(&mut Silent).await.unwrap();
    let gone = &lab.server.last_report()["scopes"][0]["gone"];
    assert_eq!(gone.as_array().unwrap().len(), 1, "what the server acknowledged as gone is not told again: {gone}");
}

#[tokio::test]
async fn a_failed_scan_is_told_closes_nothing_and_forgets_nothing() {
    let lab = Lab::new().await;
    let mut agent = lab.agent();
    lab.apt.offers(&[BASH, CURL], &[]);
    agent.report(&mut Silent).await.unwrap();

    lab.apt.change(|scan| scan.failed("the dpkg lock is held"));
    let summary = agent.report(&mut Silent).await.unwrap();
    assert_eq!((summary.scopes[0].result, summary.scopes[0].stated), (ScanResult::Failed, Stated::Nothing));
    let scope = &lab.server.last_report()["scopes"][0];
    assert_eq!((&scope["result"], scope.get("offers"), scope.get("digest")), (&serde_json::json!("failed"), None, None));
    assert_eq!(lab.server.open().await.len(), 2);

    lab.apt.offers(&[BASH], &[("curl", "7.9-1")]);
    agent.report(&mut Silent).await.unwrap();
    assert_eq!(lab.server.last_report()["scopes"][0]["gone"][0]["installed_version"], "7.9-1");
}

#[tokio::test]
async fn a_partial_scan_closes_nothing() {
    let lab = Lab::new().await;
    let mut agent = lab.agent();
    lab.apt.offers(&[BASH, CURL], &[]);
    agent.report(&mut Silent).await.unwrap();
    lab.apt.offers(&[WGET], &[]);
    lab.apt.change(|scan| scan.with_gaps(&["a line could not be read".to_owned()]));
    agent.report(&mut Silent).await.unwrap();
    assert_eq!(lab.server.open().await.len(), 3);

    lab.apt.offers(&[], &[("bash", "5.2-1"), ("curl", "7.9-1"), ("wget", "1.2-1")]);
    agent.report(&mut Silent).await.unwrap();
    assert_eq!(lab.server.last_report()["scopes"][0]["gone"].as_array().unwrap().len(), 3);
    assert_eq!(lab.server.open().await.len(), 0);
}

#[tokio::test]
async fn a_manager_that_vanished_is_a_failed_scope() {
    let lab = Lab::new().await;
    let mut agent = lab.agent();
    lab.apt.offers(&[BASH], &[]);
    agent.report(&mut Silent).await.unwrap();
    lab.apt.remove();
    let summary = agent.report(&mut Silent).await.unwrap();
    assert_eq!(summary.scopes[0].result, ScanResult::Failed);
    assert_eq!(lab.server.open().await.len(), 1);
}

#[tokio::test]
async fn a_server_that_asks_for_everything_gets_it_at_once() {
    let lab = Lab::new().await;
    let mut agent = lab.agent();
    lab.apt.offers(&[BASH, CURL], &[]);
    agent.report(&mut Silent).await.unwrap();

    lab.server.lose_reports().await;
    let summary = agent.report(&mut Silent).await.unwrap();
    let Delivery::Delivered(counts) = &summary.delivery else { panic!("{:?}", summary.delivery) };
    assert_eq!((counts.reports, counts.recorded), (2, 2));
    assert_eq!(lab.server.open().await.len(), 2);
}

#[tokio::test]
async fn a_sudden_emptiness_waits_for_the_second_scan_and_then_counts() {
    let lab = Lab::new().await;
    let mut agent = lab.agent();
    let names: Vec<String> = (0..60).map(|number| format!("lib{number}")).collect();
    let offers: Vec<_> = names.iter().map(|name| (name.as_str(), "1-1", "1-2")).collect();
    lab.apt.offers(&offers, &[]);
    agent.report(&mut Silent).await.unwrap();

    let installed: Vec<_> = names.iter().map(|name| (name.as_str(), "1-1")).collect();
    lab.apt.offers(&[], &installed);
    let summary = agent.report(&mut Silent).await.unwrap();
    let Delivery::Delivered(counts) = &summary.delivery else { panic!("{:?}", summary.delivery) };
    assert_eq!((counts.quarantined.len(), lab.server.open().await.len()), (1, 60));

    agent.report(&mut Silent).await.unwrap();
    assert_eq!(lab.server.last_report()["scopes"][0]["gone"].as_array().unwrap().len(), 60, "the second scan says it all again");
    assert_eq!(lab.server.open().await.len(), 0);
}

#[tokio::test]
async fn more_than_fits_is_sent_truncated_and_as_partial() {
    let lab = Lab::new().await;
    let mut agent = lab.agent();
    let names: Vec<String> = (0..=redflag_core::limits::REPORT_FACTS_MAX).map(|number| format!("lib{number}")).collect();
    let offers: Vec<_> = names.iter().map(|name| (name.as_str(), "1-1", "1-2")).collect();
    lab.apt.offers(&offers, &[]);
    let summary = agent.report(&mut Silent).await.unwrap();
    assert!(matches!(summary.delivery, Delivery::Delivered(_)), "{:?}", summary.delivery);
    let scope = &lab.server.last_report()["scopes"][0];
    assert_eq!(scope["offers"].as_array().unwrap().len(), redflag_core::limits::REPORT_FACTS_MAX);
    assert_eq!(scope["result"], "partial");
    assert!(scope["error"].as_str().unwrap().contains("50001 updates"), "{}", scope["error"]);
}
