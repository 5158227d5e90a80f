-- What operators told consumers to do for a while (docs/adr/0026). Read by every replica every 2 s, and at a hint.
CREATE TABLE pipeline.commands (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action     text        NOT NULL CHECK (action IN ('pause', 'drain', 'throttle', 'drop', 'let-fail')),
    consumer   text        NOT NULL,
    scope      text        NOT NULL CHECK (scope IN ('all', 'topic', 'partition', 'tenant', 'key', 'field')),
    -- all {}, topic {"topic"}, partition {"topic", "partition"}, tenant {"tenant"}, key {"key": hex},
    -- field {"header", "equals"} or {"path", "equals"}.
    selector   jsonb       NOT NULL DEFAULT '{}',
    -- Messages per second, of all replicas together.
    per_second float8,
    issued_by  text        NOT NULL,
    why        text        NOT NULL CHECK (why <> ''),
    issued_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- None lasts for ever: one that is forgotten ends by itself.
    expires_at timestamptz NOT NULL,
    ended_at   timestamptz,
    ended_by   text,
    CONSTRAINT throttle_has_a_rate CHECK ((action = 'throttle') = (per_second IS NOT NULL)),
    CONSTRAINT rate_is_positive CHECK (per_second > 0 AND per_second < 'Infinity'),
    CONSTRAINT command_is_not_forgotten CHECK (expires_at <= issued_at + interval '7 days 1 minute'),
    CONSTRAINT end_has_an_author CHECK ((ended_at IS NULL) = (ended_by IS NULL)),
    -- Only a drop looks into the message; only the breaker as a whole can be overridden.
    CONSTRAINT field_is_for_drops CHECK (scope <> 'field' OR action = 'drop'),
    CONSTRAINT drop_is_narrow CHECK (action <> 'drop' OR scope <> 'all'),
    CONSTRAINT let_fail_is_for_all CHECK (action <> 'let-fail' OR scope = 'all')
);
CREATE INDEX commands_active ON pipeline.commands (consumer, expires_at) WHERE ended_at IS NULL;

-- A hint, so that replicas do not wait for their next look.
CREATE FUNCTION pipeline.hint_commands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('docfleet_commands', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER hint_commands AFTER INSERT OR UPDATE ON pipeline.commands
    FOR EACH STATEMENT EXECUTE FUNCTION pipeline.hint_commands();

-- What a member's gate holds back and why: commands it obeys, breaker, ramp, what holds its frontiers.
ALTER TABLE pipeline.consumer_members ADD COLUMN gate jsonb NOT NULL DEFAULT '{}';
