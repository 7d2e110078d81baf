-- One fleet. Words are kept as their codes (redflag-core, words.rs); times are microseconds since the Unix epoch; ids are the 16
-- bytes of their UUID. Refs are integers of this file alone and never leave it.

-- ---------------------------------------------------------------- agents

-- An unchanged report updates one row of this table and touches no index of it.
CREATE TABLE agents (
    agent_ref       INTEGER PRIMARY KEY,
    agent_id        BLOB NOT NULL UNIQUE CHECK (length(agent_id) = 16),
    name            TEXT NOT NULL CHECK (name <> ''),
    public_key      BLOB NOT NULL CHECK (length(public_key) = 32),
    enrolled_at     INTEGER NOT NULL,
    tags            TEXT NOT NULL, -- JSON array
    host            TEXT NOT NULL, -- JSON object
    last_contact_at INTEGER,
    last_report     TEXT,          -- JSON object
    scopes          TEXT NOT NULL, -- JSON object by manager
    events          INTEGER NOT NULL CHECK (events >= 0),
    batches         INTEGER NOT NULL CHECK (batches >= 0),
    pruned_batches  INTEGER NOT NULL CHECK (pruned_batches >= 0), -- 1 to this, gone by retention
    pruned_events   INTEGER NOT NULL CHECK (pruned_events BETWEEN 0 AND events),
    pruned_day      INTEGER NOT NULL -- days since 1970-01-01, UTC
) STRICT;

CREATE INDEX agents_by_name ON agents (name, agent_id);

-- ---------------------------------------------------------------- catalogs: what is the same on every agent, kept once

CREATE TABLE packages (
    package_ref INTEGER PRIMARY KEY,
    manager     TEXT NOT NULL CHECK (manager <> ''),
    name        TEXT NOT NULL CHECK (name <> ''),
    arch        TEXT NOT NULL, -- empty where the manager knows none
    UNIQUE (name, manager, arch) -- also the order of lists
) STRICT;

CREATE TABLE candidates (
    candidate_ref INTEGER PRIMARY KEY,
    content_key   BLOB NOT NULL UNIQUE CHECK (length(content_key) = 32), -- SHA-256 of the candidate's JSON
    version       TEXT NOT NULL CHECK (version <> ''),
    origin        TEXT,
    severity      INTEGER NOT NULL CHECK (severity BETWEEN 0 AND 4),
    severity_word TEXT,
    security      INTEGER NOT NULL CHECK (security IN (0, 1)),
    advisories    TEXT, -- JSON array; none when empty
    cves          TEXT, -- JSON array; none when empty
    size_bytes    INTEGER CHECK (size_bytes >= 0),
    description   TEXT,
    metadata      TEXT  -- JSON object
) STRICT;

-- Installed versions and reasons of availability.
CREATE TABLE texts (
    text_ref INTEGER PRIMARY KEY,
    text     TEXT NOT NULL UNIQUE CHECK (text <> '')
) STRICT;

-- ---------------------------------------------------------------- the log

