//! Many dead letters at once, written as settlements leave them.

use sqlx::PgPool;

use crate::fleet::Fleet;

/// `count` letters at `consumer`: two tenants, two reasons, a key for every ten. Number `n` has the event id
/// `00000000-0000-7000-8000-{n}`, and they died in the order of their numbers.
pub async fn die(fleet: &Fleet, consumer: &str, count: i64) -> PgPool {
    let pool = fleet.database.pool();
    let letters = r#"
        WITH letters AS (
            SELECT n, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid AS event_id,
                   CASE WHEN n % 5 = 0 THEN 'engine-crashed' ELSE 'blob-gone' END AS reason,
                   CASE WHEN n % 2 = 0 THEN 'acme' ELSE 'umbrella' END AS tenant
              FROM generate_series(1, $2) AS n
        ), dead AS (
            INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, reason, attempt, topic, partition, "offset")
            SELECT $1, event_id, current_date, 'dead', reason, 3, 'documents', 0, n FROM letters
        )
        INSERT INTO pipeline.outbox_events
               (kind, event_id, event_type, consumer, attempt, shard, topic, key, headers, payload, tenant, region)
        SELECT 'dead_letter', event_id, 'DocumentUploaded', $1, 3, n % 64, $1 || '.dlq', convert_to('key-' || n / 10, 'UTF8'),
               jsonb_build_array(
                   jsonb_build_array('event_id', event_id),
                   jsonb_build_array('docfleet_attempt', '3'),
                   jsonb_build_array('docfleet_reason', reason),
                   jsonb_build_array('docfleet_error', format('%s: no answer of child %s for "file %s.pdf"', reason, n, n))),
               '\x00', tenant, 'local'
          FROM letters ORDER BY n"#;
    sqlx::query(letters).bind(consumer).bind(count).execute(&pool).await.unwrap();
    sqlx::raw_sql("DELETE FROM pipeline.outbox_unpublished; ANALYZE pipeline.outbox_events; ANALYZE pipeline.inbox")
        .execute(&pool)
        .await
        .unwrap();
    pool
}
