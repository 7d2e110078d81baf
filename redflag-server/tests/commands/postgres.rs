//! Fleets that move between SQLite and a real PostgreSQL, one that keeps its word about the disk.
#![cfg(feature = "postgres")]

use crate::fleet::{AGENTS, Place, Serving, summary};
use redflag_core::{Fleet, event::Actor, names::Text, query::AgentQuery, retention::RetentionWindow};
use redflag_store_postgres::{Options, PostgresStore};
use std::time::Duration;
use tmp_postgrust::{TmpPostgrustFactory, TmpPostgrustFactoryConfig, synchronous::ProcessGuard};

/// A server with fsync, without which the commands refuse it.
struct Postgres {
    running: ProcessGuard,
    _factory: TmpPostgrustFactory,
}

impl Postgres {
    fn start() -> Self {
        let mut durable = TmpPostgrustFactoryConfig::default();
        durable.disable_fsync = false;
        let factory = TmpPostgrustFactory::try_new(&durable).expect("a PostgreSQL server starts (Debian package: postgresql-15)");
        Self { running: factory.new_instance().unwrap(), _factory: factory }
    }

    fn url(&self) -> String {
        self.running.connection_string()
    }

    async fn fleet(&self) -> Fleet {
        Fleet::new(PostgresStore::connect(&self.url(), Options::default()).await.unwrap())
    }
}

/// A served fleet with an agent that was removed and one whose log retention has shortened.
async fn lived() -> Place {
    let place = Place::served().await;
    let fleet = place.fleet("fleet.db");
    let agents = fleet.store().agents(&AgentQuery::default()).await.unwrap().items;
    let now = redflag_server::clock::now();
    fleet.remove_agent(agents[0].head.agent, Actor::Operator(Text::lossy("Ada")), None, now).await.unwrap();
    let later = now.saturating_add(Duration::from_secs(31 * 86_400));
    fleet.prune(agents[1].head.agent, RetentionWindow::days(30).unwrap(), later).await.unwrap();
    place
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_moves_to_postgres_and_back_with_equal_digests() {
    let (place, postgres) = (lived().await, Postgres::start());
    let (whole, url) = (place.summary("fleet.db").await, postgres.url());
    let digest = whole.digest.to_string();
    let there = place.json("none", &["migrate-store", "--from", "fleet.db", "--to", &url]);
    assert_eq!((there["digests"]["from"].as_str(), there["digests"]["to"].as_str()), (Some(&*digest), Some(&*digest)));
    assert_eq!(summary(&postgres.fleet().await).await, whole, "every line is the same");
    assert!(whole.agents == u64::from(AGENTS) - 1 && whole.events > 300, "{whole:?}");
    place.run(&url, &["rebuild", "--check"]).success();

    let back = place.json("none", &["migrate-store", "--from", &url, "--to", "back.db"]);
    assert_eq!(back["digests"]["to"].as_str(), Some(&*digest));
    assert_eq!(place.summary("back.db").await, whole);
    let exported = place.json(&url, &["export", "--output", "postgres.jsonl"]);
    assert_eq!(exported["digest"].as_str(), Some(&*digest), "and so is the export");

    let said = place.fails("none", &["migrate-store", "--from", "fleet.db", "--to", &url], 1);
    assert!(said.contains("is not empty") && said.contains("DROP SCHEMA redflag CASCADE"), "{said}");
    let said = place.fails("none", &["migrate-store", "--from", &url, "--to", &url], 2);
    assert!(said.contains("same database"), "{said}");

    // It is served there, and its agents can be removed and shortened there.
    let mut server = Serving::start(std::path::Path::new(&url));
    let agent = postgres.fleet().await.store().agents(&AgentQuery::default()).await.unwrap().items[0].head.agent.to_string();
    place.run(&url, &["prune", "--older-than", "30d", "--dry-run"]).success();
    place.run(&url, &["remove-agent", &agent, "--reason", "scrapped", "--yes"]).success();
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    assert_eq!(summary(&postgres.fleet().await).await.agents, whole.agents - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_import_says_how_to_empty_postgres_and_doing_so_helps() {
    let (place, postgres) = (lived().await, Postgres::start());
    let url = postgres.url();
    place.run("fleet.db", &["export", "--output", "fleet.jsonl"]).success();
    let whole = std::fs::read_to_string(place.path("fleet.jsonl")).unwrap();
    std::fs::write(place.path("half.jsonl"), &whole[..whole.len() / 2]).unwrap();
    let said = place.fails(&url, &["import", "--input", "half.jsonl"], 1);
    assert!(said.contains("may hold a part of a fleet now") && said.contains("DROP SCHEMA redflag CASCADE"), "{said}");
    let said = place.fails(&url, &["import", "--input", "fleet.jsonl"], 1);
    assert!(said.contains("is not empty"), "{said}");
    let dropped = assert_cmd::Command::new("psql").args(["--quiet", "--command", "DROP SCHEMA redflag CASCADE", &url]).assert();
    dropped.success();
    place.run(&url, &["import", "--input", "fleet.jsonl"]).success();
    assert_eq!(summary(&postgres.fleet().await).await, place.summary("fleet.db").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_on_postgres_is_found_and_mended() {
    let (place, postgres) = (lived().await, Postgres::start());
    let url = postgres.url();
    place.run("none", &["migrate-store", "--from", "fleet.db", "--to", &url]).success();
    let damage = "DELETE FROM redflag.current_package_state WHERE agent_ref = (SELECT max(agent_ref) FROM redflag.current_package_state)";
    assert_cmd::Command::new("psql").args(["--quiet", "--command", damage, &url]).assert().success();
    place.run(&url, &["rebuild", "--check"]).code(1);
    assert_eq!(place.json(&url, &["rebuild"])["mended"], true);
    place.run(&url, &["rebuild", "--check"]).success();
}
