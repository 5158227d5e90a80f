-- Owned by document-api (documents, contents' bytes, idempotency keys) and dedup (contents).
CREATE SCHEMA documents;

CREATE TABLE documents.documents (
    id            uuid        PRIMARY KEY,
    tenant        text        NOT NULL,
    region        text        NOT NULL,
    file_name     text        NOT NULL,
    declared_mime text,
    blob_key      text        NOT NULL,
    sha256        bytea       NOT NULL CHECK (length(sha256) = 32),
    size_bytes    bigint      NOT NULL CHECK (size_bytes >= 0),
    -- What the upload asked for beside the text.
    searchable_pdf boolean    NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX documents_by_tenant ON documents.documents (tenant, created_at DESC, id);
-- Who still has a content: asked before its bytes are deleted.
CREATE INDEX documents_by_content ON documents.documents (tenant, sha256);

-- The bytes that the store of a region holds for a tenant: one row for each content that a document has, or had until a moment
-- ago. Whoever takes a document in holds its row until the commit, and so does whoever deletes bytes (docs/adr/0034).
CREATE TABLE documents.blobs (
    region        text        NOT NULL,
    tenant        text        NOT NULL,
    sha256        bytea       NOT NULL CHECK (length(sha256) = 32),
    size_bytes    bigint      NOT NULL CHECK (size_bytes >= 0),
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Since then somebody deletes the bytes: nobody may count on them any more, and none may be put there.
    erasing_since timestamptz,
    PRIMARY KEY (region, tenant, sha256)
);
CREATE INDEX blobs_being_erased ON documents.blobs (erasing_since) WHERE erasing_since IS NOT NULL;

-- For the transaction that takes a document in, after its bytes were put: locks the content's row. False while somebody deletes
-- the bytes; try again later, from the put. After true, look whether the bytes are there: a deletion may have come between.
CREATE FUNCTION documents.hold_blob(of_region text, of_tenant text, of_sha256 bytea, of_size bigint) RETURNS boolean
LANGUAGE sql AS $$
    INSERT INTO documents.blobs AS b (region, tenant, sha256, size_bytes)
    VALUES (of_region, of_tenant, of_sha256, of_size)
    -- Changes nothing, and locks.
    ON CONFLICT (region, tenant, sha256) DO UPDATE SET size_bytes = b.size_bytes
    RETURNING b.erasing_since IS NULL
$$;

-- The beginning of a deletion of bytes: NULL while a document of the tenant has them in this region, or somebody else is at it;
-- else the token for `end_blob_erasure`. COMMIT, delete the object, and call that. Bytes without a row, which a crashed upload
-- left, are taken too.
--
-- One who began and died is followed after a quarter of an hour: much longer than a deletion that is on its way to the store can
-- take, or it would meet bytes that were put anew. So who began must not turn to the store when ten minutes have passed.
CREATE FUNCTION documents.begin_blob_erasure(of_region text, of_tenant text, of_sha256 bytea) RETURNS timestamptz
LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz;
BEGIN
    INSERT INTO documents.blobs AS b (region, tenant, sha256, size_bytes)
    VALUES (of_region, of_tenant, of_sha256, 0)
    ON CONFLICT (region, tenant, sha256) DO UPDATE SET size_bytes = b.size_bytes
    RETURNING b.erasing_since INTO since;
    -- With the row's lock: whoever takes a document of this content in has committed, or comes after us. A statement of its own,
    -- which sees what was committed while the first one waited.
    IF since > clock_timestamp() - interval '15 minutes'
       OR EXISTS (SELECT FROM documents.documents d WHERE d.region = of_region AND d.tenant = of_tenant AND d.sha256 = of_sha256) THEN
        RETURN NULL;
    END IF;
    UPDATE documents.blobs SET erasing_since = clock_timestamp()
     WHERE region = of_region AND tenant = of_tenant AND sha256 = of_sha256
    RETURNING erasing_since INTO since;
    RETURN since;
END $$;

-- The object is deleted, or surely was not: the content may come again. Does nothing, and says so, when somebody else has begun
-- since: the row is theirs.
CREATE FUNCTION documents.end_blob_erasure(of_region text, of_tenant text, of_sha256 bytea, begun timestamptz) RETURNS boolean
LANGUAGE sql AS $$
    WITH ended AS (
        DELETE FROM documents.blobs
         WHERE region = of_region AND tenant = of_tenant AND sha256 = of_sha256 AND erasing_since = begun
        RETURNING 1)
    SELECT EXISTS (SELECT FROM ended)
$$;

-- Who wrote, read or removed what of a document, and in which region: a row for each, in the transaction of what it tells of where
-- there is one. No file name, no content, no address: it outlives the document. Nothing changes it; see the trigger.
CREATE TABLE documents.audit_trail (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    region      text        NOT NULL,
    tenant      text        NOT NULL,
    -- `document-api`, the name of a consumer, or the operator of a command.
    actor       text        NOT NULL CHECK (actor <> ''),
    -- What: `accepted`, `content-read`, `text-stored`, …; all of them stand in crates/events/src/trail.rs.
    action      text        NOT NULL CHECK (action ~ '^[a-z][a-z-]{1,39}$'),
    document_id uuid,
    -- Sizes, counts, reasons.
    detail      jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(detail) = 'object' AND length(detail::text) <= 2000)
);
CREATE INDEX audit_trail_of_document ON documents.audit_trail (document_id, id);
CREATE INDEX audit_trail_of_tenant ON documents.audit_trail (tenant, id);
CREATE INDEX audit_trail_by_time ON documents.audit_trail USING brin (at);

CREATE FUNCTION documents.keep_audit_trail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_trail_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON documents.audit_trail
    FOR EACH STATEMENT EXECUTE FUNCTION documents.keep_audit_trail();

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

-- The documents that dedup has said to be duplicates: which of them may take the place of an erased first one. Not one that was
-- refused, and not one of which nothing was said yet. Owned by dedup, written with what it says.
CREATE TABLE documents.duplicates (
    document_id uuid  PRIMARY KEY,
    tenant      text  NOT NULL,
    sha256      bytea NOT NULL CHECK (length(sha256) = 32),
    mime        text  NOT NULL
);
CREATE INDEX duplicates_by_content ON documents.duplicates (tenant, sha256);
