-- Dead letters are grouped by what their error says once its particulars are taken out (docs/adr/0027).

-- The text of a failure without ids, paths, quoted words and numbers: what failures of one cause have in common.
CREATE FUNCTION pipeline.failure_pattern(headers jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT btrim(
        regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(
            left(coalesce(jsonb_path_query_first(headers, 'strict $[*] ? (@[0] == "docfleet_error")[1]', '{}', true) #>> '{}', ''), 500),
            '[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}', '<id>', 'g'),
            '"[^"]*"|`[^`]*`|(?<!\w)''[^'']*''(?!\w)', '<text>', 'g'),
            '[a-zA-Z][a-zA-Z0-9+.-]*://[^\s,;)]+', '<url>', 'g'),
            '(?<![\w<])(\.{0,2}/)?([^\s/:,;()<>]+/)+[^\s/:,;()<>]+', '<path>', 'g'),
            '\m[0-9a-fA-F]*[0-9][0-9a-fA-F]{7,}\M', '<hex>', 'g'),
            '[0-9]+', '<n>', 'g'),
            '\s+', ' ', 'g'))
$$;

-- Recomputed never: the headers of a row do not change.
ALTER TABLE pipeline.outbox_events ADD COLUMN fingerprint text
    GENERATED ALWAYS AS (CASE WHEN kind = 'dead_letter' THEN left(md5(pipeline.failure_pattern(headers)), 12) END) STORED;
CREATE INDEX outbox_dead_letters_by_fingerprint ON pipeline.outbox_events (fingerprint, consumer, id) WHERE kind = 'dead_letter';
-- By a digest: key and tenant are foreign text, and a row that an index can not take would fail a settlement.
CREATE INDEX outbox_dead_letters_by_key ON pipeline.outbox_events (md5(key), id) WHERE kind = 'dead_letter';
CREATE INDEX outbox_dead_letters_by_tenant ON pipeline.outbox_events (md5(tenant), id) WHERE kind = 'dead_letter';
CREATE INDEX outbox_dead_letters_newest ON pipeline.outbox_events (id) WHERE kind = 'dead_letter';
CREATE INDEX inbox_dead ON pipeline.inbox (consumer, reason, settled_at) WHERE outcome IN ('dead', 'discarded');

-- A plan to send dead letters to their consumers once more, and how far it has come.
CREATE TABLE pipeline.redrives (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    who            text        NOT NULL,
    why            text        NOT NULL,
    -- What the operator chose by, for the record.
    chosen_by      jsonb       NOT NULL,
    state          text        NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'running', 'stopped', 'done', 'aborted', 'undone')),
    -- Why it is not running: of 'stopped' and 'aborted'.
    stop_reason    text,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Of its last run: one that was stopped may be resumed.
    started_at     timestamptz,
    ended_at       timestamptz,
    -- One process applies a plan at a time. A lease that is not renewed is a process that is gone.
    lease_owner    uuid,
    lease_until    timestamptz NOT NULL DEFAULT '-infinity'
);

CREATE TABLE pipeline.redrive_items (
    redrive_id   bigint      NOT NULL REFERENCES pipeline.redrives (id),
    -- The order in which they are sent.
    position     bigint      NOT NULL,
    consumer     text        NOT NULL,
    event_id     uuid        NOT NULL,
    event_day    date        NOT NULL,
    reason       text        NOT NULL,
    -- The attempt that died, and its dead letter.
    attempt      integer     NOT NULL,
    letter       bigint      NOT NULL,
    letter_at    timestamptz NOT NULL,
    -- Of a letter that goes back behind a key of pipeline.parked_keys: all letters of that key in one step, in order.
    park_key     bytea,
    -- 'left_out' by the loop guard; 'gone': somebody else took it before; 'refused': its key is held by another letter;
    -- 'worked' and 'died': what came of it.
    state        text        NOT NULL DEFAULT 'planned'
                 CHECK (state IN ('planned', 'left_out', 'gone', 'refused', 'sent', 'worked', 'died', 'undone')),
    sent_attempt integer,
    sent_at      timestamptz,
    settled_at   timestamptz,
    PRIMARY KEY (redrive_id, position)
);
CREATE INDEX redrive_items_open ON pipeline.redrive_items (redrive_id, state, position);
CREATE INDEX redrive_items_of_event ON pipeline.redrive_items (consumer, event_id);
CREATE INDEX redrive_items_by_key ON pipeline.redrive_items (redrive_id, consumer, park_key) WHERE park_key IS NOT NULL AND state = 'planned';
CREATE INDEX redrive_items_settled ON pipeline.redrive_items (redrive_id, settled_at) WHERE settled_at IS NOT NULL;
