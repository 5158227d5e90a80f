//! What waits in the database.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{FromRow, PgConnection, types::Json};
use uuid::Uuid;

use super::gate::Gate;
use crate::{
    Error,
    consumer::{RETRY_DELAYS, retry_topic},
};

/// Consumer and the topics it reads.
pub type Queues = BTreeMap<String, Vec<String>>;

pub struct Backlog {
    pub members: Vec<Member>,
    pub retries: Vec<Retries>,
    pub dead: Vec<Dead>,
    pub parked: Vec<Parked>,
    pub commands: Vec<Command>,
    pub outbox: Outbox,
    pub relays: Vec<Relay>,
    pub shards_unowned: i64,
}

/// A process of a consumer group.
#[derive(Serialize, FromRow)]
pub struct Member {
    pub consumer: String,
    pub member: Uuid,
    pub partitions: i32,
    /// Delivered and not settled.
    pub in_flight: i32,
    /// For something that is away.
    pub waits: bool,
    /// What its gate holds back, and why.
    pub gate: Json<Gate>,
    /// Since its last sign of life; it gives one every 3 s.
    pub seen_seconds: f64,
}

/// Messages that wait in retry topics.
#[derive(Serialize, FromRow)]
pub struct Retries {
    pub consumer: String,
    pub waiting: i64,
    /// Since the last failure of the one that waits longest.
    pub oldest_seconds: f64,
}

#[derive(Serialize, FromRow)]
pub struct Dead {
    pub consumer: String,
    pub reason: String,
    pub count: i64,
    pub newest_seconds: f64,
}

/// Keys of ordered consumers that wait with all that follows.
#[derive(Serialize, FromRow)]
pub struct Parked {
    pub consumer: String,
    pub keys: i64,
    pub messages: i64,
    pub oldest_seconds: f64,
}

/// An operator's command that is in force.
#[derive(Serialize, FromRow)]
pub struct Command {
    pub consumer: String,
    pub action: String,
    pub scope: String,
    pub issued_by: String,
    pub expires_seconds: f64,
}

#[derive(Serialize, FromRow)]
pub struct Outbox {
    pub unpublished: i64,
    pub oldest_seconds: f64,
}

#[derive(Serialize, FromRow)]
pub struct Relay {
    pub owner: Uuid,
    pub shards: i64,
    /// Of the lease that ends first; negative when it has ended.
    pub lease_seconds: f64,
    /// Since its last sign of life; absent when it has signed off.
    pub seen_seconds: Option<f64>,
}

/// Of every consumer that ever started: its events' topics, then its retry topics.
pub async fn queues(connection: &mut PgConnection, prefix: &str) -> Result<Queues, Error> {
    let subscriptions: Vec<(String, String)> =
        sqlx::query_as("SELECT consumer, topic FROM pipeline.subscriptions ORDER BY consumer, topic")
            .fetch_all(connection)
            .await?;
    let mut queues = Queues::new();
    for (consumer, topic) in subscriptions {
        queues.entry(consumer).or_default().push(topic);
    }
    for (consumer, topics) in &mut queues {
        topics.extend(RETRY_DELAYS.map(|delay| retry_topic(prefix, consumer, delay)));
    }
    Ok(queues)
}

pub async fn read(connection: &mut PgConnection) -> Result<Backlog, Error> {
    let members = sqlx::query_as(
        r"SELECT consumer, member, partitions, in_flight, waits, gate,
                 extract(epoch FROM clock_timestamp() - seen_at)::float8 AS seen_seconds
            FROM pipeline.consumer_members m ORDER BY consumer, started_at, member",
    )
    .fetch_all(&mut *connection)
    .await?;
    let retries = sqlx::query_as(
        r"SELECT consumer, count(*) AS waiting,
                 extract(epoch FROM clock_timestamp() - min(settled_at))::float8 AS oldest_seconds
            FROM pipeline.inbox WHERE outcome = 'retrying' GROUP BY consumer ORDER BY consumer",
    )
    .fetch_all(&mut *connection)
    .await?;
    let dead = sqlx::query_as(
        r"SELECT consumer, coalesce(reason, 'unknown') AS reason, count(*) AS count,
                 extract(epoch FROM clock_timestamp() - max(settled_at))::float8 AS newest_seconds
            FROM pipeline.inbox WHERE outcome = 'dead' GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2",
    )
    .fetch_all(&mut *connection)
    .await?;
    let outbox = sqlx::query_as(
        r"SELECT count(*) AS unpublished,
                 coalesce(extract(epoch FROM clock_timestamp() - min(created_at))::float8, 0) AS oldest_seconds
            FROM pipeline.outbox_unpublished",
    )
    .fetch_one(&mut *connection)
    .await?;
    let relays = sqlx::query_as(
        r"SELECT l.owner, count(*) AS shards,
                 extract(epoch FROM min(l.expires_at) - clock_timestamp())::float8 AS lease_seconds,
                 extract(epoch FROM clock_timestamp() - max(m.seen_at))::float8 AS seen_seconds
            FROM pipeline.relay_leases l LEFT JOIN pipeline.relay_members m USING (owner)
           WHERE l.owner IS NOT NULL AND l.expires_at > '-infinity' GROUP BY l.owner ORDER BY l.owner",
    )
    .fetch_all(&mut *connection)
    .await?;
    let shards_unowned = sqlx::query_scalar(
        "SELECT count(*) FROM pipeline.relay_leases WHERE owner IS NULL OR expires_at <= clock_timestamp()",
    )
    .fetch_one(&mut *connection)
    .await?;
    let (parked, commands) = (parked(&mut *connection).await?, commands(connection).await?);
    Ok(Backlog { members, retries, dead, parked, commands, outbox, relays, shards_unowned })
}

/// The tables of parked keys and of commands may come with a later migration than this program.
async fn is_there(connection: &mut PgConnection, table: &str) -> Result<bool, Error> {
    Ok(sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(table).fetch_one(connection).await?)
}

async fn parked(connection: &mut PgConnection) -> Result<Vec<Parked>, Error> {
    if !is_there(&mut *connection, "pipeline.parked_keys").await? {
        return Ok(Vec::new());
    }
    let parked = sqlx::query_as(
        r"SELECT consumer, count(*) AS keys, sum(messages)::bigint AS messages,
                 extract(epoch FROM clock_timestamp() - min(since))::float8 AS oldest_seconds
            FROM pipeline.parked_keys GROUP BY consumer ORDER BY consumer",
    )
    .fetch_all(connection)
    .await?;
    Ok(parked)
}

async fn commands(connection: &mut PgConnection) -> Result<Vec<Command>, Error> {
    if !is_there(&mut *connection, "pipeline.commands").await? {
        return Ok(Vec::new());
    }
    let commands = sqlx::query_as(
        r"SELECT consumer, action, scope, issued_by, extract(epoch FROM expires_at - clock_timestamp())::float8 AS expires_seconds
            FROM pipeline.commands WHERE ended_at IS NULL AND expires_at > clock_timestamp() ORDER BY consumer, id",
    )
    .fetch_all(connection)
    .await?;
    Ok(commands)
}
