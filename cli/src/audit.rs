//! `docfleet audit`: the ledger's proof, of what no earlier one has proven. [`proof`] (how far) → [`scope`] (what is left)
//! → [`checks`] (what may not be, as SQL) over one snapshot, [`totals`] beside them, [`payload`] (what the events
//! themselves say), with `--topics` [`topic`] (what Kafka holds), with `--counters`
//! [`counters`] (what the workers say) → [`report`] and [`metric`].

mod check;
mod checks;
mod counters;
pub mod metric;
mod payload;
mod proof;
mod report;
mod scope;
mod topic;
mod totals;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use humantime_serde::re::humantime::parse_duration;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;
use url::Url;

use crate::{Config, Error, interrupt, projections, servers, status, status::PartitionLag};
use check::{Finding, Offender, Pass};
use proof::{Earned, Known, Proof};
use report::Audit;
use scope::{Scope, hash_joins};

const EXAMPLES: &str = "\
Examples:
  docfleet audit                                # when all lag is zero
  docfleet audit --settled-before 5m            # in a fleet at work
  docfleet audit --topics                       # reads what is new on every event topic as well
  docfleet audit --full --topics                # proves everything anew
  docfleet audit --projections                  # builds the view anew beside the live one, and compares
  docfleet audit --lag-max 60s                  # a consumer that is further behind is a finding
  docfleet audit --settled-before 5m --counters http://ocr-1:9100/metrics --counters http://ocr-2:9100/metrics
  docfleet audit --metrics-file /var/lib/node_exporter/docfleet.prom
  docfleet audit --json | jq '.findings[] | {property, check, count}'

Exit code 1 on any finding. A dead letter and a parked message are outcomes and no findings; they are counted.
What one audit proved the next does not look at again: a row that somebody edits afterwards is found by --full.
As soon as there are events, a consumer that never started is a finding: what it owes is not known.";

const COMPARE_TIMEOUT: Duration = Duration::from_secs(3_600);

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct AuditArgs {
    /// Leave out what is younger: it may still be on its way
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    settled_before: Duration,
    /// Read the event topics too: is each published event there, with the same bytes, in order, and no other
    #[arg(long)]
    topics: bool,
    /// Forget what was proven and check everything
    #[arg(long)]
    full: bool,
    /// Build the view anew beside the live one and compare each row; needs a running projection-builder
    #[arg(long)]
    projections: bool,
    /// A queue whose oldest message is older is a finding
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    lag_max: Option<Duration>,
    /// Compare what a worker counts with the ledger: the URL of its metrics; repeatable, each member of a consumer
    #[arg(long, value_name = "URL")]
    counters: Vec<Url>,
    /// Between the two readings of the counters
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = parse_duration)]
    counters_for: Duration,
    /// Write the result as Prometheus metrics too
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
}

pub async fn run(config: &Config, args: &AuditArgs) -> Result<Audit, Error> {
    let started = Instant::now();
    let mut connection = servers::postgres(config).await?;
    let known = proof::begin(&mut connection).await?;
    // Before the snapshot: an outcome below a committed offset is older than the offset, so the snapshot holds it.
    let lags = match args.topics || args.lag_max.is_some() {
        true => status::lags(config, &mut connection).await?,
        false => Vec::new(),
    };
    let mut snapshot = connection.begin().await?;
    // One snapshot for all questions. The topics are read after it was taken, so what it calls published is there.
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *snapshot).await?;
    let (mut audit, earned) = of_snapshot(config, &mut snapshot, args, &known, &lags).await?;
    // Only temporary tables were written.
    snapshot.rollback().await?;
    proof::keep(&mut connection, &known, &earned).await?;
    if args.projections {
        let build = projections::compare_now(&mut connection, COMPARE_TIMEOUT).await?;
        audit.findings.extend(differing(&build));
        audit.projection = Some(build);
    }
    if !args.counters.is_empty() {
        let stop = interrupt::token()?;
        let differing = counters::check(&mut connection, &args.counters, args.counters_for, &stop).await?;
        audit.findings.extend(differing);
    }
    audit.took_seconds = started.elapsed().as_secs_f64();
    audit.proofs = of_now(&known, earned);
    if let Some(path) = &args.metrics_file {
        metric::write(&audit, path)?;
    }
    Ok(audit)
}

