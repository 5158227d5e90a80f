-- What `docfleet audit` has proven, so that the next one need not prove it again (docs/adr/0028).
CREATE TABLE pipeline.audit_proofs (
    -- Which checks ('events', 'settlements', 'payloads', 'topics'), over what ('outbox', 'inbox', a topic's name).
    pass         text        NOT NULL,
    source       text        NOT NULL,
    -- No row at or below can appear any more, and none of them offends. Rows not finished yet are in audit_open.
    up_to_id     bigint,
    up_to_time   timestamptz,
    -- What the proof rests on, such as the subscriptions: another basis voids it.
    basis        text        NOT NULL DEFAULT '',
    -- Rows proven, ever; pruned ones stay counted.
    proven       bigint      NOT NULL DEFAULT 0,
    at           timestamptz NOT NULL,
    took_seconds float8      NOT NULL,
    PRIMARY KEY (pass, source)
);

-- Outbox rows below the mark of the pass 'events' that were not finished then; each audit looks at them again.
CREATE TABLE pipeline.audit_open (
    row_id bigint PRIMARY KEY
);

-- One row: the newest id and time of an earlier audit whose transactions had not all ended, and the transaction id that
-- has to be passed before nothing at or below them can appear.
CREATE TABLE pipeline.audit_horizon (
    one           boolean PRIMARY KEY DEFAULT true CHECK (one),
    pending_id    bigint,
    pending_time  timestamptz,
    pending_xmax  bigint
);
INSERT INTO pipeline.audit_horizon DEFAULT VALUES;

-- Outcomes of the last hours without reading all: settlements are appended, so their times follow their places.
CREATE INDEX inbox_by_settlement ON pipeline.inbox USING brin (settled_at) WITH (pages_per_range = 32, autosummarize = on);

-- The oldest transaction id that runs in this database: whoever waits for all transactions of a moment compares it with
-- that moment's pg_snapshot_xmax. pg_snapshot_xmin alone would also wait for the server's other databases; it is the
-- answer where a session hides its id from our role, or a transaction is prepared. A session shows 32 bits; its distance
-- to the newest id tells the rest. One that is newer than the snapshot's is far above any candidate and no concern.
CREATE FUNCTION pipeline.oldest_transaction() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    WITH snapshot AS MATERIALIZED (
        SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin),
    running AS MATERIALIZED (
        SELECT (xmax - backend_xid::text::bigint) & 4294967295 AS distance, query = '<insufficient privilege>' AS hidden
          FROM pg_stat_activity, snapshot WHERE datname = current_database() AND pid <> pg_backend_pid())
    SELECT CASE WHEN EXISTS (SELECT FROM running WHERE hidden)
                  OR EXISTS (SELECT FROM pg_prepared_xacts WHERE database = current_database()) THEN xmin
                ELSE xmax - coalesce((SELECT max(distance) FROM running WHERE distance < 2147483648), 0) END
      FROM snapshot
$$;
