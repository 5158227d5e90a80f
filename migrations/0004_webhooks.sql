-- Owned by document-api (subscriptions) and webhook-dispatcher (deliveries).
CREATE SCHEMA webhooks;
-- For UUIDv5: the id of a delivery is derived where its event meets its subscriptions, in one statement. A trusted
-- extension of PostgreSQL's own distribution; it needs no superuser.
CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA webhooks;

CREATE TABLE webhooks.subscriptions (
    id          uuid        PRIMARY KEY,
    tenant      text        NOT NULL,
    url         text        NOT NULL,
    -- Such as 'document.text_extracted'; empty means all.
    event_types text[]      NOT NULL DEFAULT '{}',
    -- `whsec_` and base64 (Standard Webhooks).
    secret      text        NOT NULL,
    description text,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Ended by its subscriber: nobody sees it any more and nothing is sent. webhook-dispatcher removes it in small steps,
    -- as one statement for all its deliveries would outgrow any timeout and hold the row that each new delivery locks.
    deleted_at  timestamptz
);
CREATE INDEX subscriptions_by_tenant ON webhooks.subscriptions (tenant, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX subscriptions_deleted ON webhooks.subscriptions (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE webhooks.deliveries (
    -- UUIDv5 of the subscription's id in the namespace of the event's: the `webhook-id`, the same over all attempts.
    id              uuid        PRIMARY KEY,
    subscription_id uuid        NOT NULL REFERENCES webhooks.subscriptions (id),
    tenant          text        NOT NULL,
    region          text        NOT NULL,
    document_id     uuid        NOT NULL,
    event_id        uuid        NOT NULL,
    event_type      text        NOT NULL,
    -- The body as it is signed and sent: byte for byte the same over all attempts.
    body            text        NOT NULL,
    traceparent     text,
    status          text        NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
    -- Attempts begun.
    attempts        integer     NOT NULL DEFAULT 0,
    -- While an attempt is out: when its lease ends.
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Set while an attempt is out. A due row that has it lost its dispatcher: what came of that attempt is not known.
    claimed_at      timestamptz,
    -- Fences the mark: a dispatcher that was stopped and resumed finds a higher epoch.
    lease_epoch     bigint      NOT NULL DEFAULT 0,
    last_status     integer,
    last_error      text,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at     timestamptz,
    UNIQUE (event_id, subscription_id)
);
CREATE INDEX deliveries_due ON webhooks.deliveries (next_attempt_at) WHERE status = 'pending';
-- The claim steps through the subscriptions that have work, and takes a few rows of each.
CREATE INDEX deliveries_pending ON webhooks.deliveries (subscription_id, next_attempt_at) WHERE status = 'pending';
CREATE INDEX deliveries_by_document ON webhooks.deliveries (document_id);
CREATE INDEX deliveries_by_subscription ON webhooks.deliveries (subscription_id, created_at DESC);
-- Every attempt updates its row twice, and the partial indexes live on their freshness.
ALTER TABLE webhooks.deliveries SET (autovacuum_vacuum_scale_factor = 0.02);
