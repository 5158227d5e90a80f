-- How events get into the outbox, and what can not. Rust uses the same functions as a service in any other language.

-- Locks aggregates, those that are new too, in one order for all callers; tells the version that each has now. The locks are
-- held until the transaction ends. The settings keep a plan that was made while the table was small from being a scan later.
CREATE FUNCTION pipeline.lock_aggregates(types text[], ids uuid[])
RETURNS TABLE (aggregate_type text, aggregate_id uuid, version bigint, locked_at timestamptz)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO pipeline.aggregates (aggregate_type, aggregate_id)
    SELECT t, i FROM unnest(types, ids) AS u (t, i) ORDER BY t, i
    ON CONFLICT DO NOTHING;
    -- A statement of its own: its snapshot has the rows for whose commit the one above has waited.
    RETURN QUERY
    WITH locked AS MATERIALIZED (
        SELECT a.aggregate_type, a.aggregate_id, a.version
          FROM unnest(types, ids) AS u (t, i)
          JOIN pipeline.aggregates a ON a.aggregate_type = u.t AND a.aggregate_id = u.i
         ORDER BY 1, 2 FOR UPDATE OF a)
    SELECT l.*, clock_timestamp() FROM locked l;
END $$;

-- First of two steps to write one event: locks the aggregate and says which version the event must carry, and its time.
CREATE FUNCTION pipeline.next_version(of_type text, of_id uuid, OUT version bigint, OUT occurred_at timestamptz)
LANGUAGE sql AS $$
    SELECT l.version + 1, l.locked_at FROM pipeline.lock_aggregates(ARRAY[of_type], ARRAY[of_id]) AS l
$$;

-- Second step, in the same transaction: writes the event and returns the id of its row. `payload` is Avro in Confluent's
-- wire format and holds the version and the time that `next_version` gave.
CREATE FUNCTION pipeline.append_event(
    event_id uuid, event_type text, aggregate_type text, aggregate_id uuid, version bigint,
    topic text, payload bytea, tenant text, region text, more_headers jsonb DEFAULT '[]', OUT id bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_variable
BEGIN
    IF payload IS NULL OR octet_length(payload) < 6 OR get_byte(payload, 0) <> 0 THEN
        RAISE EXCEPTION 'the payload of % is not in Confluent''s wire format', event_id USING ERRCODE = 'OX002',
            HINT = 'A byte 0, the schema id in 4 bytes, then the Avro datum. No consumer could read anything else.';
    END IF;
    IF octet_length(payload) > 262144 THEN
        RAISE EXCEPTION 'the payload of % has % bytes, the limit is 262144', event_id, octet_length(payload)
            USING ERRCODE = 'OX003', HINT = 'An event is a small fact: store what is large, and link it.';
    END IF;
    INSERT INTO pipeline.outbox_events AS o
           (kind, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, shard, topic, key, headers, payload, tenant, region)
    VALUES ('event', event_id, event_type, aggregate_type, aggregate_id, version, pipeline.shard_of(aggregate_id), topic,
            convert_to(aggregate_id::text, 'UTF8'),
            jsonb_build_array(
                jsonb_build_array('event_id', event_id::text), jsonb_build_array('event_type', event_type),
                jsonb_build_array('aggregate_version', version::text), jsonb_build_array('tenant', tenant),
                jsonb_build_array('region', region)) || more_headers,
            payload, tenant, region)
    RETURNING o.id INTO id;
END $$;

-- The shard of an aggregate: FNV-1a over the id's bytes and a step of MurmurHash3's finalizer, modulo 64, as `shard_of` of the
-- Rust crate. In numbers of any size, since PostgreSQL's own refuse to overflow.
CREATE FUNCTION pipeline.shard_of(of_id uuid) RETURNS smallint LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    bytes bytea := uuid_send(of_id);
    hash numeric := 14695981039346656037;
    low bigint;
BEGIN
    FOR at IN 0..15 LOOP
        low := mod(hash, 256);
        hash := mod((hash - low + (low # get_byte(bytes, at))) * 1099511628211, 18446744073709551616);
    END LOOP;
    low := mod(hash, 2147483648);
    hash := mod((hash - low + (low # div(hash, 8589934592)::bigint)) * 18397679294719823053, 18446744073709551616);
    RETURN mod(div(hash, 8589934592), 64);
END $$;

-- Advances the aggregates of the events that a statement has inserted, and refuses what is not in order. An event is in
-- order if its version follows the last one and its row's id is above the last one's: the relay reads by id, and the lock that
-- this takes (or that the writer has) is held until the commit.
CREATE FUNCTION pipeline.advance_aggregates() RETURNS trigger
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    refused record;
BEGIN
    WITH placed AS (
        SELECT aggregate_type, aggregate_id, aggregate_version AS version, id,
               aggregate_version - row_number() OVER (PARTITION BY aggregate_type, aggregate_id ORDER BY id) AS before
          FROM inserted WHERE kind = 'event'
    ), runs AS (
        SELECT aggregate_type, aggregate_id, min(version) AS first, max(version) AS last, min(id) AS first_row, max(id) AS last_row,
               min(before) AS before, min(before) = max(before) AS unbroken
          FROM placed GROUP BY aggregate_type, aggregate_id
    ), advanced AS (
        UPDATE pipeline.aggregates a SET version = r.last, last_row = r.last_row
          FROM runs r
         WHERE a.aggregate_type = r.aggregate_type AND a.aggregate_id = r.aggregate_id
           AND r.unbroken AND a.version = r.before AND a.last_row < r.first_row
        RETURNING a.aggregate_type, a.aggregate_id
    )
    SELECT r.* INTO refused FROM runs r
     WHERE (r.aggregate_type, r.aggregate_id) NOT IN (SELECT * FROM advanced) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'events % to % of % % do not follow its version %', refused.first, refused.last,
            refused.aggregate_type, refused.aggregate_id,
            coalesce((SELECT version::text FROM pipeline.aggregates a WHERE a.aggregate_type = refused.aggregate_type
                         AND a.aggregate_id = refused.aggregate_id), '(it was never locked)')
            USING ERRCODE = 'OX001',
                  DETAIL = 'Versions have no gaps, each row''s id is above the one before, and the aggregate was locked before.',
                  HINT = 'Take the version by pipeline.next_version in the same transaction, and insert in its order.';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER outbox_in_order AFTER INSERT ON pipeline.outbox_events
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION pipeline.advance_aggregates();

-- Notes what a statement has inserted as unpublished: without the note no relay ever sees a row.
CREATE FUNCTION pipeline.note_unpublished() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pipeline.outbox_unpublished (id, created_at, shard) SELECT id, created_at, shard FROM inserted;
    RETURN NULL;
END $$;
CREATE TRIGGER outbox_noted AFTER INSERT ON pipeline.outbox_events
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION pipeline.note_unpublished();
