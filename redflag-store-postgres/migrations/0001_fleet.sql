-- One fleet, in one schema: agents, the immutable log, the state folded from it, and what is kept beside them.
--
-- Integer refs stay inside the database; public ids are UUIDs and typed keys. Words are kept as their codes (redflag-core,
-- words.rs), times as microseconds since 1970-01-01 UTC. Every primary key of a table that grows with agents leads with the
-- agent, so that tables can be partitioned or distributed by it without changing keys. Their rows carry no foreign keys, which
-- would cost a look-up each: the agent is locked first in every transaction that writes them, and the same transaction writes
-- what they refer to. An agent's stream ends at 2^31 - 1 events.

-- ---------------------------------------------------------------- agents

-- An unchanged report writes one row of this table, which is kept narrow for that. Half of each page is left free, so that the new
-- version of the row stays on its page and no index is touched. Of such a version only what lies between the first and the last byte
-- that changed is logged: what every report changes stands together, at the end. And a page is tidied up, which is logged too,
-- whenever it is fuller than new rows may make it: so a row is born with room for the versions that reports will bring.
CREATE TABLE agents (
    agent_ref          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id           uuid    NOT NULL UNIQUE,
    name               text    NOT NULL COLLATE "C" CHECK (name <> ''),
    enrolled_at        bigint  NOT NULL,
    events             integer NOT NULL CHECK (events >= 0),
    batches            integer NOT NULL CHECK (batches >= 0),
    commands           integer NOT NULL CHECK (commands >= 0), -- the highest counter given to a command
    pruned_batches     integer NOT NULL CHECK (pruned_batches >= 0), -- 1 to this, gone by retention
    pruned_events      integer NOT NULL CHECK (pruned_events BETWEEN 0 AND events),
    pruned_day         integer NOT NULL, -- days since 1970-01-01, UTC
    room               text    NOT NULL DEFAULT '', -- spaces at enrolment, empty from the first change on
    scope_times        bigint[] NOT NULL, -- scanned_at and metadata_at of each of agent_facts.scopes, in the order of their managers
    last_contact_at    bigint,
    report_received_at bigint, -- of the newest report, like the following
    report_sequence    bigint,
    report_id          uuid,
    report_digest      bytea CHECK (octet_length(report_digest) = 32),
    CHECK (num_nulls(report_received_at, report_sequence, report_id, report_digest) IN (0, 4))
) WITH (fillfactor = 50);

ALTER TABLE agents ALTER COLUMN room SET STORAGE PLAIN; -- never compressed or moved out of the row

CREATE INDEX agents_by_name ON agents (name, agent_id);

-- What few reports change: one row for each of agents.
CREATE TABLE agent_facts (
    agent_ref  integer PRIMARY KEY,
    public_key bytea   NOT NULL CHECK (octet_length(public_key) = 32),
    tags       text    NOT NULL, -- JSON array
    host       text    NOT NULL, -- JSON object
    scopes     text    NOT NULL  -- JSON object by manager, without the times in agents.scope_times
) WITH (fillfactor = 70);

-- ---------------------------------------------------------------- catalogs: what is the same on every agent, kept once

CREATE TABLE packages (
    package_ref integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    manager     text    NOT NULL COLLATE "C" CHECK (manager <> ''),
    name        text    NOT NULL COLLATE "C" CHECK (name <> ''),
    arch        text    NOT NULL COLLATE "C", -- empty where the manager knows none
    UNIQUE (name, manager, arch) -- also the order of lists
);

CREATE TABLE candidates (
    candidate_ref integer  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content_key   bytea    NOT NULL UNIQUE CHECK (octet_length(content_key) = 32), -- SHA-256 of the candidate's JSON
    version       text     NOT NULL CHECK (version <> ''),
    origin        text,
    severity      smallint NOT NULL CHECK (severity BETWEEN 0 AND 4),
    severity_word text,
    security      boolean  NOT NULL,
    advisories    text,    -- JSON array; none when empty
    cves          text,    -- JSON array; none when empty
    size_bytes    bigint   CHECK (size_bytes >= 0),
    description   text,
    metadata      text     -- JSON object
);

-- Installed versions and reasons of availability.
CREATE TABLE texts (
    text_ref integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text     text    NOT NULL COLLATE "C" UNIQUE CHECK (text <> '')
);

-- ---------------------------------------------------------------- the log

