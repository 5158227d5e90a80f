//! `docfleet rescan`: which clean verdicts by which signatures there are, and which of them are to be given anew whatever
//! their age. av-scan does it by itself for recent ones when new signatures come.

use clap::Args;
use comfy_table::{Cell, CellAlignment};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    Config, Error,
    dlq::filter::{Moment, parse_moment},
    output::{self, Report, counted, grouped, instant},
    servers,
};

const EXAMPLES: &str = "\
Examples:
  docfleet rescan                           # clean verdicts by the signatures that gave them; changes nothing
  docfleet rescan --since 90d --dry-run     # how many documents that would be
  docfleet rescan --since 90d
  docfleet rescan --all --tenant acme
  docfleet rescan --document 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d
  docfleet rescan --json | jq '.databases[] | select(.failed > 0)'

What is asked for is scanned by av-scan soon, the newest first, at [clamd].rescans_per_second_max. Documents that failed too
often are tried again. Run it once more to see how much is left.";

/// Rows in one step: each has a transaction of its own, so that no lock is held for long.
const STEP_ROWS: i64 = 5_000;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct RescanArgs {
    /// Ask for those that were scanned first after this time, or so long ago: 2026-05-12T03:00:00Z, 90d
    #[arg(long, value_name = "TIME", value_parser = parse_moment, group = "which")]
    since: Option<Moment>,
    /// Ask for all, whatever their age
    #[arg(long, group = "which")]
    all: bool,
    /// Ask for one; repeatable
    #[arg(long, value_name = "ID", group = "which")]
    document: Vec<Uuid>,
    /// Only those of this tenant
    #[arg(long, value_name = "TENANT", requires = "which")]
    tenant: Option<String>,
    /// Show how many would be asked for, and change nothing
    #[arg(long, requires = "which")]
    dry_run: bool,
}

#[derive(Serialize)]
pub struct Rescan {
    /// Newest signatures first.
    databases: Vec<Database>,
    /// Documents that were, or with `--dry-run` would be, asked for now; absent when nothing was chosen.
    chosen: Option<i64>,
    dry_run: bool,
}

/// The clean verdicts that one release of the signatures gave.
#[derive(Serialize, FromRow)]
struct Database {
    database: String,
    clean: i64,
    #[serde(with = "time::serde::rfc3339")]
    newest: OffsetDateTime,
    /// Asked for, and not scanned yet.
    requested: i64,
    /// Of these and the others, those that av-scan has given up.
    failed: i64,
    /// Newer signatures gave no verdict, as the document is not to be scanned under today's limits.
    unscannable: i64,
}

pub async fn run(config: &Config, args: &RescanArgs) -> Result<Rescan, Error> {
    let mut connection = servers::postgres(config).await?;
    let chosen = match args.since.is_some() || args.all || !args.document.is_empty() {
        true if args.dry_run => Some(count(&mut connection, args).await?),
        true => Some(request(&mut connection, args).await?),
        false => None,
    };
    Ok(Rescan { databases: databases(&mut connection).await?, chosen, dry_run: args.dry_run })
}

async fn databases(connection: &mut PgConnection) -> Result<Vec<Database>, Error> {
    let all = sqlx::query_as(
        r"SELECT database, count(*) AS clean, max(first_scanned_at) AS newest,
                 count(*) FILTER (WHERE requested) AS requested, count(*) FILTER (WHERE failures >= 5) AS failed,
                 count(*) FILTER (WHERE rescan_problem IS NOT NULL) AS unscannable
            FROM documents.scans WHERE verdict = 'clean'
           GROUP BY database_number, database ORDER BY database_number DESC, database DESC LIMIT 1000",
    );
    Ok(all.fetch_all(connection).await?)
}

/// `$1` a time (negative: seconds ago), `$2` all, `$3` ids, `$4` a tenant.
macro_rules! chosen {
    () => {
        r"verdict = 'clean' AND NOT (requested AND failures = 0)
          AND ($2 OR document_id = ANY($3)
               OR first_scanned_at >= CASE WHEN $1 < 0 THEN clock_timestamp() + make_interval(secs => $1) ELSE to_timestamp($1) END)
          AND ($4::text IS NULL OR tenant = $4)"
    };
}

async fn count(connection: &mut PgConnection, args: &RescanArgs) -> Result<i64, Error> {
    let counting = sqlx::query_scalar(concat!("SELECT count(*) FROM documents.scans WHERE ", chosen!()));
    let counting = counting.bind(args.since.map(Moment::seconds)).bind(args.all).bind(&args.document);
    Ok(counting.bind(&args.tenant).fetch_one(connection).await?)
}

async fn request(connection: &mut PgConnection, args: &RescanArgs) -> Result<i64, Error> {
    let mut requested = 0;
    loop {
        let step = sqlx::query(concat!(
            // What rests rests no longer; a scan that is out is overtaken, and its result dropped.
            r"UPDATE documents.scans SET requested = true, failures = 0, leased_until = NULL
               WHERE document_id IN (SELECT document_id FROM documents.scans WHERE ",
            chosen!(),
            " ORDER BY document_id LIMIT $5 FOR UPDATE)"
        ));
        let step = step.bind(args.since.map(Moment::seconds)).bind(args.all).bind(&args.document);
        let rows = step.bind(&args.tenant).bind(STEP_ROWS).execute(&mut *connection).await?.rows_affected();
        requested += i64::try_from(rows).unwrap_or(i64::MAX);
        if rows < STEP_ROWS as u64 {
            return Ok(requested);
        }
        output::progress(&format!("{} asked for", grouped(requested)));
    }
}

impl Report for Rescan {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        if let Some(chosen) = self.chosen {
            let what = if self.dry_run { "would be asked for; nothing was changed" } else { "asked for" };
            lines.push(format!("{} {what}", counted(chosen, "document")));
        }
        if self.databases.is_empty() {
            lines.push("no clean verdicts".to_owned());
            return lines.join("\n");
        }
        let mut table =
            output::table(["signatures", "clean", "asked for", "given up", "unscannable", "newest document"]);
        for d in &self.databases {
            let number = |n: i64| Cell::new(grouped(n)).set_alignment(CellAlignment::Right);
            let name = output::plain(&d.database, 60);
            table.add_row([
                Cell::new(name),
                number(d.clean),
                number(d.requested),
                number(d.failed),
                number(d.unscannable),
                Cell::new(instant(d.newest)),
            ]);
        }
        lines.push(table.to_string());
        lines.join("\n")
    }
}
