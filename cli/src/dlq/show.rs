use docfleet_outbox::Registry;
use serde::Serialize;
use sqlx::{FromRow, PgConnection, types::Json};
use uuid::Uuid;

use super::{
    filter::{Filter, from_dead_letters},
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
        from_dead_letters!(),
        "ORDER BY i.consumer"
    ));
    let rows: Vec<Row> = filter.bind(query).fetch_all(connection).await?;
    let registry = Registry::new(&config.registry)?;
    let mut letters = Vec::with_capacity(rows.len());
    for row in rows {
        let payload = match &row.payload {
            Some(bytes) => Some(Payload::read(&registry, bytes).await),
            None => None,
        };
        letters.push(WholeLetter { letter: row.letter, key: row.key.map(readable), headers: row.headers.0, payload });
    }
    Ok(Shown { event_id, letters })
}

fn readable(key: Vec<u8>) -> String {
    String::from_utf8(key).unwrap_or_else(|e| e.into_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Report for Shown {
    fn text(&self) -> String {
        if self.letters.is_empty() {
            return format!(
                "{} is dead at no consumer. It may have been replayed or purged: see `docfleet audit`.",
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
            format!("died at    {}", instant(letter.died_at)),
            format!("read at    {}[{}]@{}", letter.topic, letter.partition, letter.offset),
            format!("tenant     {}, region {}", output::plain(&letter.tenant, 64), output::plain(&letter.region, 64)),
            format!("copy       {}", if letter.published { "on the dead letter topic" } else { "not published yet" }),
            format!(
                "key        {}",
                self.key.as_deref().map_or_else(|| "none".to_owned(), |key| output::plain(key, 100))
            ),
            "headers".to_owned(),
        ];
        let header =
            |(name, value): &(String, String)| format!("  {}: {}", output::plain(name, 60), output::plain(value, 300));
        lines.extend(self.headers.iter().map(header));
        lines.push(self.payload.as_ref().map_or_else(|| "payload    none".to_owned(), Payload::text));
        lines.join("\n")
    }
}
