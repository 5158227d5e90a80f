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
    pending_xmax  bigint,
    -- Outbox rows created before, and inbox rows of earlier days, may have been dropped with their partitions. Whoever
    -- drops one raises it in the same transaction.
    pruned_before timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO pipeline.audit_horizon DEFAULT VALUES;

-- Outcomes of the last hours without reading all: settlements are appended, so their times follow their places.
CREATE INDEX inbox_by_settlement ON pipeline.inbox USING brin (settled_at) WITH (pages_per_range = 32, autosummarize = on);