CREATE TABLE update_batches (
    agent_ref      integer  NOT NULL,
    number         integer  NOT NULL CHECK (number >= 1),
    batch_id       uuid     NOT NULL,
    actor          text     NOT NULL, -- JSON object
    source         smallint NOT NULL CHECK (source BETWEEN 0 AND 3), -- 0 report, 1 decision, 2 submitted, 3 command
    source_id      uuid,    -- of the report or the command
    digest         bytea    NOT NULL CHECK (octet_length(digest) = 32),
    received_at    bigint   NOT NULL,
    first_sequence integer  NOT NULL CHECK (first_sequence >= 1), -- of its accepted events
    first_ordinal  integer  NOT NULL CHECK (first_ordinal >= 0), -- place of its first event among those of its report
    submitted      integer  NOT NULL CHECK (submitted >= 1),
    accepted       integer  NOT NULL CHECK (accepted >= 0),
    duplicate      integer  NOT NULL CHECK (duplicate >= 0),
    rejected       integer  NOT NULL CHECK (rejected >= 0),
    exceptions     text,    -- JSON array of [index, outcome], of those not accepted; none when empty
    PRIMARY KEY (agent_ref, number),
    UNIQUE (agent_ref, batch_id),
    CHECK (accepted + duplicate + rejected = submitted),
    CHECK ((source IN (0, 3)) = (source_id IS NOT NULL))
);

CREATE INDEX update_batches_by_time ON update_batches (received_at);
CREATE INDEX update_batches_rejected ON update_batches (received_at) WHERE rejected > 0;

-- Ids of events that come from reports and decisions are computed from their batch (clause B14): only ids that callers chose
-- are kept. The events of one package are a chain: its state names the newest, each names the one before it. An index in place of
-- the chain would be written by every event, all over its pages.
CREATE TABLE update_events (
    agent_ref         integer  NOT NULL,
    sequence          integer  NOT NULL CHECK (sequence >= 1),
    observed_at       bigint,
    package_ref       integer  NOT NULL,
    revision          integer  NOT NULL CHECK (revision >= 1),
    previous_sequence integer  CHECK (previous_sequence < sequence), -- of the package's event before; none for its first
    batch_number      integer  NOT NULL,
    batch_index       smallint NOT NULL CHECK (batch_index >= 0),
    kind              smallint CHECK (kind BETWEEN 0 AND 14), -- none: a kind of a newer version, wholly in detail
    availability      smallint CHECK (availability BETWEEN 0 AND 6),
    candidate_ref     integer,
    installed_ref     integer,
    reason_ref        integer,
    detail            text,    -- JSON object of kinds that bring no offer
    event_id          uuid,
    PRIMARY KEY (agent_ref, sequence),
    CHECK ((candidate_ref IS NULL) = (availability IS NULL)),
    CHECK ((candidate_ref IS NULL) = (detail IS NOT NULL))
);

-- Ids of events that callers chose (clause B7).
CREATE TABLE chosen_event_ids (
    agent_ref    integer  NOT NULL,
    event_id     uuid     NOT NULL,
    sequence     integer  NOT NULL,
    batch_number integer  NOT NULL,
    batch_index  smallint NOT NULL,
    digest       bytea    NOT NULL CHECK (octet_length(digest) = 32),
    PRIMARY KEY (agent_ref, event_id)
);

CREATE TABLE rejections (
    agent_ref    integer  NOT NULL,
    batch_number integer  NOT NULL,
    batch_index  smallint NOT NULL,
    code         text     NOT NULL CHECK (code <> ''),
    field        text     NOT NULL,
    message      text     NOT NULL,
    manager      text,
    name         text,
    arch         text,
    excerpt      text     NOT NULL,
    PRIMARY KEY (agent_ref, batch_number, batch_index),
    CHECK ((manager IS NULL) = (name IS NULL) AND (name IS NOT NULL OR arch IS NULL))
);

CREATE TABLE reports (
    agent_ref   integer NOT NULL,
    report_ref  bigint  GENERATED ALWAYS AS IDENTITY, -- grows in the commit order of an agent, whose row is locked
    report_id   uuid    NOT NULL,
    digest      bytea   NOT NULL CHECK (octet_length(digest) = 32),
    sequence    bigint  NOT NULL,
    received_at bigint  NOT NULL,
    answer      text    NOT NULL, -- JSON object
    PRIMARY KEY (agent_ref, report_ref),
    UNIQUE (agent_ref, report_id)
);

-- ---------------------------------------------------------------- what follows from the log

