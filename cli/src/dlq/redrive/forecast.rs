//! What is known about a plan before anything is done.

use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::pace::Rate;
use crate::{
    Error,
    output::{self, Exit, Report, age, counted, grouped},
};

/// Letters shown of a plan.
const FIRST: i64 = 20;

/// What a plan says. Also of one that was rolled back.
#[derive(Serialize)]
pub struct Forecast {
    /// Nothing in a dry run.
    pub redrive: Option<i64>,
    dry_run: bool,
    pub planned: i64,
    /// By the loop guard.
    left_out: i64,
    replays_max: Option<i64>,
    groups: Vec<Group>,
    /// The same events at other consumers: these effects are done, and a replay does not touch them.
    done_elsewhere: Vec<Done>,
    /// Letters of undecodable bytes whose event this consumer has done by now: it will drop them.
    done_already: i64,
    first: Vec<Planned>,
    rate_per_second: f64,
    seconds_expected: f64,
    /// Named, but not dead: nothing is done about them.
    pub not_dead: Vec<Uuid>,
}

#[derive(Serialize, FromRow)]
struct Group {
    consumer: String,
    reason: String,
    tenant: String,
    count: i64,
    keys: i64,
}

#[derive(Serialize, FromRow)]
struct Done {
    consumer: String,
    count: i64,
}

#[derive(Serialize, FromRow)]
struct Planned {
    position: i64,
    consumer: String,
    event_id: Uuid,
    reason: String,
    attempt: i32,
}

/// What there is to say about a plan that was written.
pub async fn describe(
    connection: &mut PgConnection,
    redrive: i64,
    replays_max: Option<i64>,
    rate: Rate,
) -> Result<Forecast, Error> {
    let groups: Vec<Group> = sqlx::query_as(
        r"SELECT t.consumer, t.reason, o.tenant, count(*) AS count, count(DISTINCT o.key) AS keys
            FROM pipeline.redrive_items t
            JOIN pipeline.outbox_events o ON o.id = t.letter AND o.created_at = t.letter_at
           WHERE t.redrive_id = $1 AND t.state = 'planned'
           GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3",
    )
    .bind(redrive)
    .fetch_all(&mut *connection)
    .await?;
    let left_out: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pipeline.redrive_items WHERE redrive_id = $1 AND state = 'left_out'")
            .bind(redrive)
            .fetch_one(&mut *connection)
            .await?;
    let first = sqlx::query_as(
        r"SELECT position, consumer, event_id, reason, attempt FROM pipeline.redrive_items
           WHERE redrive_id = $1 AND state = 'planned' ORDER BY position LIMIT $2",
    )
    .bind(redrive)
    .bind(FIRST)
    .fetch_all(&mut *connection)
    .await?;
    let done_elsewhere = done_elsewhere(&mut *connection, redrive).await?;
    let done_already = done_already(connection, redrive).await?;
    let planned = groups.iter().map(|group| group.count).sum();
    Ok(Forecast {
        redrive: Some(redrive),
        dry_run: false,
        planned,
        left_out,
        replays_max,
        groups,
        done_elsewhere,
        done_already,
        first,
        rate_per_second: rate.0,
        seconds_expected: rate.seconds_for(planned),
        not_dead: Vec::new(),
    })
}

async fn done_elsewhere(connection: &mut PgConnection, redrive: i64) -> Result<Vec<Done>, Error> {
    let done = sqlx::query_as(
        r"SELECT i.consumer, count(*) AS count
            FROM pipeline.redrive_items t
            JOIN (SELECT DISTINCT consumer FROM pipeline.subscriptions) s ON s.consumer <> t.consumer
            JOIN pipeline.inbox i ON i.consumer = s.consumer AND i.event_id = t.event_id AND i.event_day = t.event_day
           WHERE t.redrive_id = $1 AND t.state = 'planned' AND i.outcome = 'done'
           GROUP BY 1 ORDER BY 1",
    );
    Ok(done.bind(redrive).fetch_all(connection).await?)
}

/// A message that could not be decoded stands under the id of its place. Its header names the event, by a stranger's word.
async fn done_already(connection: &mut PgConnection, redrive: i64) -> Result<i64, Error> {
    let done = sqlx::query_scalar(
        r"SELECT count(*)
            FROM pipeline.redrive_items t
            JOIN pipeline.outbox_events o ON o.id = t.letter AND o.created_at = t.letter_at
           CROSS JOIN LATERAL (
                 SELECT CASE WHEN header ->> 1 ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN (header ->> 1)::uuid END AS event_id
                   FROM jsonb_array_elements(o.headers) AS header WHERE header ->> 0 = 'event_id' LIMIT 1) named
           WHERE t.redrive_id = $1 AND t.state = 'planned' AND t.event_day = DATE '1970-01-01'
             AND EXISTS (SELECT FROM pipeline.inbox i
                          WHERE i.consumer = t.consumer AND i.event_id = named.event_id AND i.outcome = 'done')",
    );
    Ok(done.bind(redrive).fetch_one(connection).await?)
}

impl Forecast {
    /// Of a plan that was not kept.
    pub fn dry(self) -> Self {
        Self { redrive: None, dry_run: true, ..self }
    }
}

impl Report for Forecast {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        if self.planned == 0 {
            lines.push("No dead letter matches.".to_owned());
        } else {
            let mut table = output::table(["consumer", "reason", "tenant", "letters", "keys"]);
            for group in &self.groups {
                table.add_row([
                    group.consumer.clone(),
                    output::plain(&group.reason, 60),
                    output::plain(&group.tenant, 40),
                    grouped(group.count),
                    grouped(group.keys),
                ]);
            }
            lines.push(format!("{table}\n"));
            let mut table = output::table(["order", "event", "consumer", "reason", "attempt"]);
            for letter in &self.first {
                table.add_row([
                    letter.position.to_string(),
                    letter.event_id.to_string(),
                    letter.consumer.clone(),
                    output::plain(&letter.reason, 60),
                    letter.attempt.to_string(),
                ]);
            }
            lines.push(format!("{table}\n"));
            lines.push(format!(
                "{} would be sent in the order of their events, at {} a second: {} and a canary at each consumer.",
                counted(self.planned, "letter"),
                self.rate_per_second,
                age(self.seconds_expected)
            ));
        }
        for done in &self.done_elsewhere {
            let count = grouped(done.count);
            lines.push(format!("{count} of these events are done at {}: it is not asked again.", done.consumer));
        }
        if self.done_already > 0 {
            let count = grouped(self.done_already);
            lines.push(format!("{count} were done by their consumer under the event's own id: it will drop them."));
        }
        if self.left_out > 0 {
            let times = self.replays_max.unwrap_or(0);
            lines.push(format!(
                "{} left out: sent {times} times before and dead again. Mend the cause; --force takes them along.",
                counted(self.left_out, "letter")
            ));
        }
        if let Some(redrive) = self.redrive {
            lines.push(format!("Apply it by `docfleet dlq replay --resume {redrive}`."));
        }
        lines.extend(self.not_dead.iter().map(|id| format!("{id} is not dead: nothing is done about it.")));
        lines.join("\n")
    }

    fn exit(&self) -> Exit {
        if self.not_dead.is_empty() { Exit::Ok } else { Exit::Problem }
    }
}
