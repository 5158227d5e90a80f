use clap::Args;
use docfleet_events::erasure::{self, Erased, Request};
use serde::Serialize;
use sqlx::{Connection, FromRow, PgConnection};
use uuid::Uuid;

use super::{outbox, reason};
use crate::{
    Config, Error,
    output::{self, Exit, Report, counted},
    servers,
};

pub const EXAMPLES: &str = "\
Examples:
  docfleet documents erase 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d --reason gdpr-request --dry-run
  docfleet documents erase 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d --reason gdpr-request --yes
  jq -r '.items[].id' customer.json | xargs docfleet documents erase --tenant acme --reason contract-ended --yes --json

Nobody can read an erased document from that moment on, and it does not come back. document-api deletes the bytes within
moments; a content that another document of the tenant has stays. What remains, and for how long: docs/erasure.md.
Repeating it is harmless. Exit code 1 when a document is unknown, or kept by a legal hold.";

#[derive(Args)]
pub struct EraseArgs {
    #[arg(required = true, value_name = "DOCUMENT_ID")]
    documents: Vec<Uuid>,
    /// A word that stays for good, such as gdpr-request
    #[arg(long, value_name = "WORD", value_parser = reason)]
    reason: String,
    /// Only documents of this tenant: against a wrong list
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Your name, for the record
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "unknown")]
    who: String,
    /// Show what would be erased, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

#[derive(Serialize)]
pub struct Outcome {
    dry_run: bool,
    documents: Vec<Line>,
}

#[derive(Serialize, FromRow)]
struct Line {
    document_id: Uuid,
    /// would-erase, erased, already, held, unknown
    state: String,
    tenant: Option<String>,
    /// Another document of the tenant has the same content, so the bytes stay.
    content_stays: bool,
}

pub async fn run(config: &Config, args: &EraseArgs) -> Result<Outcome, Error> {
    let mut connection = servers::postgres(config).await?;
    let mut lines = look(&mut connection, args).await?;
    if args.dry_run {
        return Ok(Outcome { dry_run: true, documents: lines });
    }
    let count = lines.iter().filter(|line| line.state == "would-erase").count();
    if count > 0 {
        output::confirm(
            &format!("Erase {}, for good?", counted(i64::try_from(count).unwrap_or(i64::MAX), "document")),
            args.yes,
        )?;
    }
    let outbox = outbox(config).await?;
    for line in &mut lines {
        let mut transaction = connection.begin().await?;
        let request = Request {
            document_id: line.document_id,
            tenant: args.tenant.as_deref(),
            reason: &args.reason,
            by: &args.who,
        };
        let erased = erasure::erase(&mut transaction, &outbox, request, None).await?;
        transaction.commit().await?;
        line.state = match erased {
            Erased::Now { .. } => "erased",
            Erased::Already { .. } => "already",
            Erased::Held => "held",
            Erased::Unknown => "unknown",
        }
        .to_owned();
    }
    Ok(Outcome { dry_run: false, documents: lines })
}

async fn look(connection: &mut PgConnection, args: &EraseArgs) -> Result<Vec<Line>, Error> {
    let lines = sqlx::query_as(
        r"SELECT u.id AS document_id, coalesce(d.tenant, e.tenant) AS tenant,
                 CASE WHEN h.document_id IS NOT NULL THEN 'held' WHEN d.id IS NOT NULL THEN 'would-erase'
                      WHEN e.document_id IS NOT NULL THEN 'already' ELSE 'unknown' END AS state,
                 EXISTS (SELECT FROM documents.documents x
                          WHERE x.tenant = d.tenant AND x.sha256 = d.sha256 AND x.id <> ALL ($1)) AS content_stays
            FROM UNNEST($1::uuid[]) WITH ORDINALITY AS u (id, nth)
            LEFT JOIN documents.documents d ON d.id = u.id AND d.tenant = coalesce($2, d.tenant)
            LEFT JOIN documents.legal_holds h ON h.document_id = d.id
            LEFT JOIN documents.erasures e ON e.document_id = u.id AND e.tenant = coalesce($2, e.tenant)
           ORDER BY u.nth",
    );
    Ok(lines.bind(&args.documents).bind(&args.tenant).fetch_all(connection).await?)
}

impl Report for Outcome {
    fn text(&self) -> String {
        let mut table = output::table(["document", "tenant", "state", "content"]);
        for line in &self.documents {
            let content = match line.state.as_str() {
                "would-erase" | "erased" if line.content_stays => "stays for another document",
                "would-erase" => "would go",
                "erased" => "goes",
                _ => "",
            };
            table.add_row([
                line.document_id.to_string(),
                line.tenant.clone().unwrap_or_default(),
                line.state.clone(),
                content.to_owned(),
            ]);
        }
        table.to_string()
    }

    fn exit(&self) -> Exit {
        let refused = |line: &Line| matches!(line.state.as_str(), "held" | "unknown");
        if self.documents.iter().any(refused) { Exit::Problem } else { Exit::Ok }
    }
}
