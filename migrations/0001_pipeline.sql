-- The runtime's own tables. Nothing here knows what a document is.
CREATE SCHEMA pipeline;

-- One row per aggregate: locking it serialises the aggregate's writers, so that version order,
-- id order and commit order of its outbox rows are the same order (docs/adr/0003).
CREATE TABLE pipeline.aggregates (
    aggregate_type text   NOT NULL,
    aggregate_id   uuid   NOT NULL,
    version        bigint NOT NULL CHECK (version > 0),
    PRIMARY KEY (aggregate_type, aggregate_id)
);

-- Everything that is to appear on a topic. `published_at IS NULL` is the only mark the relay trusts.
CREATE TABLE pipeline.outbox_events (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind              text        NOT NULL CHECK (kind IN ('event', 'retry', 'dead_letter')),
    event_id          uuid        NOT NULL,
    event_type        text        NOT NULL,
    -- Null in retries and dead letters: they repeat a fact, they do not add one.
    aggregate_type    text,
    aggregate_id      uuid,
    aggregate_version bigint,
    -- The consumer that failed, in retries and dead letters.
    consumer          text,
    attempt           integer     NOT NULL DEFAULT 0,
    shard             smallint    NOT NULL CHECK (shard BETWEEN 0 AND 63),
    topic             text        NOT NULL,
    key               bytea,
    -- Kafka headers: [["name", "value"], …], in order.
    headers           jsonb       NOT NULL,
    -- The record's value, ready for the wire. Null is a tombstone.
    payload           bytea,
    tenant            text        NOT NULL,
    region            text        NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at      timestamptz,
    CONSTRAINT event_has_version CHECK (
        (kind = 'event') = (aggregate_type IS NOT NULL AND aggregate_id IS NOT NULL AND aggregate_version IS NOT NULL)
    ),
    CONSTRAINT failure_has_consumer CHECK ((kind = 'event') = (consumer IS NULL)),
    UNIQUE (aggregate_type, aggregate_id, aggregate_version)
);
CREATE UNIQUE INDEX outbox_event_once ON pipeline.outbox_events (event_id) WHERE kind = 'event';
CREATE UNIQUE INDEX outbox_failure_once ON pipeline.outbox_events (consumer, event_id, attempt, kind) WHERE kind <> 'event';
CREATE INDEX outbox_unpublished ON pipeline.outbox_events (id) WHERE published_at IS NULL;
CREATE INDEX outbox_dead_letters ON pipeline.outbox_events (consumer, id) WHERE kind = 'dead_letter';
-- Rows are updated once, soon after the insert, and the partial index above lives on its freshness.
ALTER TABLE pipeline.outbox_events SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05);

-- What a consumer has decided about an event: exactly one row, ever.
CREATE TABLE pipeline.inbox (
    consumer   text        NOT NULL,
    event_id   uuid        NOT NULL,
    -- The event's own day, never the day of processing: a duplicate must meet the same row.
    event_day  date        NOT NULL,
    outcome    text        NOT NULL CHECK (outcome IN ('done', 'skipped', 'retrying', 'parked', 'dead', 'discarded')),
    reason     text,
    -- The attempt that may settle next; a redelivered older attempt finds a higher number and is dropped.
    attempt    integer     NOT NULL DEFAULT 0,
    topic      text        NOT NULL,
    partition  integer     NOT NULL,
    "offset"   bigint      NOT NULL,
    settled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The first 16 bytes of the SHA-256 of the record's value; empty for none. The same event with another one is a forgery or a bug.
    digest     bytea       NOT NULL DEFAULT '',
    PRIMARY KEY (consumer, event_id, event_day)
);
CREATE INDEX inbox_unfinished ON pipeline.inbox (consumer, outcome) WHERE outcome IN ('retrying', 'dead');

-- Which consumer owes an outcome for which topic; written by each worker at start, read by the audit.
CREATE TABLE pipeline.subscriptions (
    consumer      text        NOT NULL,
    topic         text        NOT NULL,
    subscribed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, topic)
);

-- Ownership of the outbox's shards. `epoch` rises with each change of owner and fences the marks.
CREATE TABLE pipeline.relay_leases (
    shard      smallint    PRIMARY KEY CHECK (shard BETWEEN 0 AND 63),
    owner      uuid,
    epoch      bigint      NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO pipeline.relay_leases (shard) SELECT generate_series(0, 63);

-- Relays alive now, so that each can know its fair share of the shards.
CREATE TABLE pipeline.relay_members (
    owner   uuid        PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

-- Members of consumer groups and what each holds, for `docfleet status`. A row that is not renewed is a member that is gone.
CREATE TABLE pipeline.consumer_members (
    member     uuid        PRIMARY KEY,
    consumer   text        NOT NULL,
    partitions integer     NOT NULL,
    -- Delivered and not settled.
    in_flight  integer     NOT NULL,
    -- Something that everybody needs is away, or slow.
    waits      boolean     NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL
);

-- What operators did to the fleet's data, and why.
CREATE TABLE pipeline.operator_actions (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    who      text        NOT NULL,
    action   text        NOT NULL,
    consumer text,
    event_id uuid,
    why      text
);
