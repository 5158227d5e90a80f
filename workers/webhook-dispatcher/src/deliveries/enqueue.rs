use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::announcement::Announcement;

/// The `webhook-id` of an event at a subscription: UUIDv5 over the subscription's id, in the namespace of the event's.
/// The statement below makes the same; a test compares them.
pub fn delivery_id(event_id: Uuid, subscription_id: Uuid) -> Uuid {
    Uuid::new_v5(&event_id, subscription_id.to_string().as_bytes())
}

/// One delivery for each announcement and each subscription of its tenant that asks for its type, as they are now. What
/// is there already stays as it is. Returns how many are new.
pub async fn enqueue(
    connection: &mut PgConnection,
    announcements: &[&Announcement],
    first_wait: Duration,
) -> Result<u64, sqlx::Error> {
    let column = |of: fn(&Announcement) -> &str| announcements.iter().map(|a| of(a).to_owned()).collect::<Vec<_>>();
    // The lock is the one that the foreign key takes anyway; taken before, a deleted subscription that is just being
    // removed is left out instead of breaking the settlement. It does not wait for one that is just being deleted: what
    // is written for that is removed with it.
    let inserted = sqlx::query(
        r"INSERT INTO webhooks.deliveries (id, subscription_id, tenant, region, document_id, event_id, event_type, body,
                 traceparent, next_attempt_at)
          SELECT webhooks.uuid_generate_v5(a.event_id, s.id::text), s.id, a.tenant, a.region, a.document_id, a.event_id,
                 a.event_type, a.body, a.traceparent, clock_timestamp() + make_interval(secs => $8)
            FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[])
                 AS a (event_id, tenant, region, document_id, event_type, body, traceparent)
            JOIN webhooks.subscriptions s
              ON s.tenant = a.tenant AND s.deleted_at IS NULL
             AND (s.event_types = '{}' OR a.event_type = ANY (s.event_types))
           ORDER BY a.event_id, s.id
             FOR KEY SHARE OF s
          ON CONFLICT DO NOTHING",
    )
    .bind(announcements.iter().map(|a| a.event_id).collect::<Vec<_>>())
    .bind(column(|a| &a.tenant))
    .bind(column(|a| &a.region))
    .bind(announcements.iter().map(|a| a.document_id).collect::<Vec<_>>())
    .bind(column(|a| a.event_type))
    .bind(column(|a| &a.body))
    .bind(announcements.iter().map(|a| a.traceparent.clone()).collect::<Vec<_>>())
    .bind(first_wait.as_secs_f64())
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected())
}
