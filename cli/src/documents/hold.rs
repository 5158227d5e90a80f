use clap::Args;
use serde::Serialize;
use sqlx::Connection;
use uuid::Uuid;

use crate::{
    Config, Error,
    dlq::Decision,
    output::{Exit, Report},
    servers,
};

pub const EXAMPLES: &str = "\
Examples:
  docfleet documents hold 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d --why 'file 7 O 12/26'
  docfleet documents release 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d --why 'closed'

A document under a hold is not erased: the API answers 409 (legal-hold), retention passes it over. Name a file, not a person.
Exit code 1 when a document is not there, or was not held.";

#[derive(Args)]
pub struct HoldArgs {
    #[arg(required = true, value_name = "DOCUMENT_ID")]
    documents: Vec<Uuid>,
    #[command(flatten)]
    decision: Decision,
}

#[derive(Serialize)]
pub struct Held {
    action: &'static str,
    documents: Vec<Uuid>,
    not_found: Vec<Uuid>,
}

pub async fn place(config: &Config, args: &HoldArgs) -> Result<Held, Error> {
    const SQL: &str = r"INSERT INTO documents.legal_holds AS h (document_id, reason, placed_by)
        SELECT id, left($2, 200), $3 FROM documents.documents WHERE id = ANY ($1) ORDER BY id
        ON CONFLICT (document_id) DO UPDATE SET reason = h.reason RETURNING document_id";
    change(config, args, "hold", SQL).await
}

pub async fn release(config: &Config, args: &HoldArgs) -> Result<Held, Error> {
    const SQL: &str = "DELETE FROM documents.legal_holds WHERE document_id = ANY ($1) AND $2 <> '' AND $3 <> '' RETURNING document_id";
    change(config, args, "release", SQL).await
}

async fn change(config: &Config, args: &HoldArgs, action: &'static str, sql: &'static str) -> Result<Held, Error> {
    args.decision.check()?;
    let mut connection = servers::postgres(config).await?;
    let mut transaction = connection.begin().await?;
    let query = sqlx::query_scalar(sql).bind(&args.documents).bind(&args.decision.why).bind(&args.decision.who);
    let documents: Vec<Uuid> = query.fetch_all(&mut *transaction).await?;
    for document in &documents {
        args.decision.record(&mut transaction, action, &document.to_string()).await?;
    }
    transaction.commit().await?;
    let not_found = args.documents.iter().copied().filter(|id| !documents.contains(id)).collect();
    Ok(Held { action, documents, not_found })
}

impl Report for Held {
    fn text(&self) -> String {
        let done = if self.action == "hold" { "is held" } else { "is held no more" };
        let lines = self.documents.iter().map(|id| format!("{id} {done}"));
        lines.chain(self.not_found.iter().map(|id| format!("{id}: nothing to do"))).collect::<Vec<_>>().join("\n")
    }

    fn exit(&self) -> Exit {
        if self.not_found.is_empty() { Exit::Ok } else { Exit::Problem }
    }
}
