//! Every limit of the contract, named once.
//!
//! A limit is inclusive: a value of exactly the limit is accepted, one more is refused. Each is tested at the limit and at
//! limit + 1. Over-limit envelopes are refused whole before any I/O (clause B10); an over-limit field rejects only its fact
//! or event (clause B3).

/// Events of a batch when nothing else is asked for.
pub const BATCH_EVENTS_DEFAULT: u32 = 100;
/// Most events one batch may hold.
pub const BATCH_EVENTS_MAX: u32 = 10_000;
/// Most facts (offers and gone entries of all scopes) in one report; an agent with more sends the scope truncated, as partial.
pub const REPORT_FACTS_MAX: usize = 50_000;
/// Most bytes of one report after decoding.
pub const REPORT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most scopes in one report.
pub const REPORT_SCOPES_MAX: usize = 32;
/// Report schema numbers this version reads.
pub const REPORT_SCHEMAS: &[u32] = &[1];
/// Most bytes of a manager's word.
pub const MANAGER_BYTES_MAX: usize = 32;
/// Most bytes of a package name.
pub const PACKAGE_NAME_BYTES_MAX: usize = 255;
/// Most bytes of an architecture.
pub const ARCH_BYTES_MAX: usize = 32;
/// Most bytes of a version.
pub const VERSION_BYTES_MAX: usize = 255;
/// Most bytes of a short text: names of people and hosts, origins, reasons, comments.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// Most reasons for a restart that a report names of its host.
pub const REBOOT_REASONS_MAX: usize = 16;
/// Most services to restart that a report names of its host.
pub const SERVICES_MAX: usize = 128;
/// Most advisory ids, and most CVE ids, of one candidate.
pub const ADVISORIES_MAX: usize = 256;
/// Most bytes of one metadata object in canonical form.
pub const METADATA_BYTES_MAX: usize = 4 * 1024;
/// Deepest nesting of one metadata object.
pub const METADATA_DEPTH_MAX: usize = 8;
/// Most bytes of a rejected fact or event that are kept for the operator to read.
pub const REJECTED_EXCERPT_BYTES_MAX: usize = 512;
/// Open offers from which an empty complete scan is held to be implausible (clause R2).
pub const COLLAPSE_OFFERS_MIN: u32 = 50;
/// Most rows on one page of a list.
pub const PAGE_SIZE_MAX: u32 = 500;
/// Rows on one page of a list when nothing else is asked for.
pub const PAGE_SIZE_DEFAULT: u32 = 50;
/// Most bytes of a search text.
pub const SEARCH_BYTES_MAX: usize = 128;
/// Most bytes of a cursor: room for the longest names of an agent and a package with every character escaped.
pub const CURSOR_BYTES_MAX: usize = 12 * 1024;
/// Entries of the feed, or batches of an agent, that are read at a time.
pub const FEED_ENTRIES_DEFAULT: u32 = 500;
/// Events of a log that are read at a time when it is folded, and that one step of retention takes.
pub const LOG_SLICE_EVENTS: u32 = 10_000;
/// How often work that reads a log first is begun before it is given up because the log keeps growing.
pub const ATTEMPTS_MAX: u32 = 8;
/// Days of the shortest retention window: longer than any agent retries a report.
pub const RETENTION_DAYS_MIN: u32 = 30;
/// Most days of a trend.
pub const TREND_DAYS_MAX: u32 = 400;
/// Most bytes of one record of a `RecordStore`.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of a command's envelope.
pub const COMMAND_ENVELOPE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most items of one command.
pub const COMMAND_ITEMS_MAX: usize = 5_000;
/// Most approvals a command carries.
pub const COMMAND_APPROVALS_MAX: usize = 16;
/// Most signatures of one envelope.
pub const COMMAND_SIGNATURES_MAX: usize = 8;
/// Largest counter of a command: every JSON reader keeps integers up to here exact (RFC 7493, section 2.2).
pub const COMMAND_COUNTER_MAX: u64 = (1 << 53) - 1;
/// Most by which a command's counter may exceed the last one seen.
pub const COMMAND_COUNTER_STEP_MAX: u64 = 1_000;
/// Longest time between a command's `not_before` and its `expires_at`: long enough to wait for a weekly window.
pub const COMMAND_LIFETIME_MAX: std::time::Duration = std::time::Duration::from_secs(8 * 24 * 60 * 60);
/// Most changes of a plan: far more than any upgrade of a whole host.
pub const PLAN_CHANGES_MAX: usize = 20_000;
/// Longest time a command may run before it counts as lost.
pub const COMMAND_RUN_MAX: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
/// How long a command stays with its agent before it is handed out anew.
pub const COMMAND_LEASE: std::time::Duration = std::time::Duration::from_secs(2 * 60);
/// How often a command is leased before it expires.
pub const COMMAND_ATTEMPTS_MAX: u32 = 10;
/// Most commands of one agent that have not ended.
pub const COMMANDS_OPEN_MAX: usize = 100;
/// Most commands an agent is newly given at once.
pub const COMMANDS_LEASED_MAX: u32 = 16;
/// Most late results that are kept of a command.
pub const COMMAND_LATE_RESULTS_MAX: usize = 4;
/// Most bytes of a tool's output that are kept with a result.
pub const COMMAND_OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Most entries of one block of the audit log.
pub const AUDIT_BLOCK_ENTRIES_MAX: usize = 128;
/// Most bytes of one fact of an entry of the audit log; what is longer is cut.
pub const AUDIT_FACT_BYTES_MAX: usize = 256;
/// Most bytes of the envelope of a checkpoint.
pub const CHECKPOINT_ENVELOPE_BYTES_MAX: usize = 4 * 1024;
/// Most checkpoints that a witness is told at once.
pub const CHECKPOINTS_TOLD_MAX: u32 = 100;
