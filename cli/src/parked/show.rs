use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    OneKey,
    list::{KeyFilter, ParkedKey, page},
};
use crate::{
    Error,
    dlq::filter::readable,
    output::{self, Exit, Report, grouped, instant},
};

#[derive(Serialize)]
pub struct Shown {
    key: Option<ParkedKey>,
    /// In the order in which they are worked on.
    messages: Vec<Waiting>,
}

#[derive(Serialize, FromRow)]
struct Waiting {
    event_id: Uuid,
    event_type: String,
    tenant: String,
    size_bytes: i64,
    topic: String,
    partition: i32,
    offset: i64,
    #[serde(with = "time::serde::rfc3339")]
    parked_at: OffsetDateTime,
}

pub async fn show(connection: &mut PgConnection, one: &OneKey, limit: i64) -> Result<Shown, Error> {
    let filter = KeyFilter { consumer: Some(one.consumer.clone()), key: Some(one.key.clone()), reason: None };
    let key = page(&mut *connection, &filter, None, 1).await?.pop();
    let messages = sqlx::query_as(
        r#"SELECT event_id, event_type, tenant, coalesce(octet_length(payload), 0)::bigint AS size_bytes, topic, partition, "offset", parked_at
             FROM pipeline.parked_messages WHERE consumer = $1 AND key = $2 ORDER BY seq LIMIT $3"#,
    )
    .bind(&one.consumer)
    .bind(&one.key.0)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(Shown { key, messages })
}

impl Report for Shown {
    fn text(&self) -> String {
        let Some(key) = &self.key else {
            return "This key is not parked; see `docfleet parked list`.".to_owned();
        };
        let mut table = output::table(["event", "type", "tenant", "bytes", "read at", "parked"]);
        for message in &self.messages {
            table.add_row([
                message.event_id.to_string(),
                output::plain(&message.event_type, 40),
                output::plain(&message.tenant, 40),
                grouped(message.size_bytes),
                format!("{}[{}]@{}", message.topic, message.partition, message.offset),
                instant(message.parked_at),
            ]);
        }
        let lines = [
            format!("key        {} at {}", output::plain(&readable(&key.bytes), 200), key.consumer),
            format!("state      {}, {} attempts, next at {}", key.state, key.attempts, instant(key.next_try_at)),
            format!("reason     {}: {}", output::plain(&key.reason, 60), output::plain(&key.detail, 300)),
            format!("since      {}", instant(key.since)),
            format!("head       {}", key.head),
            format!("waiting    {}", grouped(key.messages)),
            table.to_string(),
        ];
        lines.join("\n")
    }

    fn exit(&self) -> Exit {
        if self.key.is_some() { Exit::Ok } else { Exit::Problem }
    }
}
