use serde::Serialize;
use sqlx::{FromRow, PgConnection, types::Json};
use time::OffsetDateTime;

use super::watch::{self, Counts};
use crate::{
    Error,
    output::{self, Exit, Report, grouped, instant},
};

#[derive(Serialize)]
pub struct History {
    /// The newest first.
    redrives: Vec<Redrive>,
    /// One was asked for by its number, and there is none.
    missing: Option<i64>,
}

#[derive(Serialize)]
struct Redrive {
    #[serde(flatten)]
    said: Said,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize, FromRow)]
struct Said {
    id: i64,
    state: String,
    stop_reason: Option<String>,
    who: String,
    why: String,
    chosen_by: Json<serde_json::Value>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    started_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    ended_at: Option<OffsetDateTime>,
    /// Running by its state, but nobody renews its lease: it can be resumed.
    orphaned: bool,
}

pub async fn history(connection: &mut PgConnection, one: Option<i64>, limit: i64) -> Result<History, Error> {
    let said: Vec<Said> = sqlx::query_as(
        r"SELECT id, state, stop_reason, who, why, chosen_by, created_at, started_at, ended_at,
                 state = 'running' AND lease_until < clock_timestamp() AS orphaned
            FROM pipeline.redrives WHERE $1::bigint IS NULL OR id = $1 ORDER BY id DESC LIMIT $2",
    )
    .bind(one)
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    let missing = one.filter(|_| said.is_empty());
    let mut redrives = Vec::with_capacity(said.len());
    for said in said {
        let mut counts = watch::counts(&mut *connection, said.id).await?;
        watch::watch(&mut *connection, said.id, &mut counts).await?;
        redrives.push(Redrive { said, counts });
    }
    Ok(History { redrives, missing })
}

impl Report for History {
    fn text(&self) -> String {
        if let Some(id) = self.missing {
            return format!("There is no redrive {id}; `docfleet dlq redrives` lists all.");
        }
        if self.redrives.is_empty() {
            return "No redrive was planned yet.".to_owned();
        }
        let header = ["nr", "state", "planned", "to send", "on their way", "worked", "died again", "who", "why"];
        let mut table = output::table(header);
        for Redrive { said, counts } in &self.redrives {
            let mut state = said.state.clone();
            if said.orphaned {
                state.push_str(" by nobody: resume it");
            } else if let Some(reason) = &said.stop_reason {
                state.push_str(&format!(" ({})", output::plain(reason, 60)));
            }
            table.add_row([
                said.id.to_string(),
                state,
                instant(said.created_at),
                grouped(counts.to_send),
                grouped(counts.on_their_way),
                grouped(counts.worked),
                grouped(counts.died_again),
                output::plain(&said.who, 30),
                output::plain(&said.why, 60),
            ]);
        }
        table.to_string()
    }

    fn exit(&self) -> Exit {
        if self.missing.is_some() { Exit::Problem } else { Exit::Ok }
    }
}
