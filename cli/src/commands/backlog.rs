use sqlx::{Connection, PgConnection};

use super::target::Scope;
use crate::Error;

/// How many events that wait for this consumer are selected: in the outbox, younger than the topics' retention, without an
/// outcome or on their way through a retry. None when that can not be told: by partition or payload field, which the
/// outbox has not as columns, and when counting takes too long. What others wrote to the topics is never in it.
pub async fn matching(connection: &mut PgConnection, consumer: &str, scope: &Scope) -> Result<Option<i64>, Error> {
    let (mut topic, mut tenant, mut key, mut header) = (None, None, None, None);
    match scope {
        Scope::All => {}
        Scope::Topic(name) => topic = Some(name.as_str()),
        Scope::Tenant(name) => tenant = Some(name.as_str()),
        Scope::Key(bytes) => key = Some(bytes.as_slice()),
        Scope::Header(name, value) => header = Some((name.as_str(), value.as_str())),
        Scope::Partition(..) | Scope::Field(..) => return Ok(None),
    }
    let mut transaction = connection.begin().await?;
    sqlx::query("SET LOCAL statement_timeout = '5s'").execute(&mut *transaction).await?;
    let counted = sqlx::query_scalar(
        r"SELECT count(*) FROM pipeline.outbox_events o
            JOIN pipeline.subscriptions s ON s.topic = o.topic AND s.consumer = $1
            LEFT JOIN pipeline.inbox i ON i.consumer = $1 AND i.event_id = o.event_id
           WHERE o.kind = 'event' AND o.created_at > now() - interval '7 days'
             AND (i.event_id IS NULL OR i.outcome = 'retrying')
             AND ($2::text IS NULL OR o.topic = $2)
             AND ($3::text IS NULL OR o.tenant = $3)
             AND ($4::bytea IS NULL OR o.key = $4)
             AND ($5::text IS NULL OR EXISTS (
                     SELECT FROM jsonb_array_elements(o.headers) h WHERE h ->> 0 = $5 AND h ->> 1 = $6))",
    )
    .bind(consumer)
    .bind(topic)
    .bind(tenant)
    .bind(key)
    .bind(header.map(|(name, _)| name))
    .bind(header.map(|(_, value)| value))
    .fetch_one(&mut *transaction)
    .await;
    match counted {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.as_database_error().and_then(|e| e.code()).as_deref() == Some("57014") => Ok(None),
        Err(error) => Err(error.into()),
    }
}
