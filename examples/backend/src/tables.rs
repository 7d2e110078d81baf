//! What is stored under which key: the whole layout of the file.
//!
//! Keys begin with the agent, because every unit of work is about one agent (what the whole fleet shares, its feed and its records, has
//! keys of its own), and are tuples that sort the way they are read. The value holds everything, also what the key repeats, so that
//! keys only ever find things and are never parsed.

use redb::TableDefinition;
use redflag_core::{
    counters::{CounterKey, OpenChange},
    ids::{AgentId, BatchId, CommandId, EventId, ReportId, UpdateId},
    names::{Manager, PackageKey},
};
use std::ops::RangeInclusive;

/// One of core's values as JSON (see [`crate::documents`]).
pub(crate) type Json = &'static [u8];

/// The number of a UUID; numbers sort as the bytes of their UUIDs do.
pub(crate) type Uuid = u128;

/// An agent's package: agent, manager, name, architecture (empty where there is none).
pub(crate) type Package<'a> = (Uuid, &'a str, &'a str, &'a str);

/// What counters of an agent tell apart, in the order of [`CounterKey`].
pub(crate) type Kind<'a> = (Uuid, &'a str, u8, u8, bool, u8);

/// Agent, day and severity.
pub(crate) type OnDay = (Uuid, i32, u8);

/// The layout's version; a file with a larger one was written by a newer program (clause D4).
pub(crate) const LAYOUT: u64 = 1;

/// `layout`: [`LAYOUT`].
pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Agent: its head.
pub(crate) const AGENTS: TableDefinition<'_, Uuid, Json> = TableDefinition::new("agents");

/// Package: its state.
pub(crate) const STATES: TableDefinition<'_, Package<'static>, Json> = TableDefinition::new("states");

/// Package: the state that stands for the events which retention took.
pub(crate) const BASES: TableDefinition<'_, Package<'static>, Json> = TableDefinition::new("bases");

/// Agent, manager, status, severity, security and availability: how many states are of this kind.
pub(crate) const COUNTERS: TableDefinition<'_, Kind<'static>, Json> = TableDefinition::new("counters");

/// Agent, day and severity: by how much the open updates changed.
pub(crate) const OPEN_CHANGES: TableDefinition<'_, OnDay, Json> = TableDefinition::new("open_changes");

/// Agent and sequence: an event. The agent's stream is a range in order.
pub(crate) const EVENTS: TableDefinition<'_, (Uuid, u64), Json> = TableDefinition::new("events");

/// Package and revision: the event's sequence. The events of a package are a range in order.
pub(crate) const EVENTS_OF_PACKAGE: TableDefinition<'_, (Package<'static>, u64), u64> = TableDefinition::new("events_of_package");

/// Agent and event id, only of ids that callers chose (clause B14): where the event stands.
pub(crate) const CHOSEN_IDS: TableDefinition<'_, (Uuid, Uuid), Json> = TableDefinition::new("chosen_ids");

/// Package and sequence: a change of version.
pub(crate) const HISTORY: TableDefinition<'_, (Package<'static>, u64), Json> = TableDefinition::new("history");

/// Agent and number: a batch.
pub(crate) const BATCHES: TableDefinition<'_, (Uuid, u64), Json> = TableDefinition::new("batches");

/// Agent and batch id: the batch's number.
pub(crate) const BATCH_NUMBERS: TableDefinition<'_, (Uuid, Uuid), u64> = TableDefinition::new("batch_numbers");

/// Position: the agent, number and digest of a batch, which stay when the batch goes.
pub(crate) const FEED: TableDefinition<'_, u64, Json> = TableDefinition::new("feed");

/// Agent, batch id and index: a rejected event.
pub(crate) const REJECTIONS: TableDefinition<'_, (Uuid, Uuid, u32), Json> = TableDefinition::new("rejections");

/// Agent and number in order of arrival: a report. A late report has a low sequence and still is the newest (clause R3), so the
/// sequence cannot be the key.
pub(crate) const REPORTS: TableDefinition<'_, (Uuid, u64), Json> = TableDefinition::new("reports");

