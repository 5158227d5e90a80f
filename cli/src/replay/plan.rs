//! Whether a consumer may be fed again, and how many events that is.

use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use super::{Emit, window::Fixed};
use crate::{
    Error,
    dlq::Decision,
    output::{Report, age, counted},
};

/// The events of a plan, `o`, with their outcomes at the consumer, `i`: `$1` is the consumer, `$2` to `$7` the window.
macro_rules! from_window {
    () => {
        r#" FROM pipeline.outbox_events o
            JOIN pipeline.subscriptions s ON s.consumer = $1 AND s.topic = o.topic
            LEFT JOIN pipeline.inbox i ON i.consumer = $1 AND i.event_id = o.event_id
           WHERE o.kind = 'event' AND o.created_at >= $2 AND o.created_at < $3 AND ($4::text IS NULL OR o.topic = $4)
             AND ($5::int IS NULL OR (i.topic = $4 AND i.partition = $5 AND i."offset" >= $6 AND i."offset" < $7)) "#
    };
}
pub(super) use from_window;

/// What a plan would do.
#[derive(Serialize)]
pub struct Plan {
    /// Its number; none of a dry run, or when there is nothing to do.
    pub replay: Option<i64>,
    consumer: String,
    version: String,
    emit: &'static str,
    /// What the consumer does again.
    effect: Option<String>,
    pub planned: i64,
    #[serde(flatten)]
    left_out: LeftOut,
    pub seconds_expected: f64,
}

/// Events of the window that are not fed again, by what the inbox says of them.
#[derive(Default, Serialize, FromRow)]
struct LeftOut {
    without_outcome: i64,
    waiting: i64,
    dead: i64,
    discarded: i64,
}

#[derive(FromRow)]
struct Counts {
    planned: i64,
    #[sqlx(flatten)]
    left_out: LeftOut,
}

/// # Errors
/// The consumer refuses, is not known, or has used the version.
pub async fn write(
    connection: &mut PgConnection,
    consumer: &str,
    version: &str,
    emit: Emit,
    window: &Fixed,
    decision: &Decision,
) -> Result<Plan, Error> {
    let effect = ask(connection, consumer, version, emit).await?;
    let (from_offset, to_offset) = window.offsets.unzip();
    let counts: Counts = sqlx::query_as(concat!(
        r"SELECT count(*) FILTER (WHERE i.outcome = 'done') AS planned, count(*) FILTER (WHERE i.outcome IS NULL) AS without_outcome,
                 count(*) FILTER (WHERE i.outcome IN ('retrying', 'parked')) AS waiting, count(*) FILTER (WHERE i.outcome = 'dead') AS dead,
                 count(*) FILTER (WHERE i.outcome IN ('discarded', 'skipped')) AS discarded",
        from_window!()
    ))
    .bind(consumer)
    .bind(window.from)
    .bind(window.to)
    .bind(&window.topic)
    .bind(window.partition)
    .bind(from_offset)
    .bind(to_offset)
    .fetch_one(&mut *connection)
    .await?;
    let replay: i64 = sqlx::query_scalar(
        r"INSERT INTO pipeline.replays (consumer, version, emits, who, why, from_time, to_time, topic, partition, from_offset, to_offset, planned)
          VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING id",
    )
    .bind(consumer)
    .bind(version)
    .bind(emit.as_str())
    .bind(&decision.who)
    .bind(&decision.why)
    .bind(window.from)
    .bind(window.to)
    .bind(&window.topic)
    .bind(window.partition)
    .bind(from_offset)
    .bind(to_offset)
    .bind(counts.planned)
    .fetch_one(connection)
    .await?;
    Ok(Plan {
        replay: Some(replay),
        consumer: consumer.to_owned(),
        version: version.to_owned(),
        emit: emit.as_str(),
        effect,
        planned: counts.planned,
        left_out: counts.left_out,
        seconds_expected: 0.0,
    })
}

/// What the consumer declared when it started last. Its program refuses as well, should another version of it run.
async fn ask(
    connection: &mut PgConnection,
    consumer: &str,
    version: &str,
    emit: Emit,
) -> Result<Option<String>, Error> {
    let declared: Option<(Option<String>, Option<String>, bool)> =
        sqlx::query_as("SELECT no_replay, effect, needs_events FROM pipeline.declarations WHERE consumer = $1")
            .bind(consumer)
            .fetch_optional(&mut *connection)
            .await?;
    let effect = match declared {
        None => {
            return Err(Error::Usage(format!(
                "{consumer} has not said whether it may be fed again: it does when it starts. Is the name right?"
            )));
        }
        Some((Some(why), ..)) => return Err(Error::Usage(format!("{consumer} can not be fed again: {why}"))),
        Some((None, effect, true)) if emit.as_str() == "none" => {
            let effect = effect.unwrap_or_default();
            return Err(Error::Usage(format!(
                "{consumer} needs --emit new, or others show what is not so any more: {effect}"
            )));
        }
        Some((None, effect, _)) => effect,
    };
    let used: Option<i64> = sqlx::query_scalar("SELECT id FROM pipeline.replays WHERE consumer = $1 AND version = $2")
        .bind(consumer)
        .bind(version)
        .fetch_optional(connection)
        .await?;
    match used {
        Some(id) => Err(Error::Usage(format!(
            "version {version} of {consumer} was used by replay {id}: go on with that by --resume {id}, or take another name"
        ))),
        None => Ok(effect),
    }
}

impl Report for Plan {
    fn text(&self) -> String {
        let whom = format!("{}@{}", self.consumer, self.version);
        let mut lines = vec![match (self.planned, self.emit) {
            (0, _) => format!("Nothing of this window was done by {}: nothing to feed again.", self.consumer),
            (planned, "new") => format!(
                "{} would be fed to {whom}, in {} or more. What follows becomes new events: all who read them work on them.",
                counted(planned, "event"),
                age(self.seconds_expected)
            ),
            (planned, _) => format!(
                "{} would be fed to {whom}, in {} or more. No events follow.",
                counted(planned, "event"),
                age(self.seconds_expected)
            ),
        }];
        lines.extend(self.effect.iter().map(|effect| format!("Of each once more: {effect}.")));
        let left_out = &self.left_out;
        for (count, what) in [
            (left_out.without_outcome, "have no outcome yet"),
            (left_out.waiting, "wait for a retry or behind their key"),
            (left_out.dead, "are dead: `docfleet dlq replay` sends them"),
            (left_out.discarded, "were given up"),
        ] {
            if count > 0 {
                lines.push(format!("Left out: {} that {what}.", counted(count, "event")));
            }
        }
        lines.join("\n")
    }
}
