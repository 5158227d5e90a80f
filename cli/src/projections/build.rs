use std::time::Duration;

use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;

use super::follow;
use crate::Error;

#[derive(Debug, Clone, Serialize, FromRow)]
pub struct Build {
    pub id: i64,
    pub projection: String,
    pub state: String,
    pub wanted: Option<String>,
    pub compare_only: bool,
    pub events_per_second: Option<i32>,
    pub filled: bool,
    pub documents_total: i64,
    pub documents_done: i64,
    pub events_done: i64,
    /// Rows taken from the live view, as their first events are pruned.
    pub carried: i64,
    /// While it was filled.
    pub worked_seconds: f64,
    #[serde(with = "time::serde::rfc3339::option")]
    pub compared_at: Option<OffsetDateTime>,
    pub rows_compared: Option<i64>,
    pub rows_differing: Option<i64>,
    pub live_hash: Option<String>,
    pub standby_hash: Option<String>,
    pub differing: serde_json::Value,
    pub who: String,
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    pub problem: Option<String>,
    /// A projection-builder has its lease.
    pub is_worked_on: bool,
    /// Since it began, by the database's clock.
    pub elapsed_seconds: f64,
}

pub struct New<'a> {
    pub who: &'a str,
    pub events_per_second: Option<i32>,
    pub compare_only: bool,
    pub switch: bool,
}

macro_rules! builds {
    ($rest:literal) => {
        concat!(
            r"SELECT id, projection, state, wanted, compare_only, events_per_second, filled, documents_total, documents_done,
                     events_done, carried, worked_seconds, compared_at, rows_compared, rows_differing, live_hash, standby_hash,
                     differing, who, started_at, ended_at, problem, lease_until > clock_timestamp() AS is_worked_on,
                     extract(epoch FROM coalesce(ended_at, clock_timestamp()) - started_at)::float8 AS elapsed_seconds
                FROM pipeline.projection_builds ",
            $rest
        )
    };
}

pub async fn newest(connection: &mut PgConnection) -> Result<Vec<Build>, Error> {
    Ok(sqlx::query_as(builds!("ORDER BY id DESC LIMIT 20")).fetch_all(connection).await?)
}

pub async fn by_id(connection: &mut PgConnection, id: i64) -> Result<Build, Error> {
    Ok(sqlx::query_as(builds!("WHERE id = $1")).bind(id).fetch_one(connection).await?)
}

/// The one that has not ended.
pub async fn open(connection: &mut PgConnection, projection: &str) -> Result<Option<Build>, Error> {
    Ok(sqlx::query_as(builds!("WHERE projection = $1 AND ended_at IS NULL"))
        .bind(projection)
        .fetch_optional(connection)
        .await?)
}

/// Documents and events.
pub async fn extent(connection: &mut PgConnection) -> Result<(i64, i64), Error> {
    let extent = sqlx::query_as(
        r"SELECT (SELECT count(*) FROM pipeline.aggregates WHERE aggregate_type = 'document'),
                 (SELECT count(*) FROM pipeline.outbox_events WHERE kind = 'event' AND aggregate_type = 'document')",
    )
    .fetch_one(connection)
    .await?;
    Ok(extent)
}

pub async fn start(connection: &mut PgConnection, projection: &str, new: &New<'_>) -> Result<i64, Error> {
    let id: Option<i64> = sqlx::query_scalar(
        r"INSERT INTO pipeline.projection_builds (projection, who, events_per_second, compare_only, wanted)
          VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN 'switch' END)
          ON CONFLICT (projection) WHERE ended_at IS NULL DO NOTHING RETURNING id",
    )
    .bind(projection)
    .bind(new.who)
    .bind(new.events_per_second)
    .bind(new.compare_only)
    .bind(new.switch)
    .fetch_optional(connection)
    .await?;
    id.ok_or_else(|| {
        Error::Usage(format!(
            "a build of {projection} has not ended: see `docfleet projections list`, end it by `docfleet projections cancel {projection}`"
        ))
    })
}

pub async fn want(connection: &mut PgConnection, id: i64, wanted: &str) -> Result<(), Error> {
    sqlx::query("UPDATE pipeline.projection_builds SET wanted = $2 WHERE id = $1 AND ended_at IS NULL")
        .bind(id)
        .bind(wanted)
        .execute(connection)
        .await?;
    Ok(())
}

/// For the audit: compares the live view with one built anew, and waits for it.
pub async fn compare_now(connection: &mut PgConnection, timeout: Duration) -> Result<Build, Error> {
    let new = New { who: "audit", events_per_second: None, compare_only: true, switch: false };
    let id = start(connection, "document_view", &new).await?;
    follow::reached(connection, id, timeout, false, |build| build.ended_at.is_some()).await
}
