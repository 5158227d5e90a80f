use clap::Args;
use serde::Serialize;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    Config, Error,
    output::{self, Exit, Report, instant, plain},
    servers,
};

pub const EXAMPLES: &str = "\
Examples:
  docfleet documents erasures
  docfleet documents erasures --tenant acme --limit 1000 --json | jq -r '.erasures[] | select(.finished_at == null) | .document_id'

An erasure is finished after a second look, [erasure].second_look (an hour) after it began. Exit code 1 when the bytes of one are still
there a quarter of an hour after it began: `problem` says why; is document-api running in that region?";

#[derive(Args)]
pub struct ErasuresArgs {
    /// Of this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// How many to show
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    limit: i64,
}

#[derive(Serialize)]
pub struct Erasures {
    /// Whose bytes are still there a quarter of an hour later, of all.
    overdue: i64,
    erasures: Vec<Erasure>,
}

#[derive(Serialize, FromRow)]
struct Erasure {
    document_id: Uuid,
    tenant: String,
    region: String,
    reason: String,
    erased_by: String,
    #[serde(with = "time::serde::rfc3339")]
    erased_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    bytes_gone_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    finished_at: Option<OffsetDateTime>,
    tries: i32,
    problem: Option<String>,
}

pub async fn run(config: &Config, args: &ErasuresArgs) -> Result<Erasures, Error> {
    let mut connection = servers::postgres(config).await?;
    let overdue = sqlx::query_scalar(
        r"SELECT count(*) FROM documents.erasures
           WHERE finished_at IS NULL AND bytes_gone_at IS NULL AND erased_at < clock_timestamp() - interval '15 minutes'",
    )
    .fetch_one(&mut connection)
    .await?;
    let erasures = sqlx::query_as(
        r"SELECT document_id, tenant, region, reason, erased_by, erased_at, bytes_gone_at, finished_at, tries, problem
            FROM documents.erasures WHERE tenant = coalesce($1, tenant)
           ORDER BY bytes_gone_at IS NOT NULL, finished_at IS NOT NULL, erased_at DESC LIMIT $2",
    )
    .bind(&args.tenant)
    .bind(args.limit)
    .fetch_all(&mut connection)
    .await?;
    Ok(Erasures { overdue, erasures })
}

impl Report for Erasures {
    fn text(&self) -> String {
        if self.erasures.is_empty() {
            return "No document was erased.".to_owned();
        }
        let mut table = output::table(["document", "tenant", "erased", "by", "reason", "bytes", "problem"]);
        for of in &self.erasures {
            let bytes = match (of.bytes_gone_at, of.finished_at) {
                (None, _) => "still there",
                (Some(_), None) => "gone, one more look",
                (Some(_), Some(_)) => "gone",
            };
            let problem = plain(of.problem.as_deref().unwrap_or_default(), 200);
            table.add_row([
                of.document_id.to_string(),
                of.tenant.clone(),
                instant(of.erased_at),
                plain(&of.erased_by, 40),
                of.reason.clone(),
                bytes.to_owned(),
                problem,
            ]);
        }
        table.to_string()
    }

    fn exit(&self) -> Exit {
        if self.overdue > 0 { Exit::Problem } else { Exit::Ok }
    }
}
