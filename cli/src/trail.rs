//! `docfleet trail`: who wrote, read or removed what of a document, and in which region.

use std::time::Duration;

use clap::Args;
use humantime_serde::re::humantime::parse_duration;
use serde::Serialize;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    Config, Error,
    output::{self, Exit, Report, counted, instant, plain},
    servers,
};

const EXAMPLES: &str = "\
Examples:
  docfleet trail 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d
  docfleet trail --tenant acme --since 7days --action content-read
  docfleet trail --actor document-api --json --limit 1000 | jq -r '.entries[].document_id'

The newest first. What stands here is never changed or removed, and holds no content and no file name.
Exit code 1 when nothing is on record.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct TrailArgs {
    /// Of this document
    #[arg(value_name = "DOCUMENT_ID")]
    document: Option<Uuid>,
    /// Of this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// In this region
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// By this service, consumer or operator
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Of this kind, such as accepted or content-read
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Not older than this, such as 24h or 90days
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    since: Option<Duration>,
    /// Go on before this entry: `next` of the page before
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
    /// How many to show
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    limit: i64,
}

#[derive(Serialize)]
pub struct Trail {
    entries: Vec<Entry>,
    /// For `--before`; none on the last page.
    next: Option<i64>,
}

#[derive(Serialize, FromRow)]
struct Entry {
    id: i64,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    region: String,
    tenant: String,
    actor: String,
    action: String,
    document_id: Option<Uuid>,
    detail: serde_json::Value,
}

pub async fn run(config: &Config, args: &TrailArgs, json: bool) -> Result<Exit, Error> {
    output::show(&read(config, args).await?, json)
}

async fn read(config: &Config, args: &TrailArgs) -> Result<Trail, Error> {
    let mut connection = servers::postgres(config).await?;
    // One more than is shown says whether there is more.
    let mut entries: Vec<Entry> = sqlx::query_as(
        r"SELECT id, at, region, tenant, actor, action, document_id, detail
            FROM documents.audit_trail
           WHERE ($1::uuid IS NULL OR document_id = $1) AND ($2::text IS NULL OR tenant = $2)
             AND ($3::text IS NULL OR region = $3) AND ($4::text IS NULL OR actor = $4)
             AND ($5::text IS NULL OR action = $5)
             AND ($6::float8 IS NULL OR at >= clock_timestamp() - make_interval(secs => $6))
             AND ($7::bigint IS NULL OR id < $7)
           ORDER BY id DESC LIMIT $8 + 1",
    )
    .bind(args.document)
    .bind(&args.tenant)
    .bind(&args.region)
    .bind(&args.actor)
    .bind(&args.action)
    .bind(args.since.map(|since| since.as_secs_f64()))
    .bind(args.before)
    .bind(args.limit)
    .fetch_all(&mut connection)
    .await?;
    let shown = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let more = entries.len() > shown;
    entries.truncate(shown);
    let next = entries.last().filter(|_| more).map(|entry| entry.id);
    Ok(Trail { entries, next })
}

impl Report for Trail {
    fn text(&self) -> String {
        if self.entries.is_empty() {
            return "Nothing is on record.".to_owned();
        }
        let mut table = output::table(["WHEN", "REGION", "TENANT", "WHO", "WHAT", "DOCUMENT", "DETAIL"]);
        for entry in &self.entries {
            table.add_row([
                instant(entry.at),
                plain(&entry.region, 20),
                plain(&entry.tenant, 63),
                plain(&entry.actor, 30),
                plain(&entry.action, 40),
                entry.document_id.map(|id| id.to_string()).unwrap_or_default(),
                plain(&entry.detail.to_string(), 80),
            ]);
        }
        let shown = counted(i64::try_from(self.entries.len()).unwrap_or(i64::MAX), "line");
        let more = self.next.map(|id| format!("; older ones by --before {id}")).unwrap_or_default();
        format!("{table}\n\n{shown}{more}")
    }

    fn exit(&self) -> Exit {
        if self.entries.is_empty() { Exit::Problem } else { Exit::Ok }
    }
}
