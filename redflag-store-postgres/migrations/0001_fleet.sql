-- One fleet: agents, the immutable log, the current state folded from it, and what is kept beside them.
--
-- Integer references stay inside the database; public ids are UUIDs and typed keys. Every primary key of a table that grows
-- with agents leads with the agent, so that tables can be partitioned or distributed by it without changing keys. Event and
-- state rows carry no foreign keys: the agent's row is locked first in every transaction that writes them. Words of closed sets
-- are kept as their codes (redflag_core::words, in the order of `ALL`).

CREATE TABLE agents (
    agent_ref       integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id        uuid        NOT NULL UNIQUE,
    name            text        NOT NULL,
    public_key      bytea       NOT NULL CHECK (octet_length(public_key) = 32),
    enrolled_at     bigint      NOT NULL, -- microseconds since 1970-01-01 UTC, like every time here
    tags            text        NOT NULL, -- JSON
    host            text        NOT NULL, -- JSON
    scopes          text        NOT NULL, -- JSON
    last_contact_at bigint,
    last_report     text,                 -- JSON
    events          bigint      NOT NULL DEFAULT 0 CHECK (events >= 0),
    batches         bigint      NOT NULL DEFAULT 0 CHECK (batches >= 0)
) WITH (fillfactor = 50);

CREATE INDEX agents_by_name ON agents (name COLLATE "C", agent_id);

CREATE TABLE packages (
    package_ref integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    manager     text    NOT NULL COLLATE "C",
    name        text    NOT NULL COLLATE "C",
    arch        text    NOT NULL COLLATE "C", -- '' where the manager knows none
    UNIQUE (name, manager, arch)
);

CREATE TABLE versions (
    version_ref integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version     text    NOT NULL COLLATE "C" UNIQUE
);

-- What is offered, the same on every host of the fleet; found again by the digest of its content.
CREATE TABLE candidates (
    candidate_ref integer  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest        bytea    NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    version_ref   integer  NOT NULL REFERENCES versions,
    severity      smallint NOT NULL CHECK (severity BETWEEN 0 AND 4),
    security      boolean  NOT NULL,
    content       text     NOT NULL -- JSON
);

CREATE TABLE update_batches (
    agent_ref   integer  NOT NULL,
    number      bigint   NOT NULL CHECK (number >= 1),
    batch_id    uuid     NOT NULL,
    actor       text     NOT NULL, -- JSON
    source      text     NOT NULL, -- JSON
    digest      bytea    NOT NULL CHECK (octet_length(digest) = 32),
    received_at bigint   NOT NULL,
    submitted   integer  NOT NULL CHECK (submitted >= 1),
    accepted    integer  NOT NULL CHECK (accepted >= 0),
    duplicate   integer  NOT NULL CHECK (duplicate >= 0),
    rejected    integer  NOT NULL CHECK (rejected >= 0),
    exceptions  text,              -- JSON of the outcomes that are not `accepted`
    PRIMARY KEY (agent_ref, number),
    UNIQUE (agent_ref, batch_id),
    CHECK (accepted + duplicate + rejected = submitted)
);

CREATE INDEX update_batches_newest_first ON update_batches (received_at DESC, agent_ref, number DESC);

CREATE TABLE update_events (
    agent_ref           integer  NOT NULL,
    sequence            bigint   NOT NULL CHECK (sequence >= 1),
    package_ref         integer  NOT NULL,
    revision            bigint   NOT NULL CHECK (revision >= 1),
    batch_number        bigint   NOT NULL,
    batch_index         integer  NOT NULL CHECK (batch_index >= 0),
    kind                smallint NOT NULL CHECK (kind BETWEEN 0 AND 14 OR kind = 255), -- 255: a newer writer's kind, told by body
    candidate_ref       integer,
    installed_ref       integer,
    availability        smallint CHECK (availability BETWEEN 0 AND 6),
    availability_reason text,
    body                text,      -- JSON of what the columns do not hold
    observed_at         bigint,
    PRIMARY KEY (agent_ref, sequence)
);

