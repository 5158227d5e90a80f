-- Documents that are gone, and must not come back (docs/adr/0036). Owned by document-api.

-- A document that must stay, whatever its sender or its age says: for a court, a supervisor, an inquiry.
CREATE TABLE documents.legal_holds (
    -- The reference locks the document's row, so that a hold and an erasure see each other.
    document_id uuid        PRIMARY KEY REFERENCES documents.documents (id),
    -- A file number or the like: no names.
    reason      text        NOT NULL CHECK (length(reason) BETWEEN 1 AND 200),
    placed_by   text        NOT NULL,
    placed_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The tombstone of each erased document: what is late finds it and leaves nothing. It holds ids, a time and who wanted it, for good.
CREATE TABLE documents.erasures (
    document_id   uuid        PRIMARY KEY,
    tenant        text        NOT NULL,
    region        text        NOT NULL,
    -- A word, so that nobody writes about a person here.
    reason        text        NOT NULL CHECK (reason ~ '^[a-z][a-z0-9-]{1,39}$'),
    erased_by     text        NOT NULL,
    erased_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Of the content that may have to go with it; NULL when all is done.
    sha256        bytea       CHECK (length(sha256) = 32),
    -- The bytes: when to try (again), how often it was tried, why the last try failed.
    next_try_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    tries         integer     NOT NULL DEFAULT 0,
    problem       text,
    -- How often a late settlement asked for another look: one that was under way has not seen what it left.
    late          integer     NOT NULL DEFAULT 0,
    bytes_gone_at timestamptz,
    -- After a second look: work that was under way at `erased_at` may have stored something after the first one.
    finished_at   timestamptz
);
CREATE INDEX erasures_unfinished ON documents.erasures (region, next_try_at) WHERE finished_at IS NULL;
CREATE INDEX erasures_by_tenant ON documents.erasures (tenant, erased_at DESC);

-- For retention: the oldest first.
CREATE INDEX documents_by_age ON documents.documents (created_at, id);

-- The view's tombstone: with it the row holds nothing but ids.
ALTER TABLE views.document_view ADD COLUMN erased_at timestamptz;

-- For an erasure: what a document's retries hold.
CREATE INDEX outbox_retries_by_key ON pipeline.outbox_events (md5(key)) WHERE kind = 'retry';

-- The document whose records have this key; NULL when it is none of ours.
CREATE FUNCTION documents.of_key(key bytea) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN encode(key, 'escape') ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN encode(key, 'escape')::uuid END
$$;

-- Ends what waits or died under a record's key, at every consumer: the bytes go, and the inbox says that they were discarded. What
-- `spared` names is left as it is: the event that says why all else goes. A key that is being buried right now is left too; what
-- comes of it are dead letters, which the next call finds. Returns how many messages were ended.
CREATE FUNCTION pipeline.forget_key(of_key bytea, spared text, by_whom text, because text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    parked record;
    ended  bigint;
    total  bigint := 0;
BEGIN
    -- The key first, then its inbox rows, as settlements and drainers do.
    FOR parked IN
        SELECT consumer, key FROM pipeline.parked_keys
         WHERE key = of_key AND state <> 'burying' ORDER BY consumer FOR UPDATE
    LOOP
        -- What is spared waits behind its predecessors, and is tried by itself when they are gone.
        WITH gone AS (
            DELETE FROM pipeline.parked_messages m
             WHERE m.consumer = parked.consumer AND m.key = parked.key AND m.event_type <> spared
            RETURNING m.event_id, m.event_day
        ), discarded AS (
            UPDATE pipeline.inbox i SET outcome = 'discarded', reason = 'erased', settled_at = clock_timestamp()
              FROM gone g
             WHERE i.consumer = parked.consumer AND i.event_id = g.event_id AND i.event_day = g.event_day AND i.outcome = 'parked'
            RETURNING i.event_id
        )
        INSERT INTO pipeline.operator_actions (who, action, consumer, event_id, why)
        SELECT by_whom, 'purge', parked.consumer, event_id, because FROM discarded ORDER BY event_id;
        GET DIAGNOSTICS ended = ROW_COUNT;
        total := total + ended;
        UPDATE pipeline.parked_keys k
           SET state = 'retrying', event_id = m.event_id, head_since = clock_timestamp(), attempts = 0, next_try_at = clock_timestamp(),
               messages = m.messages,
               -- Fences a drainer that works on what was first before.
               lease_owner = NULL, lease_until = '-infinity', lease_epoch = nextval('pipeline.parked_lease_epochs')
          FROM (SELECT (array_agg(event_id ORDER BY seq))[1] AS event_id, count(*) AS messages
                  FROM pipeline.parked_messages WHERE consumer = parked.consumer AND key = parked.key) m
         WHERE k.consumer = parked.consumer AND k.key = parked.key AND m.messages > 0 AND k.messages <> m.messages;
        DELETE FROM pipeline.parked_keys k
         WHERE k.consumer = parked.consumer AND k.key = parked.key
           AND NOT EXISTS (SELECT FROM pipeline.parked_messages m WHERE m.consumer = k.consumer AND m.key = k.key);
    END LOOP;
    WITH letters AS (
        SELECT DISTINCT consumer, event_id FROM pipeline.outbox_events
         WHERE kind = 'dead_letter' AND md5(key) = md5(of_key) AND key = of_key AND event_type <> spared AND payload IS NOT NULL
    ), dead AS (
        SELECT i.consumer, i.event_id, i.event_day
          FROM letters l JOIN pipeline.inbox i ON i.consumer = l.consumer AND i.event_id = l.event_id
         WHERE i.outcome = 'dead' ORDER BY i.event_id, i.consumer FOR UPDATE OF i
    ), discarded AS (
        UPDATE pipeline.inbox i SET outcome = 'discarded', reason = 'erased', settled_at = clock_timestamp()
          FROM dead d
         WHERE i.consumer = d.consumer AND i.event_id = d.event_id AND i.event_day = d.event_day
        RETURNING i.consumer, i.event_id
    )
    INSERT INTO pipeline.operator_actions (who, action, consumer, event_id, why)
    SELECT by_whom, 'purge', consumer, event_id, because FROM discarded ORDER BY event_id, consumer;
    GET DIAGNOSTICS ended = ROW_COUNT;
    -- Also of letters that were replayed: the rows stay, as the proof of what became of each attempt.
    UPDATE pipeline.outbox_events SET payload = NULL
     WHERE kind = 'dead_letter' AND md5(key) = md5(of_key) AND key = of_key AND event_type <> spared AND payload IS NOT NULL;
    -- One that is not published yet is on its way, and its consumer will find the tombstone; what it leaves here is found later.
    UPDATE pipeline.outbox_events o SET payload = NULL
     WHERE kind = 'retry' AND md5(key) = md5(of_key) AND key = of_key AND event_type <> spared AND payload IS NOT NULL
       AND NOT EXISTS (SELECT FROM pipeline.outbox_unpublished u WHERE u.id = o.id);
    RETURN total + ended;
END $$;

-- The beginning of an erasure, for the transaction that announces it: the document's row, its verdicts and its place among the
-- contents go, and the tombstone and the line of the audit trail stand. `state` is
--   erased   announce it, commit
--   already  it was erased before; nothing was done
--   held     by a legal hold; nothing was done
--   unknown  no such document, or it is another tenant's
-- `heir` is the document that is now the tenant's first one with this content, if the erased one was: the oldest of its duplicates
-- that is clean today. Announce it as unique. Without one the content has no first document any more, and dedup finds the next:
-- one of which it has not said anything yet asks anew, as it locks the first document before it says "duplicate".
CREATE FUNCTION documents.erase(of_document uuid, of_tenant text, why text, by_whom text,
                                OUT state text, OUT tenant text, OUT region text, OUT erased_at timestamptz, OUT heir uuid, OUT heir_mime text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    d     documents.documents;
    first uuid;
BEGIN
    -- Waits for a settlement that is about to say something of the document; the next one finds the tombstone.
    SELECT * INTO d FROM documents.documents x WHERE x.id = of_document AND x.tenant = coalesce(of_tenant, x.tenant) FOR UPDATE;
    IF NOT FOUND THEN
        SELECT 'already', e.tenant, e.region, e.erased_at INTO state, tenant, region, erased_at
          FROM documents.erasures e WHERE e.document_id = of_document AND e.tenant = coalesce(of_tenant, e.tenant);
        state := coalesce(state, 'unknown');
        RETURN;
    END IF;
    tenant := d.tenant;
    region := d.region;
    IF EXISTS (SELECT FROM documents.legal_holds h WHERE h.document_id = of_document) THEN
        state := 'held';
        RETURN;
    END IF;
    -- The content's row orders the erasures of its documents: else two of them could leave it to each other.
    SELECT c.first_document INTO first FROM documents.contents c WHERE c.tenant = d.tenant AND c.sha256 = d.sha256 FOR UPDATE;
    DELETE FROM documents.documents x WHERE x.id = of_document;
    IF first = of_document THEN
        SELECT x.id INTO heir
          FROM documents.duplicates u
          JOIN documents.documents x ON x.id = u.document_id
          JOIN documents.scans s ON s.document_id = u.document_id AND s.verdict = 'clean'
         WHERE u.tenant = d.tenant AND u.sha256 = d.sha256 ORDER BY x.created_at, x.id LIMIT 1;
        DELETE FROM documents.duplicates u WHERE u.document_id = heir RETURNING u.mime INTO heir_mime;
        UPDATE documents.contents c SET first_document = heir WHERE c.tenant = d.tenant AND c.sha256 = d.sha256 AND heir IS NOT NULL;
        DELETE FROM documents.contents c WHERE c.tenant = d.tenant AND c.sha256 = d.sha256 AND heir IS NULL;
    END IF;
    DELETE FROM documents.duplicates u WHERE u.document_id = of_document;
    DELETE FROM documents.scans s WHERE s.document_id = of_document;
    INSERT INTO documents.erasures AS e (document_id, tenant, region, reason, erased_by, sha256)
    VALUES (of_document, d.tenant, d.region, why, by_whom, d.sha256)
    RETURNING e.erased_at INTO erased_at;
    INSERT INTO documents.audit_trail (region, tenant, actor, action, document_id, detail)
    VALUES (d.region, d.tenant, by_whom, 'erased', of_document,
            jsonb_build_object('reason', why, 'size_bytes', d.size_bytes, 'created_at', d.created_at));
    PERFORM pipeline.forget_key(convert_to(of_document::text, 'UTF8'), 'DocumentErased', by_whom, 'the document was erased: ' || why);
    state := 'erased';
END $$;

-- For a settlement that is about to say something of documents: locks them against an erasure until it ends, and returns those
-- that are erased, of which it must say nothing. What its work may have stored of them is looked for once more.
CREATE FUNCTION documents.erased_of(of_documents uuid[]) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM documents.documents x WHERE x.id = ANY (of_documents) ORDER BY x.id FOR KEY SHARE;
    -- A statement of its own: it sees the erasure for whose end the one above has waited.
    RETURN QUERY
    UPDATE documents.erasures e SET next_try_at = clock_timestamp(), finished_at = NULL, late = e.late + 1
     WHERE e.document_id = ANY (of_documents) RETURNING e.document_id;
END $$;
