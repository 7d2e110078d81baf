//! A large fleet: the first host of each distribution reports through the facade, and its rows are then copied to the others in bulk,
//! log, states, receipts and counters. One update in twenty is installed already, one withdrawn; every host changed on thirty days.

use crate::reports::{Hosts, first_report};
use redflag_core::{Fleet, conformance::generate::enrolment};
use redflag_store_sqlite::{Options, SqliteStore};
use rusqlite::{Connection, params};
use std::path::Path;

/// Hosts run one of so many distributions, which share no package.
pub(crate) const DISTRIBUTIONS: u32 = 3;

/// Makes a file with so many hosts.
pub(crate) async fn fill(path: &Path, hosts: u32) {
    let store = SqliteStore::open(path, Options::default()).expect("the store opens");
    let mut reporting = Hosts::new(store.clone(), 0);
    for host in 0..DISTRIBUTIONS {
        first_report(&mut reporting, host).await;
    }
    let fleet = Fleet::new(store);
    for host in DISTRIBUTIONS..hosts {
        fleet.enrol(enrolment(host)).await.expect("the agent is enrolled");
    }
    drop((fleet, reporting));
    let connection = Connection::open(path).expect("the file opens");
    connection.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; BEGIN").expect("settings");
    for copy in [BATCHES, FEED, EVENTS, STATES, HEAD] {
        let mut copy = connection.prepare(copy).expect("prepares");
        for reference in DISTRIBUTIONS + 1..=hosts {
            copy.execute(params![reference, 1 + (reference - 1) % DISTRIBUTIONS]).expect("copies");
        }
    }
    connection.execute_batch(RECOUNT).expect("recounts");
    connection.execute_batch("COMMIT; PRAGMA journal_mode = WAL").expect("commits");
}

const BATCHES: &str = "
    INSERT INTO update_batches
    SELECT ?1, number, batch_id, actor, source, report_id, digest, received_at, first_sequence, first_ordinal, submitted, accepted,
        duplicate, rejected, exceptions
    FROM update_batches
    WHERE agent_ref = ?2
    ORDER BY number";

const FEED: &str = "
    INSERT INTO feed (first_position, agent_ref, first_number, batches)
    SELECT (SELECT MAX(first_position + batches) FROM feed), ?1, 1, batches
    FROM agents
    WHERE agent_ref = ?2";

const EVENTS: &str = "
    INSERT INTO update_events
        (event_key, package_ref, revision, previous, batch_number, batch_index, kind, candidate_ref, installed_ref, availability,
         reason_ref, observed_at, detail, event_id)
    SELECT event_key + (?1 - ?2) * 10000000000, package_ref, revision, previous, batch_number, batch_index, kind, candidate_ref,
        installed_ref, availability, reason_ref, observed_at, detail, event_id
    FROM update_events
    WHERE event_key BETWEEN ?2 * 10000000000 AND (?2 + 1) * 10000000000
    ORDER BY event_key";

const STATES: &str = r#"
    INSERT INTO current_package_state
        (state_key, status, severity, security, availability, candidate_ref, installed_ref, reason_ref, revision, sequence,
         discovered_at, changed_after, detail)
    SELECT state_key + (?1 - ?2) * 10000000000, CASE (package_ref * 7 + ?1 * 13) % 20 WHEN 0 THEN 6 WHEN 1 THEN 9 ELSE 0 END,
        severity, security, availability, candidate_ref, installed_ref, reason_ref, 1, sequence, discovered_at,
        ?1 * 1000000 + (package_ref * 11 + ?1) % 30 * 86400000000,
        CASE (package_ref * 7 + ?1 * 13) % 20
            WHEN 0 THEN '{"standing":{"status":"installed","version":"1"}}'
            WHEN 1 THEN '{"standing":{"status":"withdrawn","reason":"no-longer-offered"}}'
        END
    FROM current_package_state
    WHERE state_key BETWEEN ?2 * 10000000000 AND (?2 + 1) * 10000000000
    ORDER BY state_key"#;

const HEAD: &str = "
    UPDATE agents
    SET (host, last_contact_at, last_report, scopes, events, batches) =
        (SELECT host, last_contact_at + ?1, last_report, scopes, events, batches FROM agents AS original WHERE original.agent_ref = ?2)
    WHERE agent_ref = ?1";

const RECOUNT: &str = "
    DELETE FROM update_counters;
    INSERT INTO update_counters (agent_ref, manager, status, severity, security, availability, count)
    SELECT s.agent_ref, p.manager, s.status, s.severity, s.security, s.availability, COUNT(*)
    FROM current_package_state AS s JOIN packages AS p USING (package_ref)
    GROUP BY 1, 2, 3, 4, 5, 6;
    DELETE FROM open_changes;
    INSERT INTO open_changes (agent_ref, day, severity, difference)
    SELECT agent_ref, changed_at / 86400000000, severity, COUNT(*)
    FROM current_package_state
    WHERE status NOT IN (6, 9)
    GROUP BY 1, 2, 3;
    DELETE FROM open_changes_of_fleet;
    INSERT INTO open_changes_of_fleet (day, severity, difference)
    SELECT day, severity, SUM(difference) FROM open_changes GROUP BY 1, 2;
    UPDATE generation SET number = number + 1";
