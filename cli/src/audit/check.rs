//! What may not be. Each check is one statement over the whole ledger that returns its offenders.

use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::Error;

/// Offenders named for each finding; their count is always whole.
pub const OFFENDERS_MAX: usize = 20;

pub struct Check {
    pub name: &'static str,
    /// Ends the sentence "so many …".
    pub says: &'static str,
    pub what_to_do: &'static str,
    /// `$1`: seconds; what is younger is left out. Returns `total, consumer, id, detail` of [`OFFENDERS_MAX`] at most.
    sql: &'static str,
}

#[derive(Debug, Serialize, FromRow, PartialEq, Eq)]
pub struct Offender {
    pub consumer: Option<String>,
    /// Of an event; where the detail says so, of an aggregate.
    pub id: Option<Uuid>,
    pub detail: String,
}

#[derive(Debug, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub count: i64,
    pub says: &'static str,
    pub what_to_do: &'static str,
    /// The first ones.
    pub offenders: Vec<Offender>,
}

#[derive(FromRow)]
struct Row {
    total: i64,
    #[sqlx(flatten)]
    offender: Offender,
}

pub async fn run(connection: &mut PgConnection, checks: &[Check], young: f64) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for check in checks {
        let rows: Vec<Row> = sqlx::query_as(check.sql).bind(young).fetch_all(&mut *connection).await?;
        let Some(count) = rows.first().map(|row| row.total) else { continue };
        let offenders = rows.into_iter().map(|row| row.offender).collect();
        findings.push(Finding { check: check.name, count, says: check.says, what_to_do: check.what_to_do, offenders });
    }
    Ok(findings)
}

