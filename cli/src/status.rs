//! `docfleet status`: one reading of the whole fleet from outside. [`lag`] (Kafka) beside [`backlog`] (PostgreSQL), and of
//! two readings the [`pace`].
//!
//! What is in flight inside a worker is what it wrote down itself, at most 3 s old; it counts as lag until it is settled
//! and committed.

mod backlog;
mod gate;
mod lag;
mod pace;
mod reading;

use std::time::{Duration, Instant};

use clap::Args;
use humantime_serde::re::humantime::parse_duration;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::{
    Config, Error,
    output::{self, Exit},
    servers,
};
pub use lag::PartitionLag;
use pace::Offsets;
use reading::Reading;

const EXAMPLES: &str = "\
Examples:
  docfleet status
  docfleet status --partitions                  # each partition for itself
  docfleet status --watch                       # again every 2 s, with rates; --watch 10s for another pace
  docfleet status --over 10s                    # one answer with rates, from two readings 10 s apart
  docfleet status --json | jq '[.queues[].lag_messages] | add'

Lag counts from the committed offset to the end of the partition: what a worker holds in flight is part of it.
Lag in seconds is the age of the first message that is not committed.
`seen` is the last sign of life of a member of the consumer: lag counts on although nobody reads.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct StatusArgs {
    /// Show each partition, not each topic's sum
    #[arg(long)]
    partitions: bool,
    /// Read again and again; with --json one line each
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "2s", value_parser = parse_duration)]
    watch: Option<Duration>,
    /// Read twice, so far apart, and show rates
    #[arg(long, value_name = "TIME", conflicts_with = "watch", value_parser = parse_duration)]
    over: Option<Duration>,
}

/// The reading before, for the rates.
type Before = Option<(Offsets, Instant)>;

pub async fn run(config: &Config, args: &StatusArgs, json: bool) -> Result<Exit, Error> {
    let Some(pace) = args.watch else {
        let mut before = None;
        if let Some(over) = args.over {
            read(config, args.partitions, &mut before).await?;
            tokio::time::sleep(over).await;
        }
        return output::show(&read(config, args.partitions, &mut before).await?, json);
    };
    let mut before = None;
    loop {
        match read(config, args.partitions, &mut before).await {
            Ok(reading) if json => output::json_line(&reading)?,
            Ok(reading) => {
                output::start_over()?;
                output::show(&reading, false)?;
            }
            // Somebody watches: that a server is away is what they want to see.
            Err(error) if error.is_away() => output::complain(&error),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(pace).await;
    }
}

/// How far every consumer is, as the broker sees it.
pub async fn lags(config: &Config, connection: &mut PgConnection) -> Result<Vec<PartitionLag>, Error> {
    let queues = backlog::queues(connection, &config.topic_prefix).await?;
    lag::read(config, queues).await
}

async fn read(config: &Config, by_partition: bool, before: &mut Before) -> Result<Reading, Error> {
    let started = Instant::now();
    let read_at = OffsetDateTime::now_utc();
    let mut connection = servers::postgres(config).await?;
    let queues = backlog::queues(&mut connection, &config.topic_prefix).await?;
    let (backlog, lags) = tokio::try_join!(backlog::read(&mut connection), lag::read(config, queues))?;
    let now = (Offsets::of(&lags), Instant::now());
    let earlier = before.as_ref().map(|(offsets, at)| (offsets, now.1.duration_since(*at)));
    let reading = Reading::of(read_at, started.elapsed(), backlog, lags, earlier, by_partition);
    *before = Some(now);
    Ok(reading)
}
