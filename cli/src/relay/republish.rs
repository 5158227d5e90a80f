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
    /// Only rows above this id; to resume what was interrupted
    #[arg(long, value_name = "ID", default_value_t = 0)]
    after: i64,
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
    /// Rows of erased documents, which are left alone but for the news of the erasure.
    erased: i64,
    /// By topic, what was planned.
    topics: Vec<(String, i64)>,
    /// The last row that was done: `--after` it resumes what is interrupted.
    last: i64,
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
    let topics: Vec<(String, i64)> = sqlx::query_as(
        r"SELECT topic, count(*) FROM outbox_events o
           WHERE id > $3 AND created_at >= $1 AND created_at < $2 AND ($4::text IS NULL OR topic = $4)
             AND NOT EXISTS (SELECT FROM outbox_unpublished u WHERE u.id = o.id)
             AND NOT (o.event_type <> 'DocumentErased'
                      AND EXISTS (SELECT FROM documents.erasures e WHERE e.document_id = documents.of_key(o.key)))
           GROUP BY topic ORDER BY topic",
    )
    .bind(args.from)
    .bind(args.to)
    .bind(args.after)
    .bind(&args.topic)
    .fetch_all(&mut connection)
    .await?;
    let erased: i64 = sqlx::query_scalar(
        r"SELECT count(*) FROM outbox_events o
           WHERE id > $3 AND created_at >= $1 AND created_at < $2 AND ($4::text IS NULL OR topic = $4)
             AND o.event_type <> 'DocumentErased'
             AND EXISTS (SELECT FROM documents.erasures e WHERE e.document_id = documents.of_key(o.key))",
    )
    .bind(args.from)
    .bind(args.to)
    .bind(args.after)
    .bind(&args.topic)
    .fetch_one(&mut connection)
    .await?;
    let planned = topics.iter().map(|(_, rows)| rows).sum();
    let mut report = RepublishReport { dry_run: args.dry_run, planned, done: 0, erased, topics, last: args.after };
    if !args.dry_run && planned > 0 {
        (report.done, report.last) = republish(&mut connection, args, planned).await?;
    }
    Ok(report)
}

/// In the order of ids, so that of an aggregate no later version is unpublished before an earlier one.
async fn republish(connection: &mut PgConnection, args: &RepublishArgs, planned: i64) -> Result<(i64, i64), Error> {
    let (mut done, mut after) = (0, args.after);
    loop {
        let mut transaction = connection.begin().await?;
        let (rows, last): (i64, Option<i64>) = sqlx::query_as(
            r"WITH chosen AS (
                  SELECT id, created_at, shard FROM outbox_events o
                   WHERE id > $3 AND created_at >= $1 AND created_at < $2 AND ($4::text IS NULL OR topic = $4)
                     AND NOT EXISTS (SELECT FROM outbox_unpublished u WHERE u.id = o.id)
                     AND NOT (o.event_type <> 'DocumentErased'
                              AND EXISTS (SELECT FROM documents.erasures e WHERE e.document_id = documents.of_key(o.key)))
                   ORDER BY id LIMIT $5),
                noted AS (
                  INSERT INTO outbox_unpublished (id, created_at, shard) SELECT * FROM chosen
                      ON CONFLICT DO NOTHING RETURNING id)
              SELECT (SELECT count(*) FROM noted), (SELECT max(id) FROM chosen)",
        )
        .bind(args.from)
        .bind(args.to)
        .bind(after)
        .bind(&args.topic)
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
        let line = format!("{} of {}; to resume here, add: --after {after}", grouped(done), counted(planned, "row"));
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
    Ok((done, after))
}

impl RepublishArgs {
    fn why(&self) -> &str {
        self.why.as_deref().unwrap_or_default()
    }
}

impl Report for RepublishReport {
    fn text(&self) -> String {
        let erased = match self.erased {
            0 => String::new(),
            rows => format!("\n{} of erased documents are left alone.", counted(rows, "row")),
        };
        if self.planned == 0 {
            return format!("No published row lies in this time.{erased}");
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
        format!("{table}\n{verdict}{erased}")
    }
}