async fn of_snapshot(
    config: &Config,
    snapshot: &mut PgConnection,
    args: &AuditArgs,
    known: &Known,
    lags: &[PartitionLag],
) -> Result<(Audit, Earned), Error> {
    let started = Instant::now();
    let young = args.settled_before.as_secs_f64();
    let at: OffsetDateTime = sqlx::query_scalar("SELECT now()").fetch_one(&mut *snapshot).await?;
    let scope = Scope::of(&mut *snapshot, known, args.full, young).await?;
    scope.plan_joins(&mut *snapshot).await?;
    let before = known.of(proof::EVENTS, "outbox").filter(|_| !scope.whole).map_or(0, |proof| proof.proven);
    let totals = totals::read(&mut *snapshot, before).await?;
    let mut findings: Vec<Finding> = totals.absent_consumers().into_iter().collect();
    findings.extend(check::run(&mut *snapshot, checks::EVENTS, young).await?);
    findings.extend(check::run(&mut *snapshot, checks::SETTLEMENTS, young).await?);
    if parks(&mut *snapshot).await? {
        findings.extend(check::run(&mut *snapshot, checks::PARKED, young).await?);
    }
    findings.extend(late(lags, args.lag_max));
    let mut earned = Earned::default();
    let mut stamp = Stamp { known, full: args.full, at, started, earned: &mut earned };
    if blocked(&findings, Pass::Events) {
        stamp.refuse(proof::EVENTS, "outbox");
    } else {
        let (open, mark) = scope.unfinished(&mut *snapshot, scope.up_to.id.max(scope.after_id)).await?;
        let rows = rows_between(&mut *snapshot, scope.after_id, mark).await?;
        stamp.events(&scope, open, mark, before + rows);
    }
    stamp.settlements(&mut *snapshot, &scope, blocked(&findings, Pass::Settlements)).await?;
    hash_joins(&mut *snapshot, false).await?;
    let after = known.of(proof::PAYLOADS, "outbox").filter(|_| !args.full);
    let after_id = after.and_then(|proof| proof.up_to_id).unwrap_or(0);
    let read = payload::check(config, &mut *snapshot, after_id, scope.up_to.id, young).await?;
    stamp.payloads(&scope, after, &read);
    findings.extend(read.findings);
    let mut topics = None;
    if args.topics {
        let read = topic::load(config, &mut *snapshot, &proven_topics(known, args.full), lags).await?;
        hash_joins(&mut *snapshot, true).await?;
        let found = check::run(&mut *snapshot, checks::TOPICS, young).await?;
        stamp.topics(&read, lags, young, !found.is_empty());
        findings.extend(found);
        topics = Some(read);
    }
    findings.sort_by_key(|finding| finding.property);
    let audit = Audit {
        at,
        settled_before_seconds: young,
        took_seconds: 0.0,
        totals,
        topics,
        findings,
        proofs: Vec::new(),
        projection: None,
    };
    Ok((audit, earned))
}

/// Turns what was checked into proofs.
struct Stamp<'a> {
    known: &'a Known,
    full: bool,
    at: OffsetDateTime,
    started: Instant,
    earned: &'a mut Earned,
}

impl Stamp<'_> {
    fn proof(&self, pass: &str, source: &str) -> Proof {
        Proof {
            pass: pass.to_owned(),
            source: source.to_owned(),
            up_to_id: None,
            up_to_time: None,
            basis: String::new(),
            proven: 0,
            at: self.at,
            took_seconds: self.started.elapsed().as_secs_f64(),
        }
    }

    /// A finding leaves the mark where it is, so that each audit looks again until it is mended. One that checked
    /// everything may have found it below the mark.
    fn refuse(&mut self, pass: &str, source: &str) {
        if self.full {
            self.earned.void.push((pass.to_owned(), source.to_owned()));
        }
    }

    fn events(&mut self, scope: &Scope, open: Vec<i64>, mark: i64, proven: i64) {
        let proof = self.proof(proof::EVENTS, "outbox");
        self.earned.proofs.push(Proof { up_to_id: Some(mark), basis: scope.basis.clone(), proven, ..proof });
        self.earned.open = Some(open);
    }

    async fn settlements(&mut self, snapshot: &mut PgConnection, scope: &Scope, blocked: bool) -> Result<(), Error> {
        let Some(time) = scope.up_to.time.filter(|_| !blocked) else {
            if blocked {
                self.refuse(proof::SETTLEMENTS, "inbox");
            }
            return Ok(());
        };
        let before = self.known.of(proof::SETTLEMENTS, "inbox").filter(|_| scope.after_time.is_some());
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_settled WHERE settled_at <= $1")
            .bind(time)
            .fetch_one(snapshot)
            .await?;
        let proven = before.map_or(0, |proof| proof.proven) + rows;
        let time = scope.after_time.map_or(time, |after| after.max(time));
        let proof = self.proof(proof::SETTLEMENTS, "inbox");
        self.earned.proofs.push(Proof { up_to_time: Some(time), proven, ..proof });
        Ok(())
    }

    fn payloads(&mut self, scope: &Scope, after: Option<&Proof>, read: &payload::Read) {
        if !read.findings.is_empty() {
            return self.refuse(proof::PAYLOADS, "outbox");
        }
        let (from, proven) = after.map_or((0, 0), |proof| (proof.up_to_id.unwrap_or(0), proof.proven));
        let mark = scope.up_to.id.max(from);
        let proof = self.proof(proof::PAYLOADS, "outbox");
        self.earned.proofs.push(Proof { up_to_id: Some(mark), proven: proven + read.events, ..proof });
    }

    fn topics(&mut self, topics: &[topic::Topic], lags: &[PartitionLag], young: f64, blocked: bool) {
        for topic in topics {
            let late = lags.iter().filter(|lag| lag.topic == topic.topic);
            // An unknown age may be any.
            let oldest = late.map(|lag| lag.seconds).try_fold(0.0_f64, |max, seconds| Some(max.max(seconds?)));
            match oldest.filter(|_| !blocked) {
                Some(oldest) => {
                    let late = time::Duration::seconds_f64(oldest + young);
                    let proof = self.proof(proof::TOPICS, &topic.topic);
                    let before = self.known.of(proof::TOPICS, &topic.topic).filter(|_| !self.full);
                    let until = topic::proven_until(self.at, late);
                    let until = before.and_then(|proof| proof.up_to_time).map_or(until, |at| at.max(until));
                    self.earned.proofs.push(Proof { up_to_time: Some(until), proven: topic.records, ..proof });
                }
                None if blocked => self.refuse(proof::TOPICS, &topic.topic),
                None => {}
            }
        }
    }
}

