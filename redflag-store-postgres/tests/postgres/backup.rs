//! A backup by `pg_dump`, taken while agents report, and what comes back from it (see `docs/backup.md`).

use crate::{
    life::{assert_same, everything, live},
    server::{Server, into_schema},
};
use redflag_core::{
    Fleet,
    conformance::generate::{Rng, agent, at, checked, enrolment, offers, report_id, report_of, scope_of},
    report::Report,
    store::{StateStore as _, Store},
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Sequences beyond those of the history before.
fn report(number: u32) -> Report {
    let offers = checked("apt", &offers(&mut Rng::new(number.into()), "apt", 20));
    report_of(report_id(number.into()), number.into(), vec![scope_of("apt", at(number), &offers, &[])])
}

/// Reports of agent 0 that were acknowledged, from number 1,000 on.
async fn report_until(fleet: Fleet, enough: Arc<AtomicBool>) -> u32 {
    let mut number = 1_000;
    while !enough.load(Ordering::Relaxed) {
        fleet.record_report(agent(0), report(number), at(number)).await.expect("the report is taken");
        number += 1;
    }
    number
}

fn run(command: &mut Command) {
    let output = command.output().expect("it is there (Debian package: postgresql-client-15)");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn dump(url: &str, schema: &str, file: &Path) {
    run(Command::new("pg_dump").args(["--format=custom", "--schema", schema, "--file"]).arg(file).args(["--dbname", url]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_holds_one_moment_and_agents_bring_the_rest_again() {
    let (server, options) = (Server::shared(), Server::options());
    let store = server.open(&options).await;
    let held: Arc<dyn Store> = Arc::new(store.clone());
    live(&held, 13, 2).await;
    let fleet = Fleet::new(store.clone());
    let before = store.agent(agent(0)).await.unwrap().unwrap();

    let file = std::env::temp_dir().join(format!("redflag-{}-{}.dump", std::process::id(), options.schema));
    let enough = Arc::new(AtomicBool::new(false));
    let reporting = tokio::spawn(report_until(fleet, Arc::clone(&enough)));
    let (url, schema, to) = (server.url(), options.schema.clone(), file.clone());
    tokio::task::spawn_blocking(move || dump(&url, &schema, &to)).await.unwrap();
    enough.store(true, Ordering::Relaxed);
    let reported = reporting.await.unwrap();
    let whole = everything(&*held, 2).await;
    store.close().await;

    let mut connection = into_schema(&server, &options).await;
    connection.execute(AssertSqlSafe(format!("DROP SCHEMA {} CASCADE", options.schema))).await.unwrap();
    run(Command::new("pg_restore").args(["--single-transaction", "--dbname", &server.url()]).arg(&file));
    std::fs::remove_file(&file).unwrap();

    let restored: Arc<dyn Store> = Arc::new(server.open(&options).await);
    let fleet = Fleet::shared(Arc::clone(&restored));
    let after = restored.agent(agent(0)).await.unwrap().unwrap();
    assert!(after.batches >= before.batches, "what was acknowledged before the dump is in it");
    for number in 0..2 {
        assert_eq!(fleet.check(agent(number)).await.unwrap(), [], "agent {number}");
    }
    for number in 1_000..reported {
        fleet.record_report(agent(0), report(number), at(number)).await.expect("the report is taken again");
    }
    assert_same(&everything(&*restored, 2).await, &whole);

    // Refs go on where they were, and the log is guarded as before.
    fleet.enrol(enrolment(2)).await.unwrap();
    assert!(connection.execute("DELETE FROM update_events").await.is_err());
    connection.close().await.unwrap();
}
