//! `docfleet leases`: who owns which shard of the outbox and since when, and what waits behind each; leases of parked keys.

use clap::Args;
use comfy_table::{Cell, CellAlignment};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::{
    Config, Error,
    output::{self, Exit, Report, age, grouped},
    servers,
};

const EXAMPLES: &str = "\
Examples:
  docfleet leases                  # shards with rows that wait, and those without an owner; the rest as a sum
  docfleet leases --all            # each of the 64
  docfleet leases --json | jq '.shards[] | select(.is_held | not)'

Exit code 1 when rows wait in a shard that nobody holds.";

/// Shown of the keys that are held.
const KEYS_MAX: i64 = 50;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct LeasesArgs {
    /// Every shard
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
pub struct Leases {
    shards: Vec<Shard>,
    relays: Vec<Relay>,
    /// Absent where this database has no parked keys.
    parked_keys: Option<Vec<ParkedKey>>,
    #[serde(skip)]
    all: bool,
}

#[derive(Serialize, FromRow)]
struct Shard {
    shard: i16,
    owner: Option<Uuid>,
    /// Rises with each change of owner.
    epoch: i64,
    is_held: bool,
    /// Until the lease ends; absent when nobody ever had it.
    expires_seconds: Option<f64>,
    unpublished: i64,
    /// Of the oldest row that waits.
    oldest_seconds: Option<f64>,
}

#[derive(Serialize, FromRow)]
struct Relay {
    owner: Uuid,
    shards: i64,
    /// Since its last sign of life.
    seen_seconds: f64,
}

#[derive(Serialize, FromRow)]
struct ParkedKey {
    consumer: String,
    /// As hexadecimal digits: a key may be anything.
    key: String,
    owner: Option<Uuid>,
    epoch: i64,
    is_held: bool,
    parked_seconds: f64,
}

pub async fn run(config: &Config, args: &LeasesArgs, json: bool) -> Result<Exit, Error> {
    let mut connection = servers::postgres(config).await?;
    let leases = read(&mut connection, args.all).await?;
    output::show(&leases, json)
}

async fn read(connection: &mut PgConnection, all: bool) -> Result<Leases, Error> {
    let shards = sqlx::query_as(
        r"WITH waiting AS (
              SELECT shard, count(*) AS rows, min(created_at) AS oldest
                FROM pipeline.outbox_unpublished GROUP BY shard)
          SELECT l.shard, l.owner, l.epoch, l.owner IS NOT NULL AND l.expires_at > clock_timestamp() AS is_held,
                 CASE WHEN l.expires_at > '-infinity' THEN extract(epoch FROM l.expires_at - clock_timestamp())::float8 END AS expires_seconds,
                 coalesce(w.rows, 0) AS unpublished,
                 extract(epoch FROM clock_timestamp() - w.oldest)::float8 AS oldest_seconds
            FROM pipeline.relay_leases l LEFT JOIN waiting w ON w.shard = l.shard ORDER BY l.shard",
    )
    .fetch_all(&mut *connection)
    .await?;
    let relays = sqlx::query_as(
        r"SELECT m.owner, count(l.shard) AS shards, extract(epoch FROM clock_timestamp() - m.seen_at)::float8 AS seen_seconds
            FROM pipeline.relay_members m
            LEFT JOIN pipeline.relay_leases l ON l.owner = m.owner AND l.expires_at > clock_timestamp()
           GROUP BY m.owner, m.seen_at ORDER BY m.owner",
    )
    .fetch_all(&mut *connection)
    .await?;
    let parked_keys = parked_keys(connection).await?;
    Ok(Leases { shards, relays, parked_keys, all })
}

/// The tables of parked keys came with a later migration than the relays' leases.
async fn parked_keys(connection: &mut PgConnection) -> Result<Option<Vec<ParkedKey>>, Error> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('pipeline.parked_keys') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(None);
    }
    let keys = sqlx::query_as(
        r"SELECT consumer, encode(key, 'hex') AS key, lease_owner AS owner, coalesce(lease_epoch, 0)::bigint AS epoch,
                 coalesce(lease_until > clock_timestamp(), false) AS is_held,
                 extract(epoch FROM clock_timestamp() - since)::float8 AS parked_seconds
            FROM pipeline.parked_keys ORDER BY since LIMIT $1",
    )
    .bind(KEYS_MAX)
    .fetch_all(connection)
    .await?;
    Ok(Some(keys))
}