CREATE TABLE update_batches (
    agent_ref     INTEGER NOT NULL REFERENCES agents (agent_ref),
    number        INTEGER NOT NULL CHECK (number >= 1),
    batch_id      BLOB NOT NULL CHECK (length(batch_id) = 16),
    actor         TEXT NOT NULL, -- JSON object
    source        INTEGER NOT NULL CHECK (source BETWEEN 0 AND 2), -- 0 report, 1 decision, 2 submitted
    report_id     BLOB CHECK (length(report_id) = 16),
    digest        BLOB NOT NULL CHECK (length(digest) = 32),
    received_at   INTEGER NOT NULL,
    first_sequence INTEGER NOT NULL CHECK (first_sequence >= 1), -- of its accepted events
    first_ordinal INTEGER NOT NULL CHECK (first_ordinal >= 0), -- place of its first event among those of its report
    submitted     INTEGER NOT NULL CHECK (submitted >= 1),
    accepted      INTEGER NOT NULL CHECK (accepted >= 0),
    duplicate     INTEGER NOT NULL CHECK (duplicate >= 0),
    rejected      INTEGER NOT NULL CHECK (rejected >= 0),
    exceptions    TEXT, -- JSON array of [index, outcome], of those not accepted; none when empty
    PRIMARY KEY (agent_ref, number),
    UNIQUE (agent_ref, batch_id),
    CHECK (accepted + duplicate + rejected = submitted),
    CHECK ((source = 0) = (report_id IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX update_batches_by_time ON update_batches (received_at);
CREATE INDEX update_batches_rejected ON update_batches (received_at) WHERE rejected > 0;

-- Ids of events that come from reports and decisions are computed from their batch (clause B14): only ids that callers chose
-- are kept. Rows have no foreign keys, which would cost a look-up each: the same transaction writes what they refer to.
CREATE TABLE update_events (
    agent_ref     INTEGER NOT NULL,
    sequence      INTEGER NOT NULL CHECK (sequence >= 1),
    package_ref   INTEGER NOT NULL,
    revision      INTEGER NOT NULL,
    batch_number  INTEGER NOT NULL,
    batch_index   INTEGER NOT NULL,
    kind          INTEGER CHECK (kind BETWEEN 0 AND 14), -- none: a kind of a newer version, wholly in detail
    candidate_ref INTEGER,
    installed_ref INTEGER,
    availability  INTEGER CHECK (availability BETWEEN 0 AND 6),
    reason_ref    INTEGER,
    observed_at   INTEGER,
    detail        TEXT, -- JSON object of kinds that bring no offer
    event_id      BLOB CHECK (length(event_id) = 16),
    PRIMARY KEY (agent_ref, sequence),
    CHECK ((candidate_ref IS NULL) = (availability IS NULL)),
    CHECK ((candidate_ref IS NULL) = (detail IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX update_events_of_package ON update_events (agent_ref, package_ref);

-- Ids of events that callers chose (clause B7).
CREATE TABLE chosen_event_ids (
    agent_ref INTEGER NOT NULL,
    event_id  BLOB NOT NULL CHECK (length(event_id) = 16),
    sequence  INTEGER NOT NULL,
    digest    BLOB NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (agent_ref, event_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE rejections (
    agent_ref    INTEGER NOT NULL,
    batch_number INTEGER NOT NULL,
    batch_index  INTEGER NOT NULL,
    code         TEXT NOT NULL CHECK (code <> ''),
    field        TEXT NOT NULL,
    message      TEXT NOT NULL,
    manager      TEXT,
    name         TEXT,
    arch         TEXT,
    excerpt      TEXT NOT NULL,
    PRIMARY KEY (agent_ref, batch_number, batch_index),
    FOREIGN KEY (agent_ref, batch_number) REFERENCES update_batches (agent_ref, number),
    CHECK ((manager IS NULL) = (name IS NULL) AND (name IS NOT NULL OR arch IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE reports (
    report_ref  INTEGER PRIMARY KEY, -- grows in commit order
    agent_ref   INTEGER NOT NULL REFERENCES agents (agent_ref),
    report_id   BLOB NOT NULL CHECK (length(report_id) = 16),
    digest      BLOB NOT NULL CHECK (length(digest) = 32),
    sequence    INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    answer      TEXT NOT NULL, -- JSON object
    UNIQUE (agent_ref, report_id)
) STRICT;

CREATE INDEX reports_of_agent ON reports (agent_ref, report_ref);

-- ---------------------------------------------------------------- what follows from the log

CREATE TABLE current_package_state (
    agent_ref     INTEGER NOT NULL,
    package_ref   INTEGER NOT NULL,
    status        INTEGER NOT NULL CHECK (status BETWEEN 0 AND 9),
    severity      INTEGER NOT NULL CHECK (severity BETWEEN 0 AND 4), -- the candidate's, for lists
    security      INTEGER NOT NULL CHECK (security IN (0, 1)),       -- likewise
    availability  INTEGER NOT NULL CHECK (availability BETWEEN 0 AND 6),
    candidate_ref INTEGER NOT NULL,
    installed_ref INTEGER,
    reason_ref    INTEGER,
    revision      INTEGER NOT NULL CHECK (revision >= 1),
    discovered_at INTEGER NOT NULL,
    changed_at    INTEGER NOT NULL,
    detail        TEXT, -- JSON object; none for a plain pending update
    PRIMARY KEY (agent_ref, package_ref)
) STRICT, WITHOUT ROWID;

-- There is no index by package: a report would touch a page of it for every one of its packages. The states of a package are found
-- by what is kept in memory of them (tally.rs).

-- Grows with every commit that changes a state: what was counted of an earlier generation counts no more.
CREATE TABLE generation (
    number INTEGER NOT NULL
) STRICT;

INSERT INTO generation (number)
VALUES (0);

CREATE TABLE update_version_history (
    agent_ref    INTEGER NOT NULL,
    package_ref  INTEGER NOT NULL,
    sequence     INTEGER NOT NULL CHECK (sequence >= 1),
    from_version TEXT,
    to_version   TEXT NOT NULL,
    outcome      INTEGER NOT NULL CHECK (outcome BETWEEN 0 AND 2),
    command_id   BLOB CHECK (length(command_id) = 16),
    reason       TEXT,
    at           INTEGER NOT NULL,
    PRIMARY KEY (agent_ref, package_ref, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE update_counters (
    agent_ref    INTEGER NOT NULL,
    manager      TEXT NOT NULL,
    status       INTEGER NOT NULL CHECK (status BETWEEN 0 AND 9),
    severity     INTEGER NOT NULL CHECK (severity BETWEEN 0 AND 4),
    security     INTEGER NOT NULL CHECK (security IN (0, 1)),
    availability INTEGER NOT NULL CHECK (availability BETWEEN 0 AND 6),
    count        INTEGER NOT NULL CHECK (count >= 0),
    PRIMARY KEY (agent_ref, manager, status, severity, security, availability)
) STRICT, WITHOUT ROWID;

-- ---------------------------------------------------------------- documents of others: accounts, sessions, tokens, settings

CREATE TABLE records (
    namespace TEXT NOT NULL,
    key       TEXT NOT NULL,
    value     TEXT NOT NULL,
    revision  INTEGER NOT NULL CHECK (revision >= 1),
    PRIMARY KEY (namespace, key)
) STRICT, WITHOUT ROWID;

-- ---------------------------------------------------------------- append-only (clause D1)
-- A removal or retention pass will be marked by a row written in its own transaction, for which the DELETE triggers then look.

CREATE TRIGGER update_batches_keep BEFORE UPDATE ON update_batches
BEGIN SELECT RAISE(ABORT, 'update_batches is append-only'); END;
CREATE TRIGGER update_batches_stay BEFORE DELETE ON update_batches
BEGIN SELECT RAISE(ABORT, 'update_batches is append-only'); END;

CREATE TRIGGER update_events_keep BEFORE UPDATE ON update_events
BEGIN SELECT RAISE(ABORT, 'update_events is append-only'); END;
CREATE TRIGGER update_events_stay BEFORE DELETE ON update_events
BEGIN SELECT RAISE(ABORT, 'update_events is append-only'); END;

CREATE TRIGGER chosen_event_ids_keep BEFORE UPDATE ON chosen_event_ids
BEGIN SELECT RAISE(ABORT, 'chosen_event_ids is append-only'); END;
CREATE TRIGGER chosen_event_ids_stay BEFORE DELETE ON chosen_event_ids
BEGIN SELECT RAISE(ABORT, 'chosen_event_ids is append-only'); END;

CREATE TRIGGER rejections_keep BEFORE UPDATE ON rejections
BEGIN SELECT RAISE(ABORT, 'rejections is append-only'); END;
CREATE TRIGGER rejections_stay BEFORE DELETE ON rejections
BEGIN SELECT RAISE(ABORT, 'rejections is append-only'); END;

CREATE TRIGGER reports_keep BEFORE UPDATE ON reports
BEGIN SELECT RAISE(ABORT, 'reports is append-only'); END;
CREATE TRIGGER reports_stay BEFORE DELETE ON reports
BEGIN SELECT RAISE(ABORT, 'reports is append-only'); END;

CREATE TRIGGER update_version_history_keep BEFORE UPDATE ON update_version_history
BEGIN SELECT RAISE(ABORT, 'update_version_history is append-only'); END;
CREATE TRIGGER update_version_history_stay BEFORE DELETE ON update_version_history
BEGIN SELECT RAISE(ABORT, 'update_version_history is append-only'); END;
