use std::time::{Duration, Instant};

use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use crate::{
    Error,
    output::{self, counted},
};

/// Replicas renew their rows every 3 s; who did not for three times is gone, and what it held with it.
macro_rules! live {
    () => {
        "seen_at > clock_timestamp() - interval '10 seconds'"
    };
}
pub(super) use live;

const EVERY: Duration = Duration::from_millis(500);

/// How many replicas of a consumer live.
pub async fn members(connection: &mut PgConnection, consumer: &str) -> Result<i64, Error> {
    let count = concat!("SELECT count(*) FROM pipeline.consumer_members WHERE consumer = $1 AND ", live!());
    Ok(sqlx::query_scalar(count).bind(consumer).fetch_one(connection).await?)
}

/// How far drains are.
#[derive(Debug, Serialize, FromRow)]
pub struct Drained {
    pub drained: bool,
    /// Live replicas, and those of them that have said that they obey.
    members: i64,
    obeyed_by: i64,
    /// Started before, and not finished.
    in_flight: i64,
    #[sqlx(skip)]
    waited_seconds: f64,
}

/// Waits until nothing is at work of what was before the drains, in all live replicas.
pub async fn until_drained(connection: &mut PgConnection, ids: &[i64], patience: Duration) -> Result<Drained, Error> {
    let started = Instant::now();
    // A replica's word counts only when it was given after the command: its row names the command then.
    loop {
        let mut state: Drained = sqlx::query_as(concat!(
            r"SELECT coalesce(bool_and((m.gate #>> ARRAY['commands', c.id::text])::bigint = 0) FILTER (WHERE m.member IS NOT NULL), true)
                     AND count(m.member) = count(m.gate #>> ARRAY['commands', c.id::text]) AS drained,
                     count(m.member) AS members, count(m.gate #>> ARRAY['commands', c.id::text]) AS obeyed_by,
                     coalesce(sum((m.gate #>> ARRAY['commands', c.id::text])::bigint), 0)::bigint AS in_flight
                FROM pipeline.commands c LEFT JOIN pipeline.consumer_members m ON m.consumer = c.consumer AND m.",
            live!(),
            " WHERE c.id = ANY ($1)"
        ))
        .bind(ids)
        .fetch_one(&mut *connection)
        .await?;
        state.waited_seconds = started.elapsed().as_secs_f64();
        if state.drained || started.elapsed() >= patience {
            if output::stderr_is_terminal() {
                output::progress("");
            }
            return Ok(state);
        }
        if output::stderr_is_terminal() {
            output::progress(&state.text());
        }
        tokio::time::sleep(EVERY).await;
    }
}

impl Drained {
    pub fn text(&self) -> String {
        let waited = output::age(self.waited_seconds);
        if self.drained {
            return format!("Drained, after {waited}: nothing of it is at work.");
        }
        let replicas = counted(self.members, "replica");
        let at_work = counted(self.in_flight, "message");
        format!("Not drained after {waited}: {} of {replicas} obey, {at_work} at work.", self.obeyed_by)
    }
}
