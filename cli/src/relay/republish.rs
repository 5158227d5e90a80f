use clap::Args;
use docfleet_outbox::WAKE_UP_CHANNEL;
use serde::Serialize;
use sqlx::{Connection, PgConnection};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    Config, Error,
    output::{self, Report, counted, grouped},
    servers,
};

/// Rows in one transaction: few enough that a relay never waits for long behind their locks.
const BATCH: i64 = 1_000;

fn instant(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "not a time like 2026-05-12T08:00:00Z".to_owned())
}

#[derive(Args)]
pub struct RepublishArgs {
    /// Rows that were inserted at this time or later
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: OffsetDateTime,
    /// … and before this one
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: OffsetDateTime,
    /// Only rows for this topic, by its full name
    #[arg(long)]
    topic: Option<String>,
    /// Only rows that were last published before this time; to resume what was interrupted
    #[arg(long, value_name = "TIME", value_parser = instant)]
    published_before: Option<OffsetDateTime>,
    /// The schema of the outbox
    #[arg(long, default_value = "pipeline")]
    schema: String,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Goes on record with your name
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    why: Option<String>,
    /// Your name, for the record
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "unknown")]
    who: String,
}

#[derive(Serialize)]
pub struct RepublishReport {
    dry_run: bool,
    planned: i64,
    done: i64,
    /// By topic, what was planned.
    topics: Vec<(String, i64)>,
    /// Resumes what is interrupted.
    published_before: String,
}

pub async fn run(config: &Config, args: &RepublishArgs) -> Result<RepublishReport, Error> {
    if args.from >= args.to {
        return Err(Error::Usage("--from is not before --to".to_owned()));
    }
    if !args.dry_run && args.why().trim().is_empty() {
        return Err(Error::Usage("--why is empty: the next operator needs a reason".to_owned()));
    }
    let mut connection = servers::postgres(config).await?;
    // No statement names the schema: it is a value here, and a name nowhere.
    sqlx::query("SELECT set_config('search_path', quote_ident($1), false)")
        .bind(&args.schema)
        .execute(&mut connection)
        .await?;
    let before: OffsetDateTime = match args.published_before {
        Some(before) => before,
        None => sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut connection).await?,
    };
    let topics: Vec<(String, i64)> = sqlx::query_as(
        r"SELECT topic, count(*) FROM outbox_events
           WHERE created_at >= $1 AND created_at < $2 AND published_at < $3 AND ($4::text IS NULL OR topic = $4)
           GROUP BY topic ORDER BY topic",
    )
    .bind(args.from)
    .bind(args.to)
    .bind(before)
    .bind(&args.topic)
    .fetch_all(&mut connection)
    .await?;
    let planned = topics.iter().map(|(_, rows)| rows).sum();
    // To the microsecond, as the database compares.
    let published_before = before.format(&Rfc3339).unwrap_or_default();
    let mut report = RepublishReport { dry_run: args.dry_run, planned, done: 0, topics, published_before };
    if !args.dry_run && planned > 0 {
        report.done = republish(&mut connection, args, before, &report).await?;
    }
    Ok(report)
}

/// In the order of ids, so that of an aggregate no later version is unpublished before an earlier one.
async fn republish(
    connection: &mut PgConnection,
    args: &RepublishArgs,
    before: OffsetDateTime,
    plan: &RepublishReport,
) -> Result<i64, Error> {
    output::note(&format!("to resume, add: --published-before {}", plan.published_before));
    let (mut done, mut after) = (0, i64::MIN);
    loop {
        let mut transaction = connection.begin().await?;
        let (rows, last): (i64, Option<i64>) = sqlx::query_as(
            r"WITH chosen AS (
                  SELECT id, created_at FROM outbox_events
                   WHERE id > $5 AND created_at >= $1 AND created_at < $2 AND published_at < $3
                     AND ($4::text IS NULL OR topic = $4)
                   ORDER BY id LIMIT $6 FOR UPDATE),
                unpublished AS (
                  UPDATE outbox_events o SET published_at = NULL
                    FROM chosen c WHERE o.id = c.id AND o.created_at = c.created_at
                     AND o.created_at >= $1 AND o.created_at < $2
               RETURNING o.id)
              SELECT count(*), max(id) FROM unpublished",
        )
        .bind(args.from)
        .bind(args.to)
        .bind(before)
        .bind(&args.topic)
        .bind(after)
        .bind(BATCH)
        .fetch_one(&mut *transaction)
        .await?;
        let Some(last) = last else { break };
        // On record with each batch: what was interrupted is on record as far as it came.
        sqlx::query("INSERT INTO pipeline.operator_actions (who, action, why) VALUES ($1, 'republish', $2)")
            .bind(&args.who)
            .bind(format!("{} ({rows} rows of {}, ids to {last})", args.why(), args.schema))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        (done, after) = (done + rows, last);
        let line = format!("{} of {}", grouped(done), counted(plan.planned, "row"));
        if output::stderr_is_terminal() {
            output::progress(&line)
        } else {
            output::note(&line)
        }
        // A hint only: the relays poll.
        sqlx::query("SELECT pg_notify($1, '')").bind(WAKE_UP_CHANNEL).execute(&mut *connection).await?;
    }
    if output::stderr_is_terminal() {
        output::progress("");
    }
    Ok(done)
}

impl RepublishArgs {
    fn why(&self) -> &str {
        self.why.as_deref().unwrap_or_default()
    }
}

impl Report for RepublishReport {
    fn text(&self) -> String {
        if self.planned == 0 {
            return "No published row lies in this time.".to_owned();
        }
        let mut table = output::table(["topic", "rows"]);
        for (topic, rows) in &self.topics {
            table.add_row([topic.clone(), grouped(*rows)]);
        }
        let verdict = if self.dry_run {
            format!("{} would be published again.", counted(self.planned, "row"))
        } else {
            format!("{} will be published again; docfleet status shows how many still wait.", counted(self.done, "row"))
        };
        format!("{table}\n{verdict}")
    }
}
