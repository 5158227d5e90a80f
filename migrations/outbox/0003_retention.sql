-- How old rows go (docs/adr/0021). The functions serve the outbox and, in the fleet's own schema, the inbox. Each is one
-- transaction that may be cut short anywhere and called again; none waits longer than 2 s for a lock.

-- Who keeps the house at present, so that not everybody does. It saves work only: two at once harm nothing.
CREATE TABLE pipeline.housekeeping (
    singleton boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    owner     uuid,
    until     timestamptz NOT NULL DEFAULT '-infinity',
    kept_at   timestamptz
);
INSERT INTO pipeline.housekeeping DEFAULT VALUES;

-- Up to where days were dropped: nobody can find a row of before any more, but for the outliers.
CREATE TABLE pipeline.dropped_days (
    parent text PRIMARY KEY,
    before date NOT NULL
);

-- The days that have a partition, the oldest first.
CREATE FUNCTION pipeline.days(parent text) RETURNS TABLE (day date) LANGUAGE sql STABLE AS $$
    SELECT to_date(right(c.relname, 8), 'YYYYMMDD')
      FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
     WHERE h.inhparent = format('pipeline.%I', parent)::regclass AND c.relname ~ '_[0-9]{8}$'
     ORDER BY 1
$$;

-- The rows `r` that outlive their day: messages without a last word, with all their retries and dead letters, as an undo goes
-- back to an earlier one; and the letters of what was given up, as long as the inbox knows of it.
CREATE FUNCTION pipeline.outliving(parent text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN parent = 'inbox' THEN 'r.outcome IN (''retrying'', ''parked'', ''dead'')'
        WHEN to_regclass('pipeline.inbox_outliers') IS NULL THEN 'false'
        ELSE 'r.kind <> ''event'' AND EXISTS (SELECT FROM pipeline.inbox i WHERE i.consumer = r.consumer
                AND i.event_id = r.event_id AND i.outcome IN (''retrying'', ''parked'', ''dead'', ''discarded''))'
    END
$$;

-- What would become of a day's rows: about how many there are, how many hold the whole day back because no relay has
-- published them, how many outlive it. The last two have indexes; a day of millions is not counted for the first.
CREATE FUNCTION pipeline.weigh_day(parent text, of_day date, OUT rows bigint, OUT unpublished bigint, OUT outliving bigint)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    part text := format('%s_%s', parent, to_char(of_day, 'YYYYMMDD'));
BEGIN
    SELECT reltuples INTO rows FROM pg_class WHERE oid = format('pipeline.%I', part)::regclass;
    IF rows < 100000 THEN
        EXECUTE format('SELECT count(*) FROM pipeline.%I', part) INTO rows;
    END IF;
    unpublished := 0;
    IF parent <> 'inbox' THEN
        EXECUTE format('SELECT count(*) FROM pipeline.%I r JOIN pipeline.outbox_unpublished u USING (id)', part) INTO unpublished;
    END IF;
    EXECUTE format('SELECT count(*) FROM pipeline.%I r WHERE %s', part, pipeline.outliving(parent)) INTO outliving;
END $$;

-- Drops a day, unless a row of it is unpublished or more than 100,000 outlive it. Those that do move to the outliers. Returns
-- how many moved, and null if the day stays.
CREATE FUNCTION pipeline.drop_day(parent text, of_day date) RETURNS bigint LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
    part text := format('%s_%s', parent, to_char(of_day, 'YYYYMMDD'));
    outliers text := replace(parent, '_events', '') || '_outliers';
    weight record;
    moved bigint;
BEGIN
    -- Weighed twice: what takes long is done before the lock, and what must be true is true under it.
    SELECT * INTO weight FROM pipeline.weigh_day(parent, of_day);
    IF weight.unpublished > 0 OR weight.outliving > 100000 THEN
        RETURN NULL;
    END IF;
    -- The parent first, as every query locks it before its parts: no deadlock.
    EXECUTE format('LOCK TABLE ONLY pipeline.%I IN ACCESS EXCLUSIVE MODE', parent);
    IF parent <> 'inbox' THEN
        EXECUTE format('SELECT count(*) FROM (SELECT FROM pipeline.outbox_unpublished u JOIN pipeline.%I r USING (id) LIMIT 1) AS open', part)
           INTO moved;
        IF moved > 0 THEN
            RETURN NULL;
        END IF;
    END IF;
    EXECUTE format('ALTER TABLE pipeline.%I DETACH PARTITION pipeline.%I', parent, part);
    EXECUTE format('INSERT INTO pipeline.%1$I (%4$s) OVERRIDING SYSTEM VALUE SELECT %4$s FROM pipeline.%2$I r WHERE %3$s',
                   outliers, part, pipeline.outliving(parent), pipeline.stored_columns(parent));
    GET DIAGNOSTICS moved = ROW_COUNT;
    EXECUTE format('DROP TABLE pipeline.%I', part);
    INSERT INTO pipeline.dropped_days AS d VALUES (parent, of_day + 1)
        ON CONFLICT ON CONSTRAINT dropped_days_pkey DO UPDATE SET before = greatest(d.before, excluded.before);
    RETURN moved;
END $$;

-- Deletes outliers whose day is before `before` and that nobody needs any more, at most `most`; returns how many. An inbox row
-- also stays until its last word is that old: a place has no day of its own, and what was redriven may be repeated.
CREATE FUNCTION pipeline.sweep_outliers(parent text, before date, most integer) RETURNS bigint
LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
    outliers text := replace(parent, '_events', '') || '_outliers';
    limit_at timestamptz := before::timestamp AT TIME ZONE 'UTC';
    is_old text := CASE parent WHEN 'inbox' THEN 'r.event_day < $1 AND r.settled_at < $2'
                               ELSE '$1 IS NOT NULL AND r.created_at < $2
                                     AND NOT EXISTS (SELECT FROM pipeline.outbox_unpublished u WHERE u.id = r.id)' END;
    swept bigint;
BEGIN
    EXECUTE format('DELETE FROM pipeline.%1$I WHERE ctid = ANY (ARRAY(
                        SELECT r.ctid FROM pipeline.%1$I r WHERE %2$s AND NOT (%3$s) LIMIT $3 FOR UPDATE SKIP LOCKED))',
                   outliers, is_old, pipeline.outliving(parent)) USING before, limit_at, most;
    GET DIAGNOSTICS swept = ROW_COUNT;
    RETURN swept;
END $$;
