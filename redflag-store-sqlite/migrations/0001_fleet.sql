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
    commands        INTEGER NOT NULL CHECK (commands >= 0), -- the highest counter given to a command
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
    source        INTEGER NOT NULL CHECK (source BETWEEN 0 AND 3), -- 0 report, 1 decision, 2 submitted, 3 command
    source_id     BLOB CHECK (length(source_id) = 16), -- of the report or the command
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
    CHECK ((source IN (0, 3)) = (source_id IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX update_batches_by_time ON update_batches (received_at);
CREATE INDEX update_batches_rejected ON update_batches (received_at) WHERE rejected > 0;

-- Events and states are rows under one number, which is what SQLite appends to and finds fastest: the agent's ref times 10^10 plus
-- the event's sequence or the package's ref. The two columns that it is made of can be read by name.
--
-- Ids of events that come from reports and decisions are computed from their batch (clause B14): only ids that callers chose
-- are kept. Rows have no foreign keys, which would cost a look-up each: the same transaction writes what they refer to.
CREATE TABLE update_events (
    event_key     INTEGER PRIMARY KEY,
    agent_ref     INTEGER AS (event_key / 10000000000) VIRTUAL,
    sequence      INTEGER AS (event_key % 10000000000) VIRTUAL,
    package_ref   INTEGER NOT NULL,
    revision      INTEGER NOT NULL,
    previous      INTEGER, -- sequence of the event before it of the same package, so that no index is needed; none for the first
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
    CHECK ((candidate_ref IS NULL) = (availability IS NULL)),
    CHECK ((candidate_ref IS NULL) = (detail IS NOT NULL))
) STRICT;

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
    state_key     INTEGER PRIMARY KEY,
    agent_ref     INTEGER AS (state_key / 10000000000) VIRTUAL,
    package_ref   INTEGER AS (state_key % 10000000000) VIRTUAL,
    status        INTEGER NOT NULL CHECK (status BETWEEN 0 AND 9),
    severity      INTEGER NOT NULL CHECK (severity BETWEEN 0 AND 4), -- the candidate's, for lists
    security      INTEGER NOT NULL CHECK (security IN (0, 1)),       -- likewise
    availability  INTEGER NOT NULL CHECK (availability BETWEEN 0 AND 6),
    candidate_ref INTEGER NOT NULL,
    installed_ref INTEGER,
    reason_ref    INTEGER,
    revision      INTEGER NOT NULL CHECK (revision >= 1),
    sequence      INTEGER, -- of its newest event, which retention may have taken; none where only a base is known
    discovered_at INTEGER NOT NULL,
    changed_after INTEGER NOT NULL, -- microseconds since then, mostly none
    changed_at    INTEGER AS (discovered_at + changed_after) VIRTUAL,
    detail        TEXT -- JSON object; none for a plain pending update
) STRICT;

-- There is no index by package or time: a report would touch a page of it for every one of its packages. Lists are found by what is
-- kept in memory of all states (index.rs).

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

-- ---------------------------------------------------------------- the queue of commands (clause C)

-- A command is its record; what it is found by stands beside it.
CREATE TABLE commands (
    agent_ref    INTEGER NOT NULL REFERENCES agents (agent_ref),
    agent_id     BLOB NOT NULL CHECK (length(agent_id) = 16), -- for the order of lists
    command_id   BLOB NOT NULL CHECK (length(command_id) = 16),
    requested_at INTEGER NOT NULL,
    state        INTEGER NOT NULL CHECK (state BETWEEN 0 AND 8),
    due_at       INTEGER, -- when it must be looked at; none once it has ended
    record       TEXT NOT NULL, -- JSON object
    PRIMARY KEY (agent_ref, command_id),
    CHECK ((state <= 3) = (due_at IS NOT NULL))
) STRICT;

CREATE INDEX commands_of_agent ON commands (agent_id, requested_at, command_id);
CREATE INDEX commands_by_time ON commands (requested_at, agent_id, command_id);
CREATE INDEX commands_by_state ON commands (state, requested_at, agent_id, command_id);
CREATE INDEX commands_open ON commands (agent_ref) WHERE due_at IS NOT NULL;
CREATE INDEX commands_open_by_time ON commands (requested_at, agent_id, command_id) WHERE due_at IS NOT NULL;
CREATE INDEX commands_due ON commands (due_at) WHERE due_at IS NOT NULL;

-- ---------------------------------------------------------------- documents of others: accounts, sessions, tokens, settings

CREATE TABLE records (
    namespace TEXT NOT NULL,
    key       TEXT NOT NULL,
    value     TEXT NOT NULL,
    revision  INTEGER NOT NULL CHECK (revision >= 1),
    PRIMARY KEY (namespace, key)
) STRICT, WITHOUT ROWID;

-- ---------------------------------------------------------------- the feed (clause F)

-- A row is a run: batches first_number, first_number + 1, … of an agent, one a position from first_position on. There is one writer,
-- so a unit of work numbers its batches itself.
CREATE TABLE feed (
    first_position INTEGER PRIMARY KEY CHECK (first_position >= 1),
    agent_ref      INTEGER NOT NULL, -- of agents or removed_agents
    first_number   INTEGER NOT NULL CHECK (first_number >= 1),
    batches        INTEGER NOT NULL CHECK (batches >= 1)
) STRICT;

CREATE INDEX feed_of_agent ON feed (agent_ref); -- and by first_position within

-- What stands in the feed for batches whose records are gone.
CREATE TABLE feed_tombstones (
    agent_ref INTEGER NOT NULL, -- of agents or removed_agents
    number    INTEGER NOT NULL CHECK (number >= 1),
    digest    BLOB NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (agent_ref, number)
) STRICT, WITHOUT ROWID;

-- ---------------------------------------------------------------- what removal and retention leave (clauses D2 and D3)

-- Refs of removed agents are never given to others: the feed goes on naming them.
CREATE TABLE removed_agents (
    agent_ref   INTEGER PRIMARY KEY,
    agent_id    BLOB NOT NULL UNIQUE CHECK (length(agent_id) = 16),
    name        TEXT NOT NULL CHECK (name <> ''),
    enrolled_at INTEGER NOT NULL,
    removed_at  INTEGER NOT NULL,
    actor       TEXT NOT NULL, -- JSON object
    reason      TEXT,
    batches     INTEGER NOT NULL CHECK (batches >= 0),
    events      INTEGER NOT NULL CHECK (events >= 0)
) STRICT;

-- States that stand for the events that retention took.
CREATE TABLE bases (
    agent_ref   INTEGER NOT NULL,
    package_ref INTEGER NOT NULL,
    state       TEXT NOT NULL, -- JSON object
    PRIMARY KEY (agent_ref, package_ref)
) STRICT, WITHOUT ROWID;

-- ---------------------------------------------------------------- the trend

-- By how much open updates of an agent grew on a day; what adds up to nothing may stay.
CREATE TABLE open_changes (
    agent_ref  INTEGER NOT NULL,
    day        INTEGER NOT NULL, -- days since 1970-01-01, UTC
    severity   INTEGER NOT NULL CHECK (severity BETWEEN 0 AND 4),
    difference INTEGER NOT NULL,
    PRIMARY KEY (agent_ref, day, severity)
) STRICT, WITHOUT ROWID;

-- The same of the whole fleet. With one writer, no row is one that writers wait for.
CREATE TABLE open_changes_of_fleet (
    day        INTEGER NOT NULL,
    severity   INTEGER NOT NULL CHECK (severity BETWEEN 0 AND 4),
    difference INTEGER NOT NULL,
    PRIMARY KEY (day, severity)
) STRICT, WITHOUT ROWID;

-- ---------------------------------------------------------------- append-only (clause D1)

-- A pass of removal, retention or rebuild marks its agent here, and takes the mark away before it commits: only then can rows of that
-- agent be deleted. A mark refers to one that cannot be, so that a transaction that leaves it cannot commit.
CREATE TABLE maintenance (
    agent_ref INTEGER PRIMARY KEY CHECK (agent_ref > 0),
    ends      INTEGER NOT NULL DEFAULT 0 CHECK (ends = 0) REFERENCES maintenance (agent_ref) DEFERRABLE INITIALLY DEFERRED
) STRICT;

CREATE TRIGGER update_batches_keep BEFORE UPDATE ON update_batches
BEGIN SELECT RAISE(ABORT, 'update_batches is append-only'); END;
CREATE TRIGGER update_batches_stay BEFORE DELETE ON update_batches
WHEN NOT EXISTS (SELECT 1 FROM maintenance WHERE agent_ref = OLD.agent_ref)
BEGIN SELECT RAISE(ABORT, 'update_batches is append-only'); END;

CREATE TRIGGER update_events_keep BEFORE UPDATE ON update_events
BEGIN SELECT RAISE(ABORT, 'update_events is append-only'); END;
CREATE TRIGGER update_events_stay BEFORE DELETE ON update_events
WHEN NOT EXISTS (SELECT 1 FROM maintenance WHERE agent_ref = OLD.agent_ref)
BEGIN SELECT RAISE(ABORT, 'update_events is append-only'); END;

CREATE TRIGGER chosen_event_ids_keep BEFORE UPDATE ON chosen_event_ids
BEGIN SELECT RAISE(ABORT, 'chosen_event_ids is append-only'); END;
CREATE TRIGGER chosen_event_ids_stay BEFORE DELETE ON chosen_event_ids
WHEN NOT EXISTS (SELECT 1 FROM maintenance WHERE agent_ref = OLD.agent_ref)
BEGIN SELECT RAISE(ABORT, 'chosen_event_ids is append-only'); END;

CREATE TRIGGER rejections_keep BEFORE UPDATE ON rejections
BEGIN SELECT RAISE(ABORT, 'rejections is append-only'); END;
CREATE TRIGGER rejections_stay BEFORE DELETE ON rejections
WHEN NOT EXISTS (SELECT 1 FROM maintenance WHERE agent_ref = OLD.agent_ref)
BEGIN SELECT RAISE(ABORT, 'rejections is append-only'); END;

CREATE TRIGGER reports_keep BEFORE UPDATE ON reports
BEGIN SELECT RAISE(ABORT, 'reports is append-only'); END;
CREATE TRIGGER reports_stay BEFORE DELETE ON reports
WHEN NOT EXISTS (SELECT 1 FROM maintenance WHERE agent_ref = OLD.agent_ref)
BEGIN SELECT RAISE(ABORT, 'reports is append-only'); END;

CREATE TRIGGER update_version_history_keep BEFORE UPDATE ON update_version_history
BEGIN SELECT RAISE(ABORT, 'update_version_history is append-only'); END;
CREATE TRIGGER update_version_history_stay BEFORE DELETE ON update_version_history
WHEN NOT EXISTS (SELECT 1 FROM maintenance WHERE agent_ref = OLD.agent_ref)
BEGIN SELECT RAISE(ABORT, 'update_version_history is append-only'); END;

-- A later step of retention replaces the bases of an earlier one.
CREATE TRIGGER bases_keep BEFORE UPDATE ON bases
WHEN NOT EXISTS (SELECT 1 FROM maintenance WHERE agent_ref = OLD.agent_ref)
BEGIN SELECT RAISE(ABORT, 'bases is append-only'); END;
CREATE TRIGGER bases_stay BEFORE DELETE ON bases
WHEN NOT EXISTS (SELECT 1 FROM maintenance WHERE agent_ref = OLD.agent_ref)
BEGIN SELECT RAISE(ABORT, 'bases is append-only'); END;

-- The feed and what is kept of removed agents stay for ever.
CREATE TRIGGER feed_keep BEFORE UPDATE ON feed
BEGIN SELECT RAISE(ABORT, 'feed is append-only'); END;
CREATE TRIGGER feed_stay BEFORE DELETE ON feed
BEGIN SELECT RAISE(ABORT, 'feed is append-only'); END;

CREATE TRIGGER feed_tombstones_keep BEFORE UPDATE ON feed_tombstones
BEGIN SELECT RAISE(ABORT, 'feed_tombstones is append-only'); END;
CREATE TRIGGER feed_tombstones_stay BEFORE DELETE ON feed_tombstones
BEGIN SELECT RAISE(ABORT, 'feed_tombstones is append-only'); END;

CREATE TRIGGER removed_agents_keep BEFORE UPDATE ON removed_agents
BEGIN SELECT RAISE(ABORT, 'removed_agents is append-only'); END;
CREATE TRIGGER removed_agents_stay BEFORE DELETE ON removed_agents
BEGIN SELECT RAISE(ABORT, 'removed_agents is append-only'); END;
