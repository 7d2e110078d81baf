//! Following the feed: a host reports three times, and a reader prints every batch as soon as it is committed.
#![expect(clippy::print_stdout, reason = "an example that shows what it reads")]

use redflag_core::{Fleet, agent::Enrolment, feed::FeedPosition, names::Text, time::Timestamp, wire::read_report};
use redflag_store_sqlite::SqliteStore;
use serde_json::json;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let fleet = Fleet::new(SqliteStore::in_memory()?);
    tokio::try_join!(report(&fleet), follow(&fleet)).map(|_| ())
}

/// Stores nothing: a reader that must not start over keeps `feed.position()` with what it made of the entries.
async fn follow(fleet: &Fleet) -> anyhow::Result<()> {
    let mut feed = fleet.subscribe(FeedPosition::START);
    while feed.position() < FeedPosition(3) {
        for entry in feed.next().await? {
            let Some(record) = entry.record else { continue };
            println!("{}: batch {} of agent {}", entry.position, entry.number, entry.agent);
            fleet.events_of(&record).await?.iter().for_each(|event| println!("   {} {}", event.event.package, event.event.kind.as_str()));
        }
    }
    Ok(())
}

async fn report(fleet: &Fleet) -> anyhow::Result<()> {
    let (agent, now): (_, Timestamp) = ("0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse()?, "2026-11-23T12:00:00Z".parse()?);
    fleet.enrol(Enrolment { agent, name: Text::parse("web-1")?, public_key: [7; 32], tags: vec![], enrolled_at: now }).await?;
    let mut seconds = tokio::time::interval(std::time::Duration::from_secs(1));
    for (sequence, packages) in [(1, vec!["bash", "curl"]), (2, vec!["bash", "curl", "openssl"]), (3, vec!["openssl"])] {
        seconds.tick().await;
        let offers: Vec<_> = packages.iter().map(|name| json!({ "package_name": name, "available_version": "2.0-1" })).collect();
        let scope = json!({ "package_type": "apt", "version_order": "dpkg", "result": "complete", "scanned_at": now, "offers": offers });
        let report_id = format!("0192f0c1-0000-7000-8000-00000000000{sequence}");
        let report = json!({ "schema": 1, "report_id": report_id, "sequence": sequence, "sent_at": now, "scopes": [scope] });
        fleet.record_report(agent, read_report(report.to_string().as_bytes())?, now).await?;
    }
    Ok(())
}
