//! The walk over the outbox.

use crate::audit::check::{Check, Pass};

pub const EVENTS: &[Check] = &[
    Check {
        name: "no-consumer",
        property: "L1",
        pass: Pass::Events,
        says: "topics with events that no consumer owes an outcome for",
        what_to_do: "Start the consumers of that topic: each writes its subscription at its first start.",
        sql: r"SELECT count(*) OVER () AS total, NULL::text AS consumer, NULL::uuid AS id,
                      format('topic %s: %s events', o.topic, count(*)) AS detail
                 FROM audit_tail o
                WHERE o.kind = 'event' AND $1::float8 IS NOT NULL
                  AND NOT EXISTS (SELECT FROM pipeline.subscriptions s WHERE s.topic = o.topic)
                GROUP BY o.topic ORDER BY o.topic LIMIT 20",
    },
    Check {
        name: "missing-outcome",
        property: "L1",
        // Its offenders are remembered as unfinished.
        pass: Pass::Always,
        says: "events without an outcome at a consumer",
        what_to_do: "If `docfleet status` shows lag, wait. Without lag the event was lost between outbox and inbox: \
                     see it on its topic by `docfleet audit --topics`.",
        // An event that its consumer could not decode has its outcome under the id of its place; its failure row names
        // it. That name is foreign text, so the row must also hold the event's bytes. Of a value too large to be carried
        // it holds the size, in a header that only the runtime writes.
        // Of an erased document only the erasure is owed: nothing else of it is published again.
        sql: r"WITH named AS MATERIALIZED (
                   SELECT f.consumer, header ->> 1 AS event_id, sha256(f.payload) AS digest,
                          (SELECT size ->> 1 FROM jsonb_array_elements(f.headers) AS size
                            WHERE f.payload IS NULL AND size ->> 0 = 'docfleet_payload_omitted_bytes' LIMIT 1) AS omitted_bytes
                     FROM pipeline.outbox_events f, jsonb_array_elements(f.headers) AS header
                    WHERE f.kind <> 'event' AND header ->> 0 = 'event_id'),
               missing AS MATERIALIZED (
                   SELECT o.*, s.consumer AS owes
                     FROM audit_tail o JOIN pipeline.subscriptions s ON s.topic = o.topic
                    WHERE o.kind = 'event'
                      AND (o.event_type = 'DocumentErased'
                           OR NOT EXISTS (SELECT FROM documents.erasures e WHERE e.document_id = o.aggregate_id))
                      AND NOT EXISTS (SELECT FROM pipeline.inbox i WHERE i.consumer = s.consumer AND i.event_id = o.event_id))
               SELECT count(*) OVER () AS total, m.owes AS consumer, m.event_id AS id,
                      format('%s %s, version %s of %s', CASE WHEN u.id IS NULL THEN 'published' ELSE 'unpublished' END,
                             m.event_type, m.aggregate_version, m.aggregate_id) AS detail
                 FROM missing m JOIN pipeline.outbox_events o ON o.id = m.id AND o.created_at = m.created_at
                 LEFT JOIN pipeline.outbox_unpublished u ON u.id = m.id
                WHERE $1::float8 IS NOT NULL
                  AND NOT EXISTS (SELECT FROM named n WHERE n.consumer = m.owes AND n.event_id = m.event_id::text
                                     AND (n.digest = sha256(o.payload) OR n.omitted_bytes = octet_length(o.payload)::text))
                ORDER BY m.id, m.owes LIMIT 20",
    },
    Check {
        name: "unpublished",
        property: "L8",
        pass: Pass::Always,
        says: "outbox rows that are not published",
        what_to_do: "Start a relay, or see in `docfleet leases` whether its shards have an owner.",
        sql: r"SELECT count(*) OVER () AS total, o.consumer, o.event_id AS id,
                      format('row %s, %s for %s, shard %s', o.id, o.kind, o.topic, o.shard) AS detail
                 FROM pipeline.outbox_unpublished u JOIN pipeline.outbox_events o ON o.id = u.id AND o.created_at = u.created_at
                WHERE u.created_at < now() - make_interval(secs => $1)
                ORDER BY o.id LIMIT 20",
    },
    Check {
        name: "unpublished-without-row",
        property: "L8",
        pass: Pass::Always,
        says: "rows noted as unpublished that the outbox does not hold",
        what_to_do: "Somebody deleted an outbox row by hand. Restore it, or see that it was meant to go, and delete the note.",
        sql: r"SELECT count(*) OVER () AS total, NULL::text AS consumer, NULL::uuid AS id, format('row %s of shard %s', u.id, u.shard) AS detail
                 FROM pipeline.outbox_unpublished u
                WHERE u.created_at < now() - make_interval(secs => $1)
                  AND NOT EXISTS (SELECT FROM pipeline.outbox_events o WHERE o.id = u.id AND o.created_at = u.created_at)
                ORDER BY u.id LIMIT 20",
    },
    Check {
        name: "failure-without-outcome",
        property: "L1",
        pass: Pass::Events,
        says: "retries or dead letters of messages that the inbox does not know",
        what_to_do: "A settlement writes both or none, so somebody deleted an inbox row.",
        sql: r"SELECT count(*) OVER () AS total, o.consumer, o.event_id AS id,
                      format('row %s, %s of attempt %s', o.id, o.kind, o.attempt) AS detail
                 FROM audit_tail o
                WHERE o.kind <> 'event' AND $1::float8 IS NOT NULL
                  AND NOT EXISTS (SELECT FROM pipeline.inbox i WHERE i.consumer = o.consumer AND i.event_id = o.event_id)
                ORDER BY o.id LIMIT 20",
    },
    Check {
        name: "version-gap",
        property: "L4",
        pass: Pass::Events,
        says: "aggregates whose events are not numbered 1, 2, 3, …",
        what_to_do: "An event's row was deleted or written by hand. Restore it before consumers that rely on versions go on.",
        // Young aggregates are whole as well: their rows are written in one transaction. One at version 0 was locked and
        // nothing was written. Where rows were pruned an
        // aggregate may begin later, or have no event left.
        sql: r"WITH touched AS MATERIALIZED (
                   SELECT aggregate_type, aggregate_id FROM audit_tail WHERE kind = 'event'
                   UNION SELECT aggregate_type, aggregate_id FROM pipeline.aggregates, audit_scope WHERE whole),
               counted AS (
                   SELECT t.aggregate_id, a.version, count(o.id) AS n, min(o.aggregate_version) AS low, max(o.aggregate_version) AS high
                     FROM touched t
                     LEFT JOIN pipeline.outbox_events o
                       ON o.aggregate_type = t.aggregate_type AND o.aggregate_id = t.aggregate_id AND o.kind = 'event'
                     LEFT JOIN pipeline.aggregates a ON a.aggregate_type = t.aggregate_type AND a.aggregate_id = t.aggregate_id
                    GROUP BY t.aggregate_type, t.aggregate_id, a.version)
               SELECT count(*) OVER () AS total, NULL::text AS consumer, aggregate_id AS id,
                      format('aggregate: %s events, versions %s to %s, aggregate row at %s',
                             n, coalesce(low::text, '-'), coalesce(high::text, '-'), coalesce(version::text, '-')) AS detail
                 FROM counted, audit_scope
                WHERE $1::float8 IS NOT NULL
                  AND NOT (n = 0 AND version = 0)
                  AND (version IS NULL OR (n = 0 AND NOT pruned) OR (low <> 1 AND NOT pruned)
                       OR high - low + 1 <> n OR version <> high)
                ORDER BY aggregate_id LIMIT 20",
    },
    Check {
        name: "projection-count",
        property: "L3",
        pass: Pass::Events,
        says: "documents whose view counts other events than were applied to it",
        what_to_do: "An effect is lost or doubled: `docfleet projections rebuild document_view` heals the view. Tell the developers first.",
        // Only where each event has its outcome: what is missing has a finding of its own.
        sql: r"WITH touched AS MATERIALIZED (
                   SELECT DISTINCT aggregate_id FROM audit_tail WHERE kind = 'event' AND aggregate_type = 'document'),
               applied AS (
                   SELECT t.aggregate_id, count(*) AS events, min(o.aggregate_version) AS low, count(i.event_id) AS settled,
                          count(*) FILTER (WHERE i.outcome = 'done') AS done
                     FROM touched t
                     JOIN pipeline.outbox_events o ON o.aggregate_type = 'document' AND o.aggregate_id = t.aggregate_id AND o.kind = 'event'
                     LEFT JOIN pipeline.inbox i ON i.consumer = 'projection-builder' AND i.event_id = o.event_id
                    GROUP BY t.aggregate_id)
               SELECT count(*) OVER () AS total, 'projection-builder' AS consumer, a.aggregate_id AS id,
                      format('document: %s of %s events applied, the view counts %s', a.done, a.events, coalesce(v.version, 0)) AS detail
                 FROM applied a LEFT JOIN views.document_view v ON v.document_id = a.aggregate_id
                WHERE $1::float8 IS NOT NULL AND a.low = 1 AND a.settled = a.events AND a.done <> coalesce(v.version, 0)
                ORDER BY a.aggregate_id LIMIT 20",
    },
];