impl Report for Leases {
    fn text(&self) -> String {
        let mut parts = vec![self.relays_text(), self.shards_text()];
        parts.extend(self.parked_keys.as_ref().filter(|keys| !keys.is_empty()).map(|keys| keys_text(keys)));
        parts.join("\n\n")
    }

    fn exit(&self) -> Exit {
        let forsaken = self.shards.iter().any(|shard| !shard.is_held && shard.unpublished > 0);
        if forsaken { Exit::Problem } else { Exit::Ok }
    }
}

impl Leases {
    fn relays_text(&self) -> String {
        if self.relays.is_empty() {
            return "No relay is running. Rows of the outbox wait.".to_owned();
        }
        let mut table = output::table(["relay", "shards", "seen"]);
        for relay in &self.relays {
            let seen = format!("{} ago", age(relay.seen_seconds));
            table.add_row([Cell::new(output::short(relay.owner)), right(grouped(relay.shards)), right(seen)]);
        }
        table.to_string()
    }

    fn shards_text(&self) -> String {
        let (shown, rest): (Vec<_>, Vec<_>) =
            self.shards.iter().partition(|shard| self.all || !shard.is_held || shard.unpublished > 0);
        let mut parts = Vec::new();
        if !shown.is_empty() {
            let mut table = output::table(["shard", "owner", "epoch", "lease", "waiting", "oldest"]);
            for shard in shown {
                table.add_row([
                    right(shard.shard.to_string()),
                    Cell::new(shard.owner.map_or_else(|| "-".to_owned(), output::short)),
                    right(grouped(shard.epoch)),
                    Cell::new(lease(shard)),
                    right(grouped(shard.unpublished)),
                    right(shard.oldest_seconds.map_or_else(|| "-".to_owned(), age)),
                ]);
            }
            parts.push(table.to_string());
        }
        if !rest.is_empty() {
            parts.push(format!("{} held, and nothing waits in them.", output::counted(len(rest.len()), "more shard")));
        }
        parts.join("\n")
    }
}

fn lease(shard: &Shard) -> String {
    match shard.expires_seconds {
        None => "nobody ever had it".to_owned(),
        Some(seconds) if shard.is_held => format!("ends in {}", age(seconds)),
        Some(seconds) => format!("ended {} ago", age(-seconds)),
    }
}

fn keys_text(keys: &[ParkedKey]) -> String {
    let mut table = output::table(["parked key of", "key", "parked for", "drained by", "epoch"]);
    for key in keys {
        let owner = key.owner.filter(|_| key.is_held).map_or_else(|| "-".to_owned(), output::short);
        table.add_row([
            Cell::new(&key.consumer),
            Cell::new(output::plain(&key.key, 40)),
            right(age(key.parked_seconds)),
            Cell::new(owner),
            right(grouped(key.epoch)),
        ]);
    }
    table.to_string()
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn len(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(is_held: bool, unpublished: i64) -> Leases {
        let shard = Shard {
            shard: 7,
            owner: None,
            epoch: 3,
            is_held,
            expires_seconds: Some(-5.0),
            unpublished,
            oldest_seconds: None,
        };
        Leases { shards: vec![shard], relays: Vec::new(), parked_keys: None, all: false }
    }

    #[test]
    fn rows_behind_a_shard_without_an_owner_are_a_problem_and_an_idle_shard_is_none() {
        assert_eq!(shard(false, 1).exit(), Exit::Problem);
        assert_eq!(shard(false, 0).exit(), Exit::Ok);
        assert_eq!(shard(true, 9).exit(), Exit::Ok);
        assert!(shard(false, 1).text().contains("ended 5.0 s ago"));
    }
}
