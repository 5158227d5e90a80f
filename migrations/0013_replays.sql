-- Events that an operator feeds to one consumer again, under another logical version (docs/adr/0037).

-- What a consumer says of itself; written by each worker at start.
CREATE TABLE pipeline.declarations (
    consumer    text        PRIMARY KEY,
    -- Why it must not be fed again, and what to do instead. Null: it may.
    no_replay   text,
    -- What happens when it is, also where no events follow.
    effect      text,
    -- Whether others would go on showing what it was before, if no events followed.
    needs_events boolean    NOT NULL DEFAULT false,
    declared_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A plan to feed a window of events again, and how far it has come. What became of each event stands in the inbox, under
-- `consumer@version`.
CREATE TABLE pipeline.replays (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer    text        NOT NULL,
    version     text        NOT NULL CHECK (version ~ '^[a-z0-9.-]{1,32}$'),
    -- Whether what follows becomes events.
    emits       text        NOT NULL CHECK (emits IN ('none', 'new')),
    who         text        NOT NULL,
    why         text        NOT NULL,
    -- The window: by the time of the outbox row, and by the place where the consumer read the event.
    from_time   timestamptz NOT NULL,
    to_time     timestamptz NOT NULL,
    topic       text,
    partition   integer,
    from_offset bigint,
    to_offset   bigint,
    planned     bigint      NOT NULL,
    -- Rows of the outbox up to this one are sent.
    after_row   bigint      NOT NULL DEFAULT 0,
    sent        bigint      NOT NULL DEFAULT 0,
    state       text        NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'running', 'stopped', 'done', 'aborted')),
    -- Why it is not running: of 'stopped'.
    stop_reason text,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at    timestamptz,
    -- One process applies a plan at a time. A lease that is not renewed is a process that is gone.
    lease_owner uuid,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    -- One window a version: a second one could emit otherwise.
    UNIQUE (consumer, version)
);