CREATE TABLE current_package_state (
    agent_ref     integer  NOT NULL,
    package_ref   integer  NOT NULL,
    discovered_at bigint   NOT NULL,
    changed_at    bigint   NOT NULL,
    candidate_ref integer  NOT NULL,
    revision      integer  NOT NULL CHECK (revision >= 1),
    last_sequence integer  NOT NULL CHECK (last_sequence >= 0), -- of its newest event; 0 where no event of it is kept
    status        smallint NOT NULL CHECK (status BETWEEN 0 AND 9),
    severity      smallint NOT NULL CHECK (severity BETWEEN 0 AND 4), -- the candidate's, for lists
    availability  smallint NOT NULL CHECK (availability BETWEEN 0 AND 6),
    security      boolean  NOT NULL, -- the candidate's, for lists
    installed_ref integer,
    reason_ref    integer,
    detail        text,    -- JSON object; none for a plain pending update
    PRIMARY KEY (agent_ref, package_ref)
) WITH (fillfactor = 55); -- of a page that is written whole after a checkpoint, the free part is not

CREATE TABLE update_version_history (
    agent_ref    integer  NOT NULL,
    package_ref  integer  NOT NULL,
    sequence     integer  NOT NULL CHECK (sequence >= 1), -- of the event it comes from
    from_version text,
    to_version   text     NOT NULL,
    outcome      smallint NOT NULL CHECK (outcome BETWEEN 0 AND 2),
    command_id   uuid,
    reason       text,
    at           bigint   NOT NULL,
    PRIMARY KEY (agent_ref, package_ref, sequence)
);

CREATE TABLE update_counters (
    agent_ref    integer  NOT NULL,
    manager      text     NOT NULL COLLATE "C",
    status       smallint NOT NULL CHECK (status BETWEEN 0 AND 9),
    severity     smallint NOT NULL CHECK (severity BETWEEN 0 AND 4),
    security     boolean  NOT NULL,
    availability smallint NOT NULL CHECK (availability BETWEEN 0 AND 6),
    count        bigint   NOT NULL CHECK (count >= 0),
    PRIMARY KEY (agent_ref, manager, status, severity, security, availability)
) WITH (fillfactor = 50);

