-- What av-scan says of each document: the newest verdict. Owned by av-scan. document-api reads it where content is given
-- out: a row closes a download at once, before the view has heard of it; it never opens one.
CREATE TABLE documents.scans (
    document_id     uuid        PRIMARY KEY,
    tenant          text        NOT NULL,
    region          text        NOT NULL,
    blob_key        text        NOT NULL,
    size_bytes      bigint      NOT NULL,
    verdict         text        NOT NULL CHECK (verdict IN ('clean', 'infected', 'unscannable')),
    signature       text,
    engine          text        NOT NULL,
    -- As clamd writes it, and its number; 0 for a database that has none.
    database        text        NOT NULL,
    database_number bigint      NOT NULL,
    -- The upload's event: what a later infection is caused by.
    event_id        uuid        NOT NULL,
    -- Of the first verdict: what the window of rescans counts from.
    first_scanned_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    scanned_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- An operator wants it scanned again, whatever its signatures.
    requested       boolean     NOT NULL DEFAULT false,
    -- While a scan is out, or after one failed: nobody else takes the row until then.
    leased_until    timestamptz,
    -- Fences the result: one that was overtaken finds another number.
    lease_epoch     bigint      NOT NULL DEFAULT 0,
    -- Rescans that failed since the last verdict or request.
    failures        smallint    NOT NULL DEFAULT 0,
    -- Why newer signatures gave no verdict, if they did not: what stands above is an older one's.
    rescan_problem  text
);
-- Newest first; the number is in it, so that rows with new signatures cost no look at the table.
CREATE INDEX scans_by_age ON documents.scans (first_scanned_at DESC, document_id DESC) INCLUDE (database_number)
    WHERE verdict = 'clean';
CREATE INDEX scans_requested ON documents.scans (first_scanned_at DESC) WHERE requested AND verdict = 'clean';
-- The other documents with the same content, when one of them turns out infected.
CREATE INDEX scans_by_blob ON documents.scans (blob_key) WHERE verdict = 'clean';
-- Whether a content is known to be infected: it closes every document of the tenant that has it.
CREATE INDEX scans_infected_by_blob ON documents.scans (blob_key) WHERE verdict = 'infected';

-- The word that closes a document: its own verdict, or `infected` as soon as another document of the tenant with the same bytes is.
-- NULL without a row.
CREATE FUNCTION documents.newest_verdict(of_document uuid, of_tenant text, of_blob_key text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM documents.scans i
                              WHERE i.blob_key = of_blob_key AND i.tenant = of_tenant AND i.verdict = 'infected') THEN 'infected'
                ELSE (SELECT s.verdict FROM documents.scans s WHERE s.document_id = of_document) END
$$;
