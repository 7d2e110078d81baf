//! Embedding the engine: a fleet in SQLite, one batch with one bad event, and the list that results.
#![expect(clippy::print_stdout, reason = "an example that shows its result")]

use redflag_core::{Fleet, agent::Enrolment, batch::Batch, event::*, names::Text, offer::OfferInput, query::UpdateQuery, time::Timestamp};
use redflag_store_sqlite::SqliteStore;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let fleet = Fleet::new(SqliteStore::in_memory()?);
    let (agent, now): (_, Timestamp) = ("0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse()?, "2026-11-23T12:00:00Z".parse()?);
    fleet.enrol(Enrolment { agent, name: Text::parse("web-1")?, public_key: [7; 32], tags: vec![], enrolled_at: now }).await?;

    let discovered = |event_id: &str, name: &str| -> anyhow::Result<EventInput> {
        let offer = OfferInput { package_name: name.into(), available_version: "2.0-1".into(), ..OfferInput::default() };
        let change = ChangeInput::Discovered(offer);
        Ok(EventInput { event_id: event_id.parse()?, package_type: "apt".into(), change, observed_at: None })
    };
    let good = discovered("0192f0c1-0000-7000-8000-000000000001", "bash")?;
    let bad = discovered("0192f0c1-0000-7000-8000-000000000002", "not a package name")?;
    let batch = Batch::new(agent, "0192f0c1-0000-7000-8000-000000000003".parse()?, Actor::Agent, vec![bad, good])?;
    let receipt = fleet.submit(batch, now).await?;
    receipt.rejections().for_each(|(index, rejection)| println!("event {index} was rejected: {rejection}"));

    for row in fleet.store().updates(&UpdateQuery::default()).await?.items {
        println!("{}: {} is {}", row.agent_name, row.state.package, row.state.status());
    }
    Ok(())
}
