use docfleet_outbox::Registry;
use serde::Serialize;
use sqlx::{FromRow, PgConnection, types::Json};
use uuid::Uuid;

use super::{
    attempt::{Attempt, attempts},
    filter::{Filter, from_letters, readable},
    letter::{Letter, letter_columns},
    payload::Payload,
};
use crate::{
    Config, Error,
    output::{self, Exit, Report, instant},
};

#[derive(Serialize)]
pub struct Shown {
    event_id: Uuid,
    letters: Vec<WholeLetter>,
}

#[derive(Serialize)]
struct WholeLetter {
    #[serde(flatten)]
    letter: Letter,
    attempts: Vec<Attempt>,
    /// UTF-8 where it is, else hex.
    key: Option<String>,
    headers: Vec<(String, String)>,
    payload: Option<Payload>,
}

#[derive(FromRow)]
struct Row {
    #[sqlx(flatten)]
    letter: Letter,
    key: Option<Vec<u8>>,
    headers: Json<Vec<(String, String)>>,
    payload: Option<Vec<u8>>,
}

pub async fn show(
    config: &Config,
    connection: &mut PgConnection,
    event_id: Uuid,
    consumer: Option<String>,
) -> Result<Shown, Error> {
    let filter = Filter { consumer, event_ids: vec![event_id], ..Filter::default() };
    let query = sqlx::query_as(concat!(
        "SELECT",
        letter_columns!(),
        ", o.key, o.headers, o.payload",
        from_letters!("dead"),
        "ORDER BY i.consumer"
    ));
    let rows: Vec<Row> = filter.bind(query).fetch_all(&mut *connection).await?;
    let registry = Registry::new(&config.registry)?;
    let mut letters = Vec::with_capacity(rows.len());
    for row in rows {
        let payload = match &row.payload {
            Some(bytes) => Some(Payload::read(&registry, bytes).await),
            None => None,
        };
        let attempts = attempts(&mut *connection, &row.letter.consumer, event_id).await?;
        let key = row.key.as_deref().map(readable);
        letters.push(WholeLetter { letter: row.letter, attempts, key, headers: row.headers.0, payload });
    }
    Ok(Shown { event_id, letters })
}

impl Report for Shown {
    fn text(&self) -> String {
        if self.letters.is_empty() {
            return format!(
                "{} is dead at no consumer. It may have been replayed (`docfleet dlq redrives`) or purged (`docfleet dlq restore --dry-run`).",
                self.event_id
            );
        }
        self.letters.iter().map(WholeLetter::text).collect::<Vec<_>>().join("\n\n")
    }

    fn exit(&self) -> Exit {
        if self.letters.is_empty() { Exit::Problem } else { Exit::Ok }
    }
}

impl WholeLetter {
    fn text(&self) -> String {
        let letter = &self.letter;
        let mut lines = vec![
            format!("event      {} ({})", letter.event_id, output::plain(&letter.event_type, 60)),
            format!("consumer   {}", letter.consumer),
            format!("reason     {} (attempt {})", output::plain(&letter.reason, 60), letter.attempt),
            format!("died at    {}, fingerprint {}", instant(letter.died_at), letter.fingerprint),
            format!("read at    {}[{}]@{}", letter.topic, letter.partition, letter.offset),
            format!("tenant     {}, region {}", output::plain(&letter.tenant, 64), output::plain(&letter.region, 64)),
            format!("copy       {}", if letter.published { "on the dead letter topic" } else { "not published yet" }),
            format!(
                "key        {}",
                self.key.as_deref().map_or_else(|| "none".to_owned(), |key| output::plain(key, 100))
            ),
            "attempts".to_owned(),
        ];
        lines.extend(self.attempts.iter().map(Attempt::text));
        lines.push("headers".to_owned());
        let header =
            |(name, value): &(String, String)| format!("  {}: {}", output::plain(name, 60), output::plain(value, 300));
        lines.extend(self.headers.iter().map(header));
        lines.push(self.payload.as_ref().map_or_else(|| "payload    none".to_owned(), Payload::text));
        lines.join("\n")
    }
}
