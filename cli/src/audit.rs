//! `docfleet audit`: the ledger's proof. [`check`] (what may not be, as SQL) over one snapshot, [`totals`] beside it,
//! [`payload`] (what the events themselves say), and with `--topics` [`topic`] (what Kafka holds) → [`report`].

mod check;
mod payload;
mod report;
mod topic;
mod totals;

use std::time::Duration;

use clap::Args;
use humantime_serde::re::humantime::parse_duration;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use crate::{Config, Error, servers};
use check::Finding;
use report::Audit;

const EXAMPLES: &str = "\
Examples:
  docfleet audit                                # when all lag is zero
  docfleet audit --settled-before 5m            # in a fleet at work
  docfleet audit --topics                       # reads every event topic to its end as well
  docfleet audit --json | jq '.findings[] | {check, count}'

Exit code 1 on any finding. A dead letter is an outcome and no finding; it is counted.
As soon as there are events, a consumer that never started is a finding: what it owes is not known.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct AuditArgs {
    /// Leave out what is younger: it may still be on its way
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    settled_before: Duration,
    /// Read the event topics too: is each published event there, with the same bytes, in order
    #[arg(long)]
    topics: bool,
}

pub async fn run(config: &Config, args: &AuditArgs) -> Result<Audit, Error> {
    let mut connection = servers::postgres(config).await?;
    let mut snapshot = connection.begin().await?;
    // One snapshot for all questions. The topics are read after it was taken, so what it calls published is there.
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *snapshot).await?;
    let audit = of_snapshot(config, &mut snapshot, args).await?;
    // Only temporary tables were written.
    snapshot.rollback().await?;
    Ok(audit)
}

async fn of_snapshot(config: &Config, snapshot: &mut PgConnection, args: &AuditArgs) -> Result<Audit, Error> {
    let young = args.settled_before.as_secs_f64();
    let at: OffsetDateTime = sqlx::query_scalar("SELECT now()").fetch_one(&mut *snapshot).await?;
    hash_joins(&mut *snapshot, true).await?;
    let totals = totals::read(&mut *snapshot, young).await?;
    let mut findings: Vec<Finding> = totals.absent_consumers().into_iter().collect();
    findings.extend(check::run(&mut *snapshot, check::LEDGER, young).await?);
    hash_joins(&mut *snapshot, false).await?;
    findings.extend(payload::check(config, &mut *snapshot, young).await?);
    let mut topics = None;
    if args.topics {
        topics = Some(topic::load(config, &mut *snapshot).await?);
        hash_joins(&mut *snapshot, true).await?;
        findings.extend(check::run(&mut *snapshot, check::TOPICS, young).await?);
    }
    Ok(Audit { at, settled_before_seconds: young, totals, topics, findings })
}

/// The checks compare whole tables, but their LIMIT makes the planner hope for an early end and look rows up one by
/// one: on a good ledger that end never comes.
async fn hash_joins(connection: &mut PgConnection, only: bool) -> Result<(), Error> {
    let nested_loops = if only { "SET LOCAL enable_nestloop = off" } else { "SET LOCAL enable_nestloop = on" };
    sqlx::query(nested_loops).execute(&mut *connection).await?;
    sqlx::query("SET LOCAL work_mem = '64MB'").execute(connection).await?;
    Ok(())
}
