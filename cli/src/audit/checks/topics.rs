//! Over the temporary tables that [`crate::audit::topic`] fills.

use crate::audit::check::{Check, Pass};

pub const TOPICS: &[Check] = &[
    Check {
        name: "lost-record",
        property: "L4",
        pass: Pass::Topics,
        says: "events marked as published that are not on their topic",
        what_to_do: "The broker lost an acknowledged record: publish it again by `docfleet relay republish`.",
        // What is lost of an erased document stays lost.
        sql: r"SELECT count(*) OVER () AS total, NULL::text AS consumer, o.event_id AS id,
                      format('row %s, %s, of %s', o.id, o.topic, date_trunc('second', o.created_at)) AS detail
                 FROM pipeline.outbox_events o
                 JOIN audit_topics t ON t.topic = o.topic
                WHERE o.kind = 'event' AND o.created_at > t.since AND o.created_at < now() - make_interval(secs => $1)
                  AND NOT EXISTS (SELECT FROM pipeline.outbox_unpublished u WHERE u.id = o.id)
                  AND NOT EXISTS (SELECT FROM audit_records r WHERE r.event_id = o.event_id AND r.topic = o.topic)
                  AND (o.event_type = 'DocumentErased'
                       OR NOT EXISTS (SELECT FROM documents.erasures e WHERE e.document_id = o.aggregate_id))
                ORDER BY o.id LIMIT 20",
    },
    Check {
        name: "uncommitted-record",
        property: "L2",
        pass: Pass::Topics,
        says: "records of events that the outbox never held",
        what_to_do: "Consumers read something that was never committed: find the second producer of this topic, or the restored database.",
        // An event whose outcome is of a pruned day was pruned itself.
        sql: r#"SELECT count(*) OVER () AS total, NULL::text AS consumer, r.event_id AS id,
                       format('record %s[%s]@%s', r.topic, r.partition, r."offset") AS detail
                  FROM audit_records r, audit_scope
                 WHERE r.event_id IS NOT NULL AND r.written_at < now() - make_interval(secs => $1) AND r.written_at >= pruned_before
                   AND NOT EXISTS (SELECT FROM pipeline.outbox_events o WHERE o.kind = 'event' AND o.event_id = r.event_id)
                   AND NOT EXISTS (SELECT FROM pipeline.inbox i WHERE i.event_id = r.event_id AND i.event_day < pruned_before::date)
                 ORDER BY r.topic, r.partition, r."offset" LIMIT 20"#,
    },
    Check {
        name: "other-bytes",
        property: "L6",
        pass: Pass::Topics,
        says: "records whose bytes are not those of their event",
        what_to_do: "Consumers read something that was never committed: find the second producer of this topic.",
        sql: r#"SELECT count(*) OVER () AS total, NULL::text AS consumer, o.event_id AS id,
                       format('row %s, record %s[%s]@%s', o.id, r.topic, r.partition, r."offset") AS detail
                  FROM audit_records r
                  JOIN pipeline.outbox_events o ON o.kind = 'event' AND o.event_id = r.event_id AND o.topic = r.topic
                 WHERE r.digest <> sha256(coalesce(o.payload, '')) AND o.created_at < now() - make_interval(secs => $1)
                 ORDER BY r.topic, r.partition, r."offset" LIMIT 20"#,
    },
    Check {
        name: "out-of-order",
        property: "L4",
        pass: Pass::Topics,
        says: "events whose first record comes after the first record of a later version",
        what_to_do: "Two relays published one aggregate at once, or a record was resent alone: see the relays' logs of that time.",
        sql: r#"WITH firsts AS (
                    SELECT topic, partition, event_id, min("offset") AS at FROM audit_records
                     WHERE event_id IS NOT NULL GROUP BY topic, partition, event_id),
                placed AS (
                    SELECT f.topic, f.partition, f.at, o.event_id, o.aggregate_id, o.aggregate_version,
                           max(o.aggregate_version) OVER (PARTITION BY f.topic, f.partition, o.aggregate_type, o.aggregate_id ORDER BY f.at) AS highest
                      FROM firsts f
                      JOIN pipeline.outbox_events o ON o.kind = 'event' AND o.event_id = f.event_id AND o.topic = f.topic
                      JOIN audit_topics t ON t.topic = f.topic
                     WHERE o.created_at > t.since)
                SELECT count(*) OVER () AS total, NULL::text AS consumer, event_id AS id,
                       format('%s[%s]@%s: version %s of %s after version %s', topic, partition, at, aggregate_version, aggregate_id, highest) AS detail
                  FROM placed WHERE aggregate_version < highest AND $1::float8 IS NOT NULL
                 ORDER BY topic, partition, at LIMIT 20"#,
    },
    Check {
        name: "committed-without-outcome",
        property: "L7",
        pass: Pass::Topics,
        says: "records below a committed offset that their consumer has no outcome for",
        what_to_do: "The offset went ahead of the settlement, so this message is lost for its consumer: feed it again by \
                     `docfleet relay republish` or `docfleet replay`, and tell the developers.",
        // The offsets were read before the snapshot. Many records may repeat one event: its outcome stands once, at the
        // place it was settled from. What could not be decoded has its outcome under its place, and that of any record
        // with the same bytes.
        sql: r#"WITH places AS MATERIALIZED (
                    SELECT consumer, topic, partition, "offset" FROM pipeline.inbox WHERE event_day = DATE '1970-01-01')
                SELECT count(*) OVER () AS total, c.consumer, r.event_id AS id,
                       format('record %s[%s]@%s, committed %s', r.topic, r.partition, r."offset", c.committed) AS detail
                  FROM audit_records r
                  JOIN audit_committed c ON c.topic = r.topic AND c.partition = r.partition AND r."offset" < c.committed
                 CROSS JOIN audit_scope
                 WHERE $1::float8 IS NOT NULL AND r.written_at >= pruned_before
                   AND NOT EXISTS (SELECT FROM pipeline.inbox i WHERE i.consumer = c.consumer AND i.event_id = r.event_id)
                   AND NOT EXISTS (SELECT FROM places p WHERE p.consumer = c.consumer AND p.topic = r.topic
                                      AND p.partition = r.partition AND p."offset" = r."offset")
                 ORDER BY r.topic, r.partition, r."offset", c.consumer LIMIT 20"#,
    },
];
