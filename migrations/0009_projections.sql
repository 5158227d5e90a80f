-- Views that are built anew beside the live one (docs/adr/0029). The CLI writes what is wanted, projection-builder does it.
CREATE TABLE pipeline.projection_builds (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    projection       text        NOT NULL,
    -- building: fills the standby. ready: the standby follows. switched: the standby is the old view, and follows.
    state            text        NOT NULL DEFAULT 'building'
                     CHECK (state IN ('building', 'ready', 'switched', 'compared', 'finished', 'cancelled')),
    -- The operator's next wish; it is cleared when it is fulfilled.
    wanted           text CHECK (wanted IN ('switch', 'back', 'compare', 'drop')),
    -- Only to compare: the standby is dropped afterwards.
    compare_only     boolean     NOT NULL DEFAULT false,
    events_per_second integer CHECK (events_per_second > 0),
    -- The last document that is done; NULL before the first and after the last.
    after_document   uuid,
    filled           boolean     NOT NULL DEFAULT false,
    documents_total  bigint      NOT NULL DEFAULT 0,
    documents_done   bigint      NOT NULL DEFAULT 0,
    events_done      bigint      NOT NULL DEFAULT 0,
    -- Rows whose first events are pruned: they are taken from the live view as they are.
    carried          bigint      NOT NULL DEFAULT 0,
    -- Seconds at work, without waiting for the rate.
    worked_seconds   float8      NOT NULL DEFAULT 0,
    -- Outcomes settled at or before are in the standby.
    followed_until   timestamptz NOT NULL DEFAULT clock_timestamp(),
    pending_until    timestamptz,
    pending_xmax     bigint,
    compared_at      timestamptz,
    rows_compared    bigint,
    rows_differing   bigint,
    live_hash        text,
    standby_hash     text,
    -- The first documents that differ, and the columns.
    differing        jsonb       NOT NULL DEFAULT '[]',
    who              text        NOT NULL,
    started_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at         timestamptz,
    -- Why the last step did not succeed; it is tried again.
    problem          text,
    owner            uuid,
    epoch            bigint      NOT NULL DEFAULT 0,
    lease_until      timestamptz NOT NULL DEFAULT '-infinity'
);
-- There is one standby.
CREATE UNIQUE INDEX one_build_at_a_time ON pipeline.projection_builds (projection) WHERE ended_at IS NULL;
