-- Owned by document-api (documents, idempotency keys) and dedup (contents).
CREATE SCHEMA documents;

CREATE TABLE documents.documents (
    id            uuid        PRIMARY KEY,
    tenant        text        NOT NULL,
    region        text        NOT NULL,
    file_name     text        NOT NULL,
    declared_mime text,
    blob_key      text        NOT NULL,
    size_bytes    bigint      NOT NULL CHECK (size_bytes >= 0),
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX documents_by_tenant ON documents.documents (tenant, created_at DESC, id);

CREATE TABLE documents.idempotency_keys (
    tenant        text        NOT NULL,
    key           text        NOT NULL,
    -- The request that works under the key. It fences: one whose claim was taken over finds another here.
    claim         uuid        NOT NULL,
    -- Until then a second request is told to wait. A claim that outlives its request may be taken over afterwards.
    claimed_until timestamptz NOT NULL,
    -- Both are set in the transaction that accepts the document.
    document_id   uuid,
    -- SHA-256 over what was sent; another body under the same key is refused.
    fingerprint   bytea CHECK (length(fingerprint) = 32),
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, key),
    CONSTRAINT settled_as_a_whole CHECK ((document_id IS NULL) = (fingerprint IS NULL))
);
CREATE INDEX idempotency_keys_by_age ON documents.idempotency_keys (created_at);

-- The first document of each content of a tenant. The primary key decides races between workers.
CREATE TABLE documents.contents (
    tenant         text        NOT NULL,
    sha256         bytea       NOT NULL CHECK (length(sha256) = 32),
    first_document uuid        NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, sha256)
);
