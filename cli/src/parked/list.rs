use clap::Args;
use comfy_table::{Cell, CellAlignment};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    Error,
    dlq::filter::{Key, parse_key, readable},
    output::{self, Report, grouped, instant},
};

#[derive(Args, Clone, Default)]
pub struct KeyFilter {
    /// Only those of this consumer
    #[arg(long, value_name = "NAME")]
    pub consumer: Option<String>,
    /// Only those that wait because of this
    #[arg(long, value_name = "REASON")]
    pub reason: Option<String>,
    /// Only this key; bytes as 0x…
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    pub key: Option<Key>,
}

#[derive(Serialize)]
pub struct Keys {
    total: i64,
    messages: i64,
    keys: Vec<ParkedKey>,
    /// For `--after`, when there are more.
    next: Option<String>,
}

#[derive(Serialize, FromRow)]
pub struct ParkedKey {
    pub consumer: String,
    #[sqlx(rename = "key")]
    #[serde(rename = "key", serialize_with = "as_key")]
    pub bytes: Vec<u8>,
    /// `retrying`: its head is tried again; `held`: its head is dead and an operator decides; `burying`: all of it is
    /// becoming dead letters.
    pub state: String,
    pub reason: String,
    pub detail: String,
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// The message that failed.
    pub head: Uuid,
    pub attempts: i32,
    #[serde(with = "time::serde::rfc3339")]
    pub next_try_at: OffsetDateTime,
    /// All that wait, the head included unless it is dead.
    pub messages: i64,
    /// Somebody works on it now.
    pub leased: bool,
}

fn as_key<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&readable(bytes))
}

/// `CONSUMER:KEY`; a consumer's name has no colon.
pub fn parse_after(text: &str) -> Result<(String, Key), String> {
    let (consumer, key) = text.split_once(':').ok_or("like `next` of a page: CONSUMER:KEY")?;
    Ok((consumer.to_owned(), parse_key(key)?))
}

pub async fn page(
    connection: &mut PgConnection,
    filter: &KeyFilter,
    after: Option<&(String, Key)>,
    limit: i64,
) -> Result<Vec<ParkedKey>, Error> {
    let page = sqlx::query_as(
        r"SELECT consumer, key, state, reason, detail, since, event_id AS head, attempts, next_try_at, messages,
                 lease_until > clock_timestamp() AS leased
            FROM pipeline.parked_keys
           WHERE ($1::text IS NULL OR consumer = $1) AND ($2::text IS NULL OR reason = $2) AND ($3::bytea IS NULL OR key = $3)
             AND ($4::text IS NULL OR (consumer, key) > ($4, $5::bytea))
           ORDER BY consumer, key LIMIT $6",
    );
    let page = page.bind(&filter.consumer).bind(&filter.reason).bind(filter.key.as_ref().map(|key| key.0.as_slice()));
    let page = page.bind(after.map(|(consumer, _)| consumer)).bind(after.map(|(_, key)| key.0.as_slice())).bind(limit);
    Ok(page.fetch_all(connection).await?)
}

pub async fn list(
    connection: &mut PgConnection,
    filter: &KeyFilter,
    after: Option<&(String, Key)>,
    limit: i64,
) -> Result<Keys, Error> {
    let (total, messages): (i64, i64) = sqlx::query_as(
        r"SELECT count(*), coalesce(sum(messages), 0)::bigint FROM pipeline.parked_keys
           WHERE ($1::text IS NULL OR consumer = $1) AND ($2::text IS NULL OR reason = $2) AND ($3::bytea IS NULL OR key = $3)",
    )
    .bind(&filter.consumer)
    .bind(&filter.reason)
    .bind(filter.key.as_ref().map(|key| key.0.as_slice()))
    .fetch_one(&mut *connection)
    .await?;
    let keys = page(connection, filter, after, limit).await?;
    let full = i64::try_from(keys.len()).is_ok_and(|found| found == limit);
    let next = keys.last().filter(|_| full).map(|key| format!("{}:{}", key.consumer, readable(&key.bytes)));
    Ok(Keys { total, messages, keys, next })
}

impl Report for Keys {
    fn text(&self) -> String {
        if self.total == 0 {
            return "No key is parked.".to_owned();
        }
        let header = ["consumer", "key", "state", "reason", "since", "messages", "attempts", "next try", "head"];
        let mut table = output::table(header);
        for key in &self.keys {
            let next = match key.state.as_str() {
                "held" => "when you decide".to_owned(),
                _ if key.leased => "now".to_owned(),
                _ => instant(key.next_try_at),
            };
            table.add_row([
                Cell::new(&key.consumer),
                Cell::new(output::plain(&readable(&key.bytes), 60)),
                Cell::new(&key.state),
                Cell::new(output::plain(&key.reason, 60)),
                Cell::new(instant(key.since)),
                Cell::new(grouped(key.messages)).set_alignment(CellAlignment::Right),
                Cell::new(key.attempts).set_alignment(CellAlignment::Right),
                Cell::new(next),
                Cell::new(key.head),
            ]);
        }
        let mut text = format!(
            "{} with {}.\n\n{table}",
            output::counted(self.total, "parked key"),
            output::counted(self.messages, "message")
        );
        if let Some(next) = &self.next {
            text.push_str(&format!("\nThe next ones by --after {next}."));
        }
        text
    }
}