pub const LEDGER: &[Check] = &[
    Check {
        name: "no-consumer",
        says: "topics with events that no consumer owes an outcome for",
        what_to_do: "Start the consumers of that topic: each writes its subscription at its first start.",
        sql: r"SELECT count(*) OVER () AS total, NULL::text AS consumer, NULL::uuid AS id,
                      format('topic %s: %s events', o.topic, count(*)) AS detail
                 FROM pipeline.outbox_events o
                WHERE o.kind = 'event' AND o.created_at < now() - make_interval(secs => $1)
                  AND NOT EXISTS (SELECT FROM pipeline.subscriptions s WHERE s.topic = o.topic)
                GROUP BY o.topic ORDER BY o.topic LIMIT 20",
    },
    Check {
        name: "missing-outcome",
        says: "events without an outcome at a consumer",
        what_to_do: "If `docfleet status` shows lag, wait. Without lag the event was lost between outbox and inbox: \
                     see it on its topic by `docfleet audit --topics`.",
        // An event that its consumer could not decode has its outcome under the id of its place; its failure row names
        // it. That name is foreign text, so the row must also hold the event's bytes. Of a value too large to be carried
        // it holds the size, in a header that only the runtime writes.
        sql: r"WITH named AS MATERIALIZED (
                   SELECT f.consumer, header ->> 1 AS event_id, sha256(f.payload) AS digest,
                          (SELECT size ->> 1 FROM jsonb_array_elements(f.headers) AS size
                            WHERE f.payload IS NULL AND size ->> 0 = 'docfleet_payload_omitted_bytes' LIMIT 1) AS omitted_bytes
                     FROM pipeline.outbox_events f, jsonb_array_elements(f.headers) AS header
                    WHERE f.kind <> 'event' AND header ->> 0 = 'event_id')
               SELECT count(*) OVER () AS total, s.consumer, o.event_id AS id,
                      format('%s %s, version %s of %s', CASE WHEN o.published_at IS NULL THEN 'unpublished' ELSE 'published' END,
                             o.event_type, o.aggregate_version, o.aggregate_id) AS detail
                 FROM pipeline.outbox_events o
                 JOIN pipeline.subscriptions s ON s.topic = o.topic
                WHERE o.kind = 'event' AND o.created_at < now() - make_interval(secs => $1)
                  AND NOT EXISTS (SELECT FROM pipeline.inbox i WHERE i.consumer = s.consumer AND i.event_id = o.event_id)
                  AND NOT EXISTS (SELECT FROM named n WHERE n.consumer = s.consumer AND n.event_id = o.event_id::text
                                     AND (n.digest = sha256(o.payload) OR n.omitted_bytes = octet_length(o.payload)::text))
                ORDER BY o.id, s.consumer LIMIT 20",
    },
    Check {
        name: "several-outcomes",
        says: "events with more than one inbox row at one consumer",
        what_to_do: "The event's day differs between two deliveries, so its bytes do: compare them by `docfleet audit --topics`.",
        sql: r"SELECT count(*) OVER () AS total, consumer, event_id AS id,
                      string_agg(format('%s on %s', outcome, event_day), ', ' ORDER BY event_day) AS detail
                 FROM pipeline.inbox WHERE settled_at < now() - make_interval(secs => $1)
                GROUP BY consumer, event_id HAVING count(*) > 1 ORDER BY consumer, event_id LIMIT 20",
    },
    Check {
        name: "still-retrying",
        says: "messages that wait for a retry",
        what_to_do: "Wait: a retry comes within 10 min, or its message dies. If it stays, the consumer does not read its retry topics.",
        sql: r"SELECT count(*) OVER () AS total, consumer, event_id AS id,
                      format('attempt %s since %s: %s', attempt, date_trunc('second', settled_at), coalesce(reason, 'unknown')) AS detail
                 FROM pipeline.inbox
                WHERE outcome = 'retrying' AND settled_at < now() - make_interval(secs => $1)
                ORDER BY settled_at, event_id LIMIT 20",
    },
    Check {
        name: "unpublished",
        says: "outbox rows that are not published",
        what_to_do: "Start a relay, or see in `docfleet status` whether its shards have an owner.",
        sql: r"SELECT count(*) OVER () AS total, consumer, event_id AS id,
                      format('row %s, %s for %s, shard %s', id, kind, topic, shard) AS detail
                 FROM pipeline.outbox_events
                WHERE published_at IS NULL AND created_at < now() - make_interval(secs => $1)
                ORDER BY pipeline.outbox_events.id LIMIT 20",
    },
    Check {
        name: "dead-without-letter",
        says: "dead or discarded messages without their dead letter",
        what_to_do: "A settlement writes both or none, so somebody edited a table. The bytes may still be on the original topic.",
        sql: r#"SELECT count(*) OVER () AS total, i.consumer, i.event_id AS id,
                       format('%s of attempt %s, read at %s[%s]@%s', i.outcome, i.attempt, i.topic, i.partition, i."offset") AS detail
                  FROM pipeline.inbox i
                 WHERE i.outcome IN ('dead', 'discarded') AND i.settled_at < now() - make_interval(secs => $1)
                   AND NOT EXISTS (SELECT FROM pipeline.outbox_events o WHERE o.kind = 'dead_letter'
                                      AND o.consumer = i.consumer AND o.event_id = i.event_id AND o.attempt = i.attempt)
                 ORDER BY i.consumer, i.event_id LIMIT 20"#,
    },
    Check {
        name: "retrying-without-retry",
        says: "messages that wait for a retry that was never written",
        what_to_do: "Nothing will come for them. Somebody edited a table; the bytes may still be on the original topic.",
        sql: r#"SELECT count(*) OVER () AS total, i.consumer, i.event_id AS id,
                       format('attempt %s, read at %s[%s]@%s', i.attempt, i.topic, i.partition, i."offset") AS detail
                  FROM pipeline.inbox i
                 WHERE i.outcome = 'retrying' AND i.settled_at < now() - make_interval(secs => $1)
                   AND NOT EXISTS (SELECT FROM pipeline.outbox_events o WHERE o.kind = 'retry'
                                      AND o.consumer = i.consumer AND o.event_id = i.event_id AND o.attempt = i.attempt)
                 ORDER BY i.consumer, i.event_id LIMIT 20"#,
    },
    Check {
        name: "failure-without-outcome",
        says: "retries or dead letters of messages that the inbox does not know",
        what_to_do: "A settlement writes both or none, so somebody deleted an inbox row.",
        sql: r"SELECT count(*) OVER () AS total, o.consumer, o.event_id AS id,
                      format('row %s, %s of attempt %s', o.id, o.kind, o.attempt) AS detail
                 FROM pipeline.outbox_events o
                WHERE o.kind <> 'event' AND o.created_at < now() - make_interval(secs => $1)
                  AND NOT EXISTS (SELECT FROM pipeline.inbox i WHERE i.consumer = o.consumer AND i.event_id = o.event_id)
                ORDER BY o.id LIMIT 20",
    },
    Check {
        name: "discarded-without-decision",
        says: "discarded messages without an operator's decision on record",
        what_to_do: "`docfleet dlq purge` writes both or none, so somebody edited a table.",
        sql: r"SELECT count(*) OVER () AS total, i.consumer, i.event_id AS id, 'no purge on record' AS detail
                 FROM pipeline.inbox i
                WHERE i.outcome = 'discarded' AND i.settled_at < now() - make_interval(secs => $1)
                  AND NOT EXISTS (SELECT FROM pipeline.operator_actions a
                                   WHERE a.action = 'purge' AND a.consumer = i.consumer AND a.event_id = i.event_id)
                ORDER BY i.consumer, i.event_id LIMIT 20",
    },
    Check {
        name: "unknown-event",
        says: "outcomes of events that the outbox never held",
        what_to_do: "The topic holds an event that nobody committed: another producer writes to it, or the database was restored.",
        // The day of messages that could not be decoded is 1970-01-01: they have no event.
        sql: r#"SELECT count(*) OVER () AS total, i.consumer, i.event_id AS id,
                       format('%s, read at %s[%s]@%s', i.outcome, i.topic, i.partition, i."offset") AS detail
                  FROM pipeline.inbox i
                 WHERE i.event_day <> DATE '1970-01-01' AND i.settled_at < now() - make_interval(secs => $1)
                   AND NOT EXISTS (SELECT FROM pipeline.outbox_events o WHERE o.kind = 'event' AND o.event_id = i.event_id)
                 ORDER BY i.consumer, i.event_id LIMIT 20"#,
    },
    Check {
        name: "version-gap",
        says: "aggregates whose events are not numbered 1, 2, 3, …",
        what_to_do: "An event's row was deleted or written by hand. Restore it before consumers that rely on versions go on.",
        // Young aggregates are whole as well: their rows are written in one transaction.
        sql: r"SELECT count(*) OVER () AS total, NULL::text AS consumer, coalesce(e.aggregate_id, a.aggregate_id) AS id,
                      format('aggregate: %s events, versions %s to %s, aggregate row at %s',
                             coalesce(e.n, 0), coalesce(e.low::text, '-'), coalesce(e.high::text, '-'), coalesce(a.version::text, '-')) AS detail
                 FROM (SELECT aggregate_type, aggregate_id, count(*) AS n, min(aggregate_version) AS low, max(aggregate_version) AS high
                         FROM pipeline.outbox_events WHERE kind = 'event' GROUP BY aggregate_type, aggregate_id) e
                 FULL JOIN pipeline.aggregates a ON a.aggregate_type = e.aggregate_type AND a.aggregate_id = e.aggregate_id
                WHERE $1::float8 IS NOT NULL
                  AND (e.n IS NULL OR a.version IS NULL OR e.low <> 1 OR e.high <> e.n OR a.version <> e.high)
                ORDER BY id LIMIT 20",
    },
];

