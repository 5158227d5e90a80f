//! To give letters up, and to take that back while their bytes are there.

use serde::Serialize;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{
    action::{BATCH, Choice, Decision},
    filter::from_letters,
    letter::{Count, count_columns},
    list,
};
use crate::{
    Error,
    output::{Exit, Report, grouped},
};

/// What is to change, as it was found.
pub struct Found {
    pub total: i64,
    counts: Vec<Count>,
    not_found: Vec<Uuid>,
    /// The newest letter that was there: what dies meanwhile is not part of it.
    last_letter: i64,
}

#[derive(Serialize)]
pub struct Changed {
    action: &'static str,
    dry_run: bool,
    planned: i64,
    done: i64,
    groups: Vec<Count>,
    /// Named, but not there: nothing is done about them.
    not_dead: Vec<Uuid>,
}

macro_rules! change {
    ($from:literal, $to:literal, $action:literal) => {
        concat!(
            // A page by number, so that no step sorts all that is left; then locks as settlements take them.
            "WITH page AS MATERIALIZED (
                  SELECT o.id, i.consumer, i.event_id, i.event_day, i.attempt",
            from_letters!($from),
            "AND o.id > $9 AND o.id <= $10 ORDER BY o.id LIMIT $11),
              chosen AS (
                  SELECT i.consumer, i.event_id, i.event_day
                    FROM page p
                    JOIN pipeline.inbox i ON i.consumer = p.consumer AND i.event_id = p.event_id AND i.event_day = p.event_day
                   WHERE i.outcome = '",
            $from,
            "' AND i.attempt = p.attempt ORDER BY i.event_id, i.consumer FOR UPDATE OF i),
              changed AS (
                  UPDATE pipeline.inbox i SET outcome = '",
            $to,
            "', settled_at = clock_timestamp()
                    FROM chosen c
                   WHERE i.consumer = c.consumer AND i.event_id = c.event_id AND i.event_day = c.event_day
               RETURNING i.consumer, i.event_id),
              recorded AS (
                  INSERT INTO pipeline.operator_actions (who, action, consumer, event_id, why)
                  SELECT $12, '",
            $action,
            "', consumer, event_id, $13 FROM changed ORDER BY event_id, consumer
               RETURNING 1)
              SELECT (SELECT count(*) FROM recorded), (SELECT max(id) FROM page)"
        )
    };
}

macro_rules! last_letter {
    ($from:literal) => {
        concat!("SELECT coalesce(max(o.id), 0)", from_letters!($from))
    };
}

pub async fn dead(connection: &mut PgConnection, choice: &Choice) -> Result<Found, Error> {
    let counts = list::counts(&mut *connection, &choice.filter).await?;
    let not_found = choice.not_dead(&mut *connection).await?;
    found(connection, choice, counts, not_found, last_letter!("dead")).await
}

pub async fn purged(connection: &mut PgConnection, choice: &Choice) -> Result<Found, Error> {
    let query = sqlx::query_as(concat!(
        "SELECT",
        count_columns!(),
        from_letters!("discarded"),
        "GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2"
    ));
    let counts = choice.filter.bind(query).fetch_all(&mut *connection).await?;
    found(connection, choice, counts, Vec::new(), last_letter!("discarded")).await
}

async fn found(
    connection: &mut PgConnection,
    choice: &Choice,
    counts: Vec<Count>,
    not_found: Vec<Uuid>,
    last_letter: &'static str,
) -> Result<Found, Error> {
    let (last_letter,): (i64,) = choice.filter.bind(sqlx::query_as(last_letter)).fetch_one(connection).await?;
    Ok(Found { total: counts.iter().map(|group| group.count).sum(), counts, not_found, last_letter })
}

/// Marks letters as discarded: a last word, on record with who said it and why. No row is deleted.
pub async fn purge(
    connection: &mut PgConnection,
    choice: &Choice,
    decision: &Decision,
    found: &Found,
) -> Result<i64, Error> {
    change(connection, choice, decision, found, change!("dead", "discarded", "purge")).await
}

/// Makes purged letters dead again.
pub async fn restore(
    connection: &mut PgConnection,
    choice: &Choice,
    decision: &Decision,
    found: &Found,
) -> Result<i64, Error> {
    change(connection, choice, decision, found, change!("discarded", "dead", "restore")).await
}

async fn change(
    connection: &mut PgConnection,
    choice: &Choice,
    decision: &Decision,
    found: &Found,
    statement: &'static str,
) -> Result<i64, Error> {
    let (mut changed, mut after) = (0, 0);
    loop {
        let mut transaction = connection.begin().await?;
        let query = choice.filter.bind(sqlx::query_as(statement)).bind(after).bind(found.last_letter).bind(BATCH);
        let (count, last): (i64, Option<i64>) =
            query.bind(decision.who.clone()).bind(decision.why.clone()).fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        let Some(last) = last else { return Ok(changed) };
        changed += count;
        after = last;
    }
}

impl Found {
    /// `done`: what became of it; nothing for a dry run.
    pub fn into_report(self, action: &'static str, done: Option<i64>) -> Changed {
        Changed {
            action,
            dry_run: done.is_none(),
            planned: self.total,
            done: done.unwrap_or(0),
            groups: self.counts,
            not_dead: self.not_found,
        }
    }
}

impl Report for Changed {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        if self.planned == 0 {
            lines.push("No letter matches.".to_owned());
        } else {
            lines.push(list::counts_table(&self.groups));
            let count = if self.dry_run { self.planned } else { self.done };
            lines.push(format!("{} {}.", grouped(count), self.action));
            if !self.dry_run && self.done < self.planned {
                lines.push(format!("{} had been taken by somebody else meanwhile.", grouped(self.planned - self.done)));
            }
        }
        lines.extend(self.not_dead.iter().map(|id| format!("{id} is not dead: nothing was done about it.")));
        lines.join("\n")
    }

    fn exit(&self) -> Exit {
        if self.not_dead.is_empty() { Exit::Ok } else { Exit::Problem }
    }
}
