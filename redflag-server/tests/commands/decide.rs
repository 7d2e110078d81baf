//! Deciding in bulk from the command line.

use crate::fleet::Place;
use redflag_core::{
    query::{StatusFilter, UpdateFilter},
    words::{Severity, Status},
};
use serde_json::json;

async fn total(place: &Place, filter: UpdateFilter) -> u64 {
    place.fleet("fleet.db").store().stats(&filter).await.unwrap().total
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_matches_is_counted_then_decided_and_nothing_else() {
    let place = Place::served().await;
    let critical = UpdateFilter { severity: Some(Severity::Critical), ..UpdateFilter::default() };
    let approved = UpdateFilter { status: StatusFilter::Is(Status::Approved), ..UpdateFilter::default() };
    let shown = total(&place, critical.clone()).await;
    assert!(shown > 0, "the simulated fleet has critical updates");

    let dry = place.json("fleet.db", &["decide", "approve", "--severity", "critical", "--dry-run"]);
    assert_eq!((&dry["matching"], &dry["possible"], &dry["dry_run"]), (&json!(shown), &json!(shown), &json!(true)), "{dry}");
    let asked = place.fails("fleet.db", &["decide", "approve", "--severity", "critical"], 2);
    assert!(asked.contains("--yes"), "{asked}");
    assert_eq!(total(&place, approved.clone()).await, 0, "neither a dry run nor a question decides");

    let done = place.json("fleet.db", &["decide", "approve", "--severity", "critical", "--yes", "--name", "ada", "--comment", "patch day"]);
    assert_eq!((&done["done"], &done["changed"], &done["failed"]), (&json!(shown), &json!(0), &json!(0)), "{done}");
    assert_eq!(total(&place, approved.clone()).await, shown);
    assert_eq!(total(&place, UpdateFilter { status: StatusFilter::Is(Status::Approved), ..critical }).await, shown);

    // Carried out again under its id it says the same, although everything is approved by now.
    let (id, as_of) = (done["operation_id"].as_str().unwrap(), done["as_of"].to_string());
    let again = ["decide", "approve", "--severity", "critical", "--yes", "--name", "ada", "--comment", "patch day"];
    let again = place.json("fleet.db", &[&again[..], &["--operation", id, "--as-of", &as_of]].concat());
    assert_eq!((&again["done"], &again["changed"]), (&json!(shown), &json!(0)), "{again}");

    let back = place.json("fleet.db", &["decide", "withdraw-approval", "--status", "approved", "--yes"]);
    assert_eq!(back["done"], json!(shown), "{back}");
    let none = place.json("fleet.db", &["decide", "reopen", "--yes"]);
    assert_eq!(none["possible"], 0, "nothing is ignored: {none}");
    for (wrong, said) in [
        (&["decide", "install"][..], "invalid value"),
        (&["decide", "approve", "--severity", "worst"], "worst"),
        (&["decide", "approve", "--scope", "package", "--yes"], "only an ignore"),
        (&["decide", "approve", "--operation", id, "--yes"], "--as-of"),
    ] {
        let told = place.fails("fleet.db", wrong, 2);
        assert!(told.contains(said), "{wrong:?}: {told}");
    }
}
