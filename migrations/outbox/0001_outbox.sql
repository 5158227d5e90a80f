-- The outbox of one schema. It is written for the schema `pipeline` and can be installed in any other one, beside a
-- service's own tables, by putting that name in its place (docs/outbox.md). So the word stands here as that name only.
CREATE SCHEMA IF NOT EXISTS pipeline;

-- One row per aggregate: locking it serialises the aggregate's writers, so that version order, id order and commit order
-- of its outbox rows are the same order (docs/adr/0003, 0022).
CREATE TABLE pipeline.aggregates (
    aggregate_type text   NOT NULL,
    aggregate_id   uuid   NOT NULL,
    -- Of the last event that was written. 0: locked once, and nothing was written.
    version        bigint NOT NULL DEFAULT 0 CHECK (version >= 0),
    -- The id of that event's row.
    last_row       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (aggregate_type, aggregate_id)
) WITH (fillfactor = 80); -- Room beside each row, so that an advance touches no index.

-- Everything that is to appear on a topic. A row is never changed: what is still to be published stands in the table below.
-- A partition a day (UTC) and one for the rest, so that old rows go by dropping a table (docs/adr/0021).
CREATE TABLE pipeline.outbox_events (
    id                bigint      GENERATED ALWAYS AS IDENTITY,
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
    CONSTRAINT event_has_version CHECK (
        (kind = 'event') = (aggregate_type IS NOT NULL AND aggregate_id IS NOT NULL AND aggregate_version IS NOT NULL)
    ),
    CONSTRAINT failure_has_consumer CHECK ((kind = 'event') = (consumer IS NULL)),
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
-- None of these can be unique over all days, and none has to be. Versions: the trigger below. Ids of events: they are
-- derived, and the inbox lets their cause through once. Failures: the settlement that claims an attempt in the inbox writes
-- its one row.
CREATE INDEX outbox_event ON pipeline.outbox_events (event_id) WHERE kind = 'event';
CREATE INDEX outbox_version ON pipeline.outbox_events (aggregate_id, aggregate_version) WHERE kind = 'event';
CREATE INDEX outbox_failure ON pipeline.outbox_events (consumer, event_id, attempt) WHERE kind <> 'event';
CREATE INDEX outbox_dead_letters ON pipeline.outbox_events (consumer, id) WHERE kind = 'dead_letter';
CREATE TABLE pipeline.outbox_outliers PARTITION OF pipeline.outbox_events DEFAULT;

-- The rows that no relay has published yet, written by the trigger of the insert: being here is the only thing the relay
-- trusts, and its mark is to delete the row. Narrow, as a mark in the row itself would copy payload and index entries
-- (docs/adr/0039). It lives on the freshness of its index, hence the settings.
CREATE TABLE pipeline.outbox_unpublished (
    id         bigint      PRIMARY KEY,
    created_at timestamptz NOT NULL,
    shard      smallint    NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

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

-- The columns that a row is copied by: a generated one can not be written.
CREATE FUNCTION pipeline.stored_columns(of_table text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
     WHERE attrelid = format('pipeline.%I', of_table)::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
$$;

-- Adds the partition of a UTC day to one of the tables that have such; tells whether it did. One transaction, made before the
-- day begins. A new table is filled and then attached, which lets readers and writers of the parent go on; `ATTACH` looks
-- through the outliers, which are few. Rows of that day that came first are taken over, if they are few: otherwise the day
-- stays where it is.
CREATE FUNCTION pipeline.add_day(parent text, day date) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
    part text := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
    outliers text := replace(parent, '_events', '') || '_outliers';
    of_time boolean := parent = 'outbox_events';
    by_column text := CASE WHEN of_time THEN 'created_at' ELSE 'event_day' END;
    first text := CASE WHEN of_time THEN format('%s 00:00+00', day) ELSE day::text END;
    after text := CASE WHEN of_time THEN format('%s 00:00+00', day + 1) ELSE (day + 1)::text END;
    of_day text := format('%1$I >= %2$L AND %1$I < %3$L', by_column, first, after);
    early bigint;
BEGIN
    IF to_regclass(format('pipeline.%I', part)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT count(*) FROM (SELECT FROM pipeline.%I WHERE %s LIMIT 100001) AS early', outliers, of_day) INTO early;
    IF early > 100000 THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE pipeline.%I (LIKE pipeline.%I INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS INCLUDING INDEXES)',
                   part, parent);
    EXECUTE format('LOCK TABLE pipeline.%I IN ACCESS EXCLUSIVE MODE', outliers);
    EXECUTE format('WITH early AS (DELETE FROM pipeline.%1$I WHERE %2$s RETURNING %4$s)
                    INSERT INTO pipeline.%3$I (%4$s) OVERRIDING SYSTEM VALUE SELECT * FROM early',
                   outliers, of_day, part, pipeline.stored_columns(parent));
    EXECUTE format('ALTER TABLE pipeline.%I ATTACH PARTITION pipeline.%I FOR VALUES FROM (%L) TO (%L)', parent, part, first, after);
    RETURN true;
END $$;

SELECT pipeline.add_day('outbox_events', (now() AT TIME ZONE 'UTC')::date + n) FROM generate_series(0, 7) AS n;