-- What a unit of work changed, for the mirrors that processes keep of the states (src/mirror.rs): what states became, not by how
-- much they differ. Old rows are pruned; a mirror that is older still is filled anew.
CREATE TABLE state_changes (
    xid          xid8       NOT NULL DEFAULT pg_current_xact_id(),
    change_ref   bigint     GENERATED ALWAYS AS IDENTITY, -- grows in the commit order of an agent, which is locked
    agent_ref    integer    NOT NULL,
    states       integer    NOT NULL CHECK (states >= 0),
    changed_at   bigint,     -- of these states; none when all states of the agent may have changed, or the agent went
    package_refs integer[]  CHECK (cardinality(package_refs) = states),
    kinds        smallint[] CHECK (cardinality(kinds) = states),
    PRIMARY KEY (xid, change_ref),
    CHECK ((changed_at IS NULL) = (package_refs IS NULL) AND (changed_at IS NULL) = (kinds IS NULL))
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- The newest transaction whose changes were pruned: one row, once any was.
CREATE TABLE pruned_state_changes (
    xid xid8 PRIMARY KEY
);

-- ---------------------------------------------------------------- the feed (clause F)

-- A unit of work that writes batches leaves a ticket in its own transaction. A follower, one at a time, turns the tickets that it
-- sees into runs of the feed (src/follower.rs).
CREATE TABLE feed_tickets (
    ticket       bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- grows in the commit order of an agent, which is locked
    agent_ref    integer NOT NULL,
    first_number integer NOT NULL CHECK (first_number >= 1),
    batches      integer NOT NULL CHECK (batches >= 1)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Positions first_position to first_position + batches - 1: batches of one agent, by number from first_number.
CREATE TABLE feed (
    first_position bigint  PRIMARY KEY CHECK (first_position >= 1),
    agent_ref      integer NOT NULL,
    first_number   integer NOT NULL CHECK (first_number >= 1),
    batches        integer NOT NULL CHECK (batches >= 1)
);

CREATE INDEX feed_of_agent ON feed (agent_ref, first_position);

-- ---------------------------------------------------------------- the queue of commands (clause C)

-- A command is its record; what it is found by stands beside it.
CREATE TABLE commands (
    agent_ref    integer  NOT NULL,
    agent_id     uuid     NOT NULL, -- for the order of lists
    command_id   uuid     NOT NULL,
    revision     bigint   NOT NULL CHECK (revision >= 1),
    requested_at bigint   NOT NULL,
    state        smallint NOT NULL CHECK (state BETWEEN 0 AND 8),
    due_at       bigint,   -- when it must be looked at; none once it has ended
    record       text     NOT NULL, -- JSON object
    PRIMARY KEY (agent_ref, command_id),
    CHECK ((state <= 3) = (due_at IS NOT NULL))
) WITH (fillfactor = 70);

CREATE INDEX commands_of_agent ON commands (agent_id, requested_at, command_id);
CREATE INDEX commands_by_time ON commands (requested_at, agent_id, command_id);
CREATE INDEX commands_by_state ON commands (state, requested_at, agent_id, command_id);
CREATE INDEX commands_open ON commands (agent_ref) WHERE due_at IS NOT NULL;
CREATE INDEX commands_open_by_time ON commands (requested_at, agent_id, command_id) WHERE due_at IS NOT NULL;
CREATE INDEX commands_due ON commands (due_at) WHERE due_at IS NOT NULL;

-- ---------------------------------------------------------------- documents of others: accounts, sessions, tokens, settings

CREATE TABLE records (
    namespace text   NOT NULL COLLATE "C",
    key       text   NOT NULL COLLATE "C",
    value     text   NOT NULL,
    revision  bigint NOT NULL CHECK (revision >= 1),
    PRIMARY KEY (namespace, key)
);

-- ---------------------------------------------------------------- the trend

-- By how much an agent's open updates of a severity grew or shrank on a day, so that any number of reports of a day add up to
-- at most five rows.
CREATE TABLE open_changes (
    agent_ref  integer  NOT NULL,
    day        integer  NOT NULL, -- days since 1970-01-01, UTC
    severity   smallint NOT NULL CHECK (severity BETWEEN 0 AND 4),
    difference bigint   NOT NULL,
    PRIMARY KEY (agent_ref, day, severity)
) WITH (fillfactor = 50);

CREATE INDEX open_changes_by_day ON open_changes (day);

-- ---------------------------------------------------------------- what stays when a part of the log goes (clauses D2 and D3)

-- The states that the events retention took led to.
CREATE TABLE base_package_state (
    agent_ref     integer  NOT NULL,
    package_ref   integer  NOT NULL,
    discovered_at bigint   NOT NULL,
    changed_at    bigint   NOT NULL,
    candidate_ref integer  NOT NULL,
    revision      integer  NOT NULL CHECK (revision >= 1),
    availability  smallint NOT NULL CHECK (availability BETWEEN 0 AND 6),
    installed_ref integer,
    reason_ref    integer,
    detail        text,    -- JSON object; none for a plain pending update
    PRIMARY KEY (agent_ref, package_ref)
);

-- Digests of the batches that are in the feed and nowhere else any more.
CREATE TABLE feed_tombstones (
    agent_ref integer NOT NULL,
    number    integer NOT NULL CHECK (number >= 1),
    digest    bytea   NOT NULL CHECK (octet_length(digest) = 32),
    PRIMARY KEY (agent_ref, number)
);

-- Agents that were removed. Their refs are never given again, so that the feed still says whose a batch was.
CREATE TABLE removed_agents (
    agent_ref   integer NOT NULL PRIMARY KEY,
    agent_id    uuid    NOT NULL UNIQUE,
    name        text    NOT NULL COLLATE "C" CHECK (name <> ''),
    enrolled_at bigint  NOT NULL,
    removed_at  bigint  NOT NULL,
    actor       text    NOT NULL, -- JSON object
    reason      text,
    batches     integer NOT NULL CHECK (batches >= 0),
    events      integer NOT NULL CHECK (events >= 0)
);

-- ---------------------------------------------------------------- append-only (clause D1)
-- Rows of the log are never updated, and deleted only by a pass: a removal, a retention step or a rebuild. A pass sets
-- redflag.pass, until its transaction ends, to the agent and the transaction it is for (src/pass.rs). Left over from another
-- transaction, set for a role, or set for another agent, the mark means nothing. It is looked at after the deletion, because before
-- it each row would be locked, and logged, once more.

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;

DO $$
DECLARE
    table_name text;
BEGIN
    FOREACH table_name IN ARRAY
        ARRAY['update_batches', 'update_events', 'chosen_event_ids', 'rejections', 'reports', 'update_version_history']
    LOOP
        EXECUTE format('CREATE TRIGGER stays_as_it_is BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', table_name);
        EXECUTE format('CREATE TRIGGER is_never_emptied BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', table_name);
        EXECUTE format(
            $statement$
                CREATE TRIGGER goes_in_a_pass AFTER DELETE ON %I FOR EACH ROW
                WHEN (current_setting('redflag.pass', true) IS DISTINCT FROM OLD.agent_ref || ' ' || pg_current_xact_id())
                EXECUTE FUNCTION refuse_change()
            $statement$,
            table_name
        );
    END LOOP;
    FOREACH table_name IN ARRAY ARRAY['feed', 'feed_tombstones', 'removed_agents'] LOOP
        EXECUTE format('CREATE TRIGGER stays BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', table_name);
        EXECUTE format('CREATE TRIGGER is_never_emptied BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', table_name);
    END LOOP;
END
$$;
