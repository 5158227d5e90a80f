-- The query side, owned by projection-builder. Each stage owns its columns, so the order in which topics arrive does not
-- matter; a row may begin with any of them.
CREATE SCHEMA views;
-- Tenant and words in one index: a word that all use costs a tenant what its own documents cost.
CREATE EXTENSION IF NOT EXISTS btree_gin WITH SCHEMA views;

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
    read_at       timestamptz,
    text_engine   text,
    -- Pages that could not be read, and why.
    unread        jsonb,
    -- Of a machine-readable zone: valid, invalid, absent.
    mrz           text,
    layout_key    text,
    searchable_key text,
    -- The words of the text, from its blob: they are in no event.
    search        tsvector
-- Each event writes its row twice (count, stage) and changes no indexed column but once: room for HOT updates.
) WITH (fillfactor = 60);
CREATE INDEX document_view_by_tenant ON views.document_view (tenant, uploaded_at DESC, document_id);
CREATE INDEX document_view_search ON views.document_view USING gin (tenant, search);

-- Whether words of this language are looked for in a document, by Tesseract's codes of the languages that it was read with.
-- A text layer does not say its language.
CREATE FUNCTION views.may_be_in(languages text, code text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT languages IS NULL OR code = ANY (string_to_array(languages, '+'))
$$;

-- What PostgreSQL's parser takes in time that grows with the length. It begins a long token anew at each `_ ~ / - . @` in it, so
-- a token without an end costs the square of its length; it looks for the end of a tag or comment through all that follows, also
-- through blanks. So tokens end after 64 characters, and nothing begins a tag.
CREATE FUNCTION views.parseable(content text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT regexp_replace(translate(content, '<', ' '), '(\S{64})(?=\S)', '\1 ', 'g')
$$;

-- The words as they stand, and their stems. PostgreSQL keeps a megabyte of different words at most: of a text with more the
-- beginning is kept.
CREATE FUNCTION views.search_of(languages text, content text) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    part text := views.parseable(content);
BEGIN
    LOOP
        BEGIN
            RETURN to_tsvector('pg_catalog.simple', part)
                || CASE WHEN views.may_be_in(languages, 'deu') THEN to_tsvector('pg_catalog.german', part) ELSE ''::tsvector END
                || CASE WHEN views.may_be_in(languages, 'eng') THEN to_tsvector('pg_catalog.english', part) ELSE ''::tsvector END;
        EXCEPTION WHEN program_limit_exceeded THEN
            IF length(part) < 1000 THEN
                RETURN ''::tsvector;
            END IF;
            part := left(part, length(part) / 2);
        END;
    END LOOP;
END $$;

-- Whether the index can look `q` up: a query of words that are not wanted, and of nothing else, reads all documents. So does one
-- that is left of others when the words that a language takes for noise are gone.
CREATE FUNCTION views.can_be_looked_up(q tsquery) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT querytree(q) NOT IN ('', 'T')
$$;

-- Documents of a tenant with the words of `q`, as people write them for search engines, and how well they fit. Of a word that
-- more have, the thousand newest: each of them is read for its rank. None whose content is not given out: to be found tells what
-- it says.
--
-- Each language's words are looked for in documents that may be in it, so that a word that is not wanted is not let in by
-- another language's stem.
CREATE FUNCTION views.hits(of_tenant text, q text) RETURNS TABLE (document_id uuid, rank real)
LANGUAGE plpgsql STABLE SET client_min_messages = warning AS $$
DECLARE
    plain   tsquery := websearch_to_tsquery('pg_catalog.simple', q);
    german  tsquery := websearch_to_tsquery('pg_catalog.german', q);
    english tsquery := websearch_to_tsquery('pg_catalog.english', q);
BEGIN
    -- An empty query fits nothing.
    plain := CASE WHEN views.can_be_looked_up(plain) THEN plain ELSE ''::tsquery END;
    german := CASE WHEN views.can_be_looked_up(german) THEN german ELSE ''::tsquery END;
    english := CASE WHEN views.can_be_looked_up(english) THEN english ELSE ''::tsquery END;
    RETURN QUERY
    SELECT c.document_id,
           greatest(ts_rank(c.search, plain), CASE WHEN views.may_be_in(c.language, 'deu') THEN ts_rank(c.search, german) END,
                    CASE WHEN views.may_be_in(c.language, 'eng') THEN ts_rank(c.search, english) END)
      FROM (SELECT v.document_id, v.search, v.language, v.blob_key
              FROM views.document_view v
             WHERE v.tenant = of_tenant
               AND (v.search @@ plain
                    OR (views.may_be_in(v.language, 'deu') AND v.search @@ german)
                    OR (views.may_be_in(v.language, 'eng') AND v.search @@ english))
               -- As document-api gives out the content itself.
               AND v.verdict = 'clean' AND v.dedup_outcome IN ('unique', 'duplicate')
             ORDER BY v.uploaded_at DESC NULLS LAST
             LIMIT 1000) c
     -- Behind the limit: it costs each document a look.
     WHERE coalesce(documents.newest_verdict(c.document_id, of_tenant, c.blob_key), 'clean') = 'clean';
END $$;