/// Over the temporary tables that `topic::load` filled.
pub const TOPICS: &[Check] = &[
    Check {
        name: "lost-record",
        says: "events marked as published that are not on their topic",
        what_to_do: "The broker lost an acknowledged record: set its published_at to NULL, and a relay publishes it again.",
        sql: r"SELECT count(*) OVER () AS total, NULL::text AS consumer, o.event_id AS id,
                      format('row %s, %s, published at %s', o.id, o.topic, date_trunc('second', o.published_at)) AS detail
                 FROM pipeline.outbox_events o
                 JOIN audit_topics t ON t.topic = o.topic
                WHERE o.kind = 'event' AND o.published_at > t.since AND o.created_at < now() - make_interval(secs => $1)
                  AND NOT EXISTS (SELECT FROM audit_records r WHERE r.event_id = o.event_id AND r.topic = o.topic)
                ORDER BY o.id LIMIT 20",
    },
    Check {
        name: "other-bytes",
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
        says: "events whose first record comes after the first record of a later version",
        what_to_do: "Two relays published one aggregate at once, or a record was resent alone: see the relays' logs of that time.",
        sql: r#"WITH firsts AS (
                    SELECT topic, partition, event_id, min("offset") AS at FROM audit_records GROUP BY topic, partition, event_id),
                placed AS (
                    SELECT f.topic, f.partition, f.at, o.event_id, o.aggregate_id, o.aggregate_version,
                           max(o.aggregate_version) OVER (PARTITION BY f.topic, f.partition, o.aggregate_type, o.aggregate_id ORDER BY f.at) AS highest
                      FROM firsts f
                      JOIN pipeline.outbox_events o ON o.kind = 'event' AND o.event_id = f.event_id AND o.topic = f.topic
                      JOIN audit_topics t ON t.topic = f.topic
                     WHERE o.published_at IS NULL OR o.published_at > t.since)
                SELECT count(*) OVER () AS total, NULL::text AS consumer, event_id AS id,
                       format('%s[%s]@%s: version %s of %s after version %s', topic, partition, at, aggregate_version, aggregate_id, highest) AS detail
                  FROM placed WHERE aggregate_version < highest AND $1::float8 IS NOT NULL
                 ORDER BY topic, partition, at LIMIT 20"#,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_have_distinct_names_and_name_as_many_offenders_as_promised() {
        let all: Vec<&Check> = LEDGER.iter().chain(TOPICS).collect();
        let names: std::collections::BTreeSet<&str> = all.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), all.len());
        assert!(all.iter().all(|check| check.sql.ends_with(&format!("LIMIT {OFFENDERS_MAX}"))));
    }
}