CREATE INDEX update_events_of_package ON update_events (agent_ref, package_ref, revision);

-- Event ids chosen by callers; ids derived from a report are computed, not stored.
CREATE TABLE chosen_event_ids (
    agent_ref    integer NOT NULL,
    event_id     uuid    NOT NULL,
    sequence     bigint  NOT NULL,
    digest       bytea   NOT NULL CHECK (octet_length(digest) = 32),
    batch_number bigint  NOT NULL,
    batch_index  integer NOT NULL,
    PRIMARY KEY (agent_ref, event_id)
);

CREATE TABLE current_package_state (
    agent_ref           integer  NOT NULL,
    package_ref         integer  NOT NULL,
    status              smallint NOT NULL CHECK (status BETWEEN 0 AND 9),
    candidate_ref       integer  NOT NULL,
    installed_ref       integer,
    availability        smallint NOT NULL CHECK (availability BETWEEN 0 AND 6),
    availability_reason text,
    detail              text,      -- JSON of the standing, where it is not plain pending
    revision            bigint   NOT NULL CHECK (revision >= 1),
    discovered_at       bigint   NOT NULL,
    changed_at          bigint   NOT NULL,
    PRIMARY KEY (agent_ref, package_ref)
);

CREATE INDEX current_package_state_by_candidate ON current_package_state (candidate_ref, agent_ref);

CREATE TABLE update_version_history (
    agent_ref    integer  NOT NULL,
    sequence     bigint   NOT NULL, -- of the event it comes from
    package_ref  integer  NOT NULL,
    from_version text,
    to_version   text     NOT NULL,
    outcome      smallint NOT NULL CHECK (outcome BETWEEN 0 AND 2),
    command_id   uuid,
    reason       text,
    at           bigint   NOT NULL,
    PRIMARY KEY (agent_ref, sequence)
);

CREATE INDEX update_version_history_of_package ON update_version_history (agent_ref, package_ref, sequence);

CREATE TABLE rejections (
    agent_ref    integer NOT NULL,
    batch_number bigint  NOT NULL,
    batch_index  integer NOT NULL,
    code         text    NOT NULL,
    field        text    NOT NULL,
    message      text    NOT NULL,
    package      text,    -- JSON of the package key, where it could be read
    excerpt      text    NOT NULL,
    PRIMARY KEY (agent_ref, batch_number, batch_index)
);

CREATE TABLE reports (
    agent_ref   integer NOT NULL,
    report_id   uuid    NOT NULL,
    digest      bytea   NOT NULL CHECK (octet_length(digest) = 32),
    sequence    bigint  NOT NULL,
    received_at bigint  NOT NULL,
    answer      text    NOT NULL, -- JSON
    PRIMARY KEY (agent_ref, report_id)
);

CREATE INDEX reports_newest_first ON reports (agent_ref, received_at DESC);

CREATE TABLE counters (
    agent_ref    integer  NOT NULL,
    manager      text     NOT NULL COLLATE "C",
    status       smallint NOT NULL CHECK (status BETWEEN 0 AND 9),
    severity     smallint NOT NULL CHECK (severity BETWEEN 0 AND 4),
    security     boolean  NOT NULL,
    availability smallint NOT NULL CHECK (availability BETWEEN 0 AND 6),
    count        bigint   NOT NULL,
    PRIMARY KEY (agent_ref, manager, status, severity, security, availability)
);

CREATE TABLE records (
    namespace text   NOT NULL COLLATE "C",
    key       text   NOT NULL COLLATE "C",
    value     text   NOT NULL,
    revision  bigint NOT NULL CHECK (revision >= 1),
    PRIMARY KEY (namespace, key)
);

-- The log is append-only (clause D1). Removal and retention come with their own marked passes.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER update_events_append_only BEFORE UPDATE OR DELETE ON update_events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER update_batches_append_only BEFORE UPDATE OR DELETE ON update_batches
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER update_version_history_append_only BEFORE UPDATE OR DELETE ON update_version_history
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER rejections_append_only BEFORE UPDATE OR DELETE ON rejections
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