/// Agent and report id: the report's number.
pub(crate) const REPORT_NUMBERS: TableDefinition<'_, (Uuid, Uuid), u64> = TableDefinition::new("report_numbers");

/// Agent and command id: a command.
pub(crate) const COMMANDS: TableDefinition<'_, (Uuid, Uuid), Json> = TableDefinition::new("commands");

/// Agent that was removed: what is kept of it.
pub(crate) const REMOVED: TableDefinition<'_, Uuid, Json> = TableDefinition::new("removed");

/// Namespace and key: a record.
pub(crate) const RECORDS: TableDefinition<'_, (&str, &str), Json> = TableDefinition::new("records");

/// Sorts after every manager, name and architecture, which are printable ASCII.
const LAST: &str = "\u{10ffff}";

pub(crate) fn agent(agent: AgentId) -> Uuid {
    agent.as_uuid().as_u128()
}

pub(crate) fn batch(batch: BatchId) -> Uuid {
    batch.as_uuid().as_u128()
}

pub(crate) fn report(report: ReportId) -> Uuid {
    report.as_uuid().as_u128()
}

pub(crate) fn command(command: CommandId) -> Uuid {
    command.as_uuid().as_u128()
}

pub(crate) fn event(event: EventId) -> Uuid {
    event.as_uuid().as_u128()
}

pub(crate) fn package(of: AgentId, package: &PackageKey) -> Package<'_> {
    (agent(of), package.manager.as_str(), package.name.as_str(), package.arch_text())
}

pub(crate) fn update(id: &UpdateId) -> Package<'_> {
    package(id.agent, &id.package)
}

/// All packages of an agent.
pub(crate) fn packages_of(of: AgentId) -> RangeInclusive<Package<'static>> {
    (agent(of), "", "", "")..=(agent(of), LAST, LAST, LAST)
}

/// All packages of an agent with all their numbers.
pub(crate) fn numbered_packages_of(of: AgentId) -> RangeInclusive<(Package<'static>, u64)> {
    let (first, last) = packages_of(of).into_inner();
    (first, 0)..=(last, u64::MAX)
}

/// All packages of one manager of an agent.
pub(crate) fn packages_of_manager(of: AgentId, manager: &Manager) -> RangeInclusive<Package<'_>> {
    (agent(of), manager.as_str(), "", "")..=(agent(of), manager.as_str(), LAST, LAST)
}

/// All numbers under `key`: sequences, revisions, or numbers of batches and reports.
pub(crate) const fn numbered<K: Copy>(key: K) -> RangeInclusive<(K, u64)> {
    (key, 0)..=(key, u64::MAX)
}

/// All ids of an agent.
pub(crate) fn ids_of(of: AgentId) -> RangeInclusive<(Uuid, Uuid)> {
    (agent(of), 0)..=(agent(of), Uuid::MAX)
}

/// All rejections of a batch.
pub(crate) const fn rejections_of((agent, batch): (Uuid, Uuid)) -> RangeInclusive<(Uuid, Uuid, u32)> {
    (agent, batch, 0)..=(agent, batch, u32::MAX)
}

pub(crate) fn counter(of: AgentId, key: &CounterKey) -> Kind<'_> {
    (agent(of), key.manager.as_str(), key.status.code(), key.severity.code(), key.security, key.availability.code())
}

/// All counters of an agent.
pub(crate) fn counters_of(of: AgentId) -> RangeInclusive<Kind<'static>> {
    (agent(of), "", 0, 0, false, 0)..=(agent(of), LAST, u8::MAX, u8::MAX, true, u8::MAX)
}

pub(crate) fn open_change(of: AgentId, change: &OpenChange) -> OnDay {
    (agent(of), change.day.number(), change.severity.code())
}

/// All changes of open updates of an agent.
pub(crate) fn open_changes_of(of: AgentId) -> RangeInclusive<OnDay> {
    (agent(of), i32::MIN, 0)..=(agent(of), i32::MAX, u8::MAX)
}
