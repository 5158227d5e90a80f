//! The walk over the inbox.

use crate::audit::check::{Check, Pass};

pub const SETTLEMENTS: &[Check] = &[
    Check {
        name: "several-outcomes",
        property: "L1",
        pass: Pass::Settlements,
        says: "events with more than one inbox row at one consumer",
        what_to_do: "The event's day differs between two deliveries, so its bytes do: compare them by `docfleet audit --topics`.",
        sql: r"SELECT count(*) OVER () AS total, i.consumer, i.event_id AS id,
                      string_agg(format('%s on %s', i.outcome, i.event_day), ', ' ORDER BY i.event_day) AS detail
                 FROM (SELECT DISTINCT consumer, event_id FROM audit_settled) s
                 JOIN pipeline.inbox i ON i.consumer = s.consumer AND i.event_id = s.event_id
                WHERE $1::float8 IS NOT NULL
                GROUP BY i.consumer, i.event_id HAVING count(*) > 1 ORDER BY i.consumer, i.event_id LIMIT 20",
    },
    Check {
        name: "still-retrying",
        property: "L8",
        pass: Pass::Always,
        says: "messages that wait for a retry",
        what_to_do: "Wait: a retry comes within 10 min, or its message dies. If it stays, the consumer does not read its retry topics.",
        sql: r"SELECT count(*) OVER () AS total, consumer, event_id AS id,
                      format('attempt %s since %s: %s', attempt, date_trunc('second', settled_at), coalesce(reason, 'unknown')) AS detail
                 FROM pipeline.inbox
                WHERE outcome = 'retrying' AND settled_at < now() - make_interval(secs => $1)
                ORDER BY settled_at, event_id LIMIT 20",
    },
    Check {
        name: "dead-without-letter",
        property: "L1",
        pass: Pass::Settlements,
        says: "dead or discarded messages without their dead letter",
        what_to_do: "A settlement writes both or none, so somebody edited a table. The bytes may still be on the original topic.",
        // What a command drops, or goes with its document, need not have died: its record is an operator's action.
        sql: r#"SELECT count(*) OVER () AS total, i.consumer, i.event_id AS id,
                       format('%s of attempt %s, read at %s[%s]@%s', i.outcome, i.attempt, i.topic, i.partition, i."offset") AS detail
                  FROM audit_settled i, audit_scope
                 WHERE i.outcome IN ('dead', 'discarded') AND coalesce(i.reason, '') NOT IN ('dropped-by-command', 'erased') AND $1::float8 IS NOT NULL AND i.settled_at >= pruned_before
                   AND NOT EXISTS (SELECT FROM pipeline.outbox_events o WHERE o.kind = 'dead_letter'
                                      AND o.consumer = i.consumer AND o.event_id = i.event_id AND o.attempt = i.attempt)
                 ORDER BY i.consumer, i.event_id LIMIT 20"#,
    },
    Check {
        name: "retrying-without-retry",
        property: "L1",
        pass: Pass::Always,
        says: "messages that wait for a retry that was never written",
        what_to_do: "Nothing will come for them. Somebody edited a table; the bytes may still be on the original topic.",
        sql: r#"SELECT count(*) OVER () AS total, i.consumer, i.event_id AS id,
                       format('attempt %s, read at %s[%s]@%s', i.attempt, i.topic, i.partition, i."offset") AS detail
                  FROM pipeline.inbox i, audit_scope
                 WHERE i.outcome = 'retrying' AND i.settled_at < now() - make_interval(secs => $1) AND i.settled_at >= pruned_before
                   AND NOT EXISTS (SELECT FROM pipeline.outbox_events o WHERE o.kind = 'retry'
                                      AND o.consumer = i.consumer AND o.event_id = i.event_id AND o.attempt = i.attempt)
                 ORDER BY i.consumer, i.event_id LIMIT 20"#,
    },
    Check {
        name: "discarded-without-decision",
        property: "L1",
        pass: Pass::Settlements,
        says: "discarded messages without an operator's decision on record",
        what_to_do: "`docfleet dlq purge` and a settlement that obeys `docfleet drop` write both or none, so somebody edited a table.",
        sql: r"SELECT count(*) OVER () AS total, i.consumer, i.event_id AS id, 'no purge or drop on record' AS detail
                 FROM audit_settled i
                WHERE i.outcome = 'discarded' AND $1::float8 IS NOT NULL
                  AND NOT EXISTS (SELECT FROM pipeline.operator_actions a
                                   WHERE a.action IN ('purge', 'drop') AND a.consumer = i.consumer AND a.event_id = i.event_id)
                ORDER BY i.consumer, i.event_id LIMIT 20",
    },
    Check {
        name: "unknown-event",
        property: "L2",
        pass: Pass::Settlements,
        says: "outcomes of events that the outbox never held",
        what_to_do: "The topic holds an event that nobody committed: another producer writes to it, or the database was restored.",
        // The day of messages that could not be decoded is 1970-01-01: they have no event. Of an earlier day than the
        // pruned ones the outbox may hold no row any more.
        sql: r#"SELECT count(*) OVER () AS total, i.consumer, i.event_id AS id,
                       format('%s, read at %s[%s]@%s', i.outcome, i.topic, i.partition, i."offset") AS detail
                  FROM audit_settled i, audit_scope
                 WHERE i.event_day <> DATE '1970-01-01' AND i.event_day >= pruned_before::date AND $1::float8 IS NOT NULL
                   AND NOT EXISTS (SELECT FROM pipeline.outbox_events o WHERE o.kind = 'event' AND o.event_id = i.event_id)
                 ORDER BY i.consumer, i.event_id LIMIT 20"#,
    },
];

/// Where parked keys are kept in tables of their own.
pub const PARKED: &[Check] = &[
    Check {
        name: "parked-without-message",
        property: "L1",
        pass: Pass::Settlements,
        says: "parked messages whose bytes are not kept",
        what_to_do: "A settlement writes both or none, so somebody edited a table. The bytes may still be on the original topic.",
        sql: r#"SELECT count(*) OVER () AS total, i.consumer, i.event_id AS id,
                       format('read at %s[%s]@%s', i.topic, i.partition, i."offset") AS detail
                  FROM audit_settled i
                 WHERE i.outcome = 'parked' AND $1::float8 IS NOT NULL
                   AND NOT EXISTS (SELECT FROM pipeline.parked_messages m WHERE m.consumer = i.consumer AND m.event_id = i.event_id)
                 ORDER BY i.consumer, i.event_id LIMIT 20"#,
    },
    Check {
        name: "parked-without-outcome",
        property: "L1",
        pass: Pass::Always,
        says: "kept messages of parked keys that the inbox does not call parked",
        what_to_do: "A settlement writes both or none, so somebody edited a table: compare the two rows before anything is resumed.",
        sql: r"SELECT count(*) OVER () AS total, m.consumer, m.event_id AS id,
                      coalesce((SELECT format('the inbox says %s', min(i.outcome)) FROM pipeline.inbox i
                                 WHERE i.consumer = m.consumer AND i.event_id = m.event_id), 'no inbox row') AS detail
                 FROM pipeline.parked_messages m
                WHERE $1::float8 IS NOT NULL
                  AND NOT EXISTS (SELECT FROM pipeline.inbox i
                                   WHERE i.consumer = m.consumer AND i.event_id = m.event_id AND i.outcome IN ('parked', 'retrying'))
                ORDER BY m.consumer, m.event_id LIMIT 20",
    },
];
