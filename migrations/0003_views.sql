-- The query side, owned by projection-builder. Each stage owns its columns, so the order in which topics arrive does not
-- matter; a row may begin with any of them.
CREATE SCHEMA views;

CREATE TABLE views.document_view (
    document_id   uuid        PRIMARY KEY,
    tenant        text        NOT NULL,
    region        text        NOT NULL,
    -- Count of events applied; the ETag. Rises by one with every event of the document.
    version       bigint      NOT NULL,
    updated_at    timestamptz NOT NULL,
    file_name     text,
    size_bytes    bigint,
    blob_key      text,
    -- uploaded
    declared_mime text,
    uploaded_at   timestamptz,
    -- virus-scanned
    verdict       text,
    signature     text,
    scan_reason   text,
    -- Engine and signature database, as clamd writes them: 'ClamAV 1.4.6/27500/Mon Nov 24 09:36:00 2025'.
    engine        text,
    scanned_at    timestamptz,
    -- deduplicated
    dedup_outcome text,
    duplicate_of  uuid,
    refused_reason text,
    sha256        text,
    mime          text,
    deduplicated_at timestamptz,
    -- text-extracted
    text_outcome  text,
    text_reason   text,
    pages         jsonb,
    page_count    integer,
    language      text,
    confidence    double precision,
    text_key      text,
    excerpt       text,
    read_at       timestamptz
-- Each event writes its row twice (count, stage) and changes no indexed column but once: room for HOT updates.
) WITH (fillfactor = 60);
CREATE INDEX document_view_by_tenant ON views.document_view (tenant, uploaded_at DESC, document_id);
