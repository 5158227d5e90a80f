-- The runtime's own tables beside its outbox, which is a set of migrations of its own (`outbox/`) and comes first. Nothing here
-- knows what a document is.

-- What a consumer has decided about an event: exactly one row, ever. A partition for each day of the events and one for the
-- rest: identities that are places (1970-01-01), days to come, and what outlives its day (docs/adr/0021).
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
    -- The first 16 bytes of the SHA-256 of the record's value; none of a record without a value. The same event with
    -- another one is a forgery or a bug.
    digest     bytea       NOT NULL DEFAULT '' CHECK (octet_length(digest) IN (0, 16)),
    PRIMARY KEY (consumer, event_id, event_day)
) PARTITION BY RANGE (event_day);
CREATE INDEX inbox_unfinished ON pipeline.inbox (consumer, outcome) WHERE outcome IN ('retrying', 'parked', 'dead');
CREATE TABLE pipeline.inbox_outliers PARTITION OF pipeline.inbox DEFAULT;
SELECT pipeline.add_day('inbox', (now() AT TIME ZONE 'UTC')::date + n) FROM generate_series(-1, 7) AS n;

-- Which consumer owes an outcome for which topic; written by each worker at start, read by the audit.
CREATE TABLE pipeline.subscriptions (
    consumer      text        NOT NULL,
    topic         text        NOT NULL,
    subscribed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, topic)
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