fn blocked(findings: &[Finding], pass: Pass) -> bool {
    findings.iter().any(|finding| finding.pass == pass)
}

async fn rows_between(snapshot: &mut PgConnection, after: i64, mark: i64) -> Result<i64, Error> {
    let rows = sqlx::query_scalar("SELECT count(*) FROM audit_tail WHERE kind = 'event' AND id > $1 AND id <= $2")
        .bind(after)
        .bind(mark)
        .fetch_one(snapshot)
        .await?;
    Ok(rows)
}

/// Whether parked keys have tables in this database.
async fn parks(snapshot: &mut PgConnection) -> Result<bool, Error> {
    Ok(sqlx::query_scalar("SELECT to_regclass('pipeline.parked_messages') IS NOT NULL").fetch_one(snapshot).await?)
}

fn proven_topics(known: &Known, full: bool) -> BTreeMap<String, OffsetDateTime> {
    let topics = known.proofs.values().filter(|proof| !full && proof.pass == proof::TOPICS);
    topics.filter_map(|proof| Some((proof.source.clone(), proof.up_to_time?))).collect()
}

/// The proofs that hold from now on.
fn of_now(known: &Known, earned: Earned) -> Vec<Proof> {
    let mut proofs = known.proofs.clone();
    for place in &earned.void {
        proofs.remove(place);
    }
    for proof in earned.proofs {
        proofs.insert((proof.pass.clone(), proof.source.clone()), proof);
    }
    proofs.into_values().collect()
}

/// L8: an age that is not known may be any, so it is a finding as well.
fn late(lags: &[PartitionLag], max: Option<Duration>) -> Option<Finding> {
    let max = max?.as_secs_f64();
    let late: Vec<&PartitionLag> =
        lags.iter().filter(|lag| lag.messages > 0 && lag.seconds.is_none_or(|seconds| seconds > max)).collect();
    let offenders = late.iter().take(check::OFFENDERS_MAX).map(|lag| {
        let age = lag.seconds.map_or_else(|| "of unknown age".to_owned(), crate::output::age);
        let detail = format!("{}[{}]: {} messages, the oldest {age}", lag.topic, lag.partition, lag.messages);
        Offender { consumer: Some(lag.consumer.clone()), id: None, detail }
    });
    (!late.is_empty()).then(|| Finding {
        check: "late-queue",
        property: "L8",
        count: i64::try_from(late.len()).unwrap_or(i64::MAX),
        says: "partitions with messages that wait longer than --lag-max",
        what_to_do: "See `docfleet status --partitions` for who holds them up.",
        offenders: offenders.collect(),
        pass: Pass::Always,
    })
}

/// L5.
fn differing(build: &projections::Build) -> Option<Finding> {
    let count = build.rows_differing.filter(|rows| *rows > 0)?;
    let rows = build.differing.as_array().into_iter().flatten().take(check::OFFENDERS_MAX);
    let offenders = rows.map(|row| Offender {
        consumer: Some("projection-builder".to_owned()),
        id: row["document"].as_str().and_then(|id| id.parse().ok()),
        detail: format!("document: {}", row["columns"]),
    });
    Some(Finding {
        check: "projection-differs",
        property: "L5",
        count,
        says: "documents whose view is not what their events say",
        what_to_do: "`docfleet projections rebuild document_view`, then `switch`, heals the view. Tell the developers what differed.",
        offenders: offenders.collect(),
        pass: Pass::Always,
    })
}
