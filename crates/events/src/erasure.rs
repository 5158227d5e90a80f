//! A document goes, everywhere: the transaction that decides it, and the question that keeps it from coming back.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use docfleet_outbox::{Draft, Error, Outbox, Registry};
use serde::Deserialize;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{BlobRef, DedupOutcome, DocumentDeduplicated, DocumentErased};

/// `[erasure]`: document-api deletes the bytes, `docfleet documents retention` erases what is old.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErasureConfig {
    /// How long documents are kept; none: until somebody erases them.
    #[serde(with = "humantime_serde")]
    pub documents_kept: Option<Duration>,
    /// The same for single tenants.
    pub tenants: BTreeMap<String, TenantErasure>,
    /// How often it is looked for bytes that have to go.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// So long after an erasure it is looked once more: longer than any worker works on a document, as one that was at
    /// work may have stored something.
    #[serde(with = "humantime_serde")]
    pub second_look: Duration,
}

/// `[erasure.tenants.NAME]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantErasure {
    #[serde(with = "humantime_serde")]
    pub documents_kept: Duration,
}

impl Default for ErasureConfig {
    fn default() -> Self {
        Self {
            documents_kept: None,
            tenants: BTreeMap::new(),
            interval: Duration::from_secs(5),
            second_look: Duration::from_secs(3_600),
        }
    }
}

/// Which document, and why.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    pub document_id: Uuid,
    /// Whose it has to be; none for an operator, who may erase anybody's.
    pub tenant: Option<&'r str>,
    /// A word: see [`is_reason`].
    pub reason: &'r str,
    /// `document-api`, `retention`, or the operator's name.
    pub by: &'r str,
}

/// What became of a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erased {
    /// Commit, and it is gone.
    Now { tenant: String, at: OffsetDateTime },
    /// Before; nothing was done.
    Already { at: OffsetDateTime },
    /// A legal hold keeps it; nothing was done.
    Held,
    /// There is no such document, or it is another tenant's.
    Unknown,
}

/// Whether a reason is one: `^[a-z][a-z0-9-]{1,39}$`, so that nobody writes about a person in what stays for good.
pub fn is_reason(reason: &str) -> bool {
    let mut bytes = reason.bytes();
    (2..=40).contains(&reason.len())
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[derive(FromRow)]
struct Row {
    state: String,
    tenant: Option<String>,
    region: Option<String>,
    erased_at: Option<OffsetDateTime>,
    heir: Option<Uuid>,
    heir_mime: Option<String>,
}

/// Registers the schemas of what [`erase`] says.
///
/// # Errors
/// The registry's.
pub async fn pin_schemas(registry: &Registry) -> Result<(), Error> {
    registry.pin::<DocumentErased>().await?;
    registry.pin::<DocumentDeduplicated>().await.map(drop)
}

/// Erases a document in the caller's transaction, which has to commit soon: its locks are those that settlements wait for.
///
/// What it removes at once: the document, its verdicts, its place among the contents, what waits or died of it at any
/// consumer. What it begins: the bytes in the blob store (document-api's eraser) and the view's row (projection-builder, by
/// the event). [`pin_schemas`] must have succeeded.
///
/// # Errors
/// The database's or the outbox's; roll back then.
pub async fn erase(
    connection: &mut PgConnection,
    outbox: &Outbox,
    request: Request<'_>,
    traceparent: Option<String>,
) -> Result<Erased, Error> {
    let row: Row = sqlx::query_as("SELECT * FROM documents.erase($1, $2, $3, $4)")
        .bind(request.document_id)
        .bind(request.tenant)
        .bind(request.reason)
        .bind(request.by)
        .fetch_one(&mut *connection)
        .await?;
    let heir = row.heir.zip(row.heir_mime);
    let (tenant, region, at) = match (row.state.as_str(), row.tenant, row.region, row.erased_at) {
        ("erased", Some(tenant), Some(region), Some(at)) => (tenant, region, at),
        ("already", _, _, Some(at)) => return Ok(Erased::Already { at }),
        ("held", ..) => return Ok(Erased::Held),
        _ => return Ok(Erased::Unknown),
    };
    let event = DocumentErased {
        document_id: request.document_id,
        reason: request.reason.to_owned(),
        erased_at: at,
        by: request.by.to_owned(),
    };
    let mut drafts = vec![Draft::first(event, &tenant, &region, traceparent)];
    if let Some((heir, mime)) = heir {
        drafts.push(unique_now(connection, heir, mime).await?);
    }
    outbox.append(connection, drafts).await?;
    Ok(Erased::Now { tenant, at })
}

#[derive(FromRow)]
struct Heir {
    tenant: String,
    region: String,
    file_name: String,
    blob_key: String,
    size_bytes: i64,
    sha256: String,
    searchable_pdf: bool,
}

/// A duplicate has no text of its own: the first document's stood for it. When that one goes, its heir is announced as
/// unique, and so is read.
async fn unique_now(connection: &mut PgConnection, heir: Uuid, mime: String) -> Result<Draft, sqlx::Error> {
    // Its own erasure waits for the content's row, which this transaction holds.
    let row: Heir = sqlx::query_as(
        r"SELECT tenant, region, file_name, blob_key, size_bytes, encode(sha256, 'hex') AS sha256, searchable_pdf
            FROM documents.documents WHERE id = $1",
    )
    .bind(heir)
    .fetch_one(connection)
    .await?;
    let event = DocumentDeduplicated {
        document_id: heir,
        outcome: DedupOutcome::Unique,
        duplicate_of: None,
        reason: None,
        sha256: row.sha256,
        mime,
        file_name: row.file_name,
        blob: BlobRef { key: row.blob_key, size_bytes: row.size_bytes },
        searchable_pdf: row.searchable_pdf,
    };
    Ok(Draft::first(event, &row.tenant, &row.region, None))
}

/// Which of the documents are erased. Call it first in a settlement that is about to write or emit something of them, and
/// leave those out: until the settlement's end none of the others can be erased.
///
/// # Errors
/// The database's.
pub async fn erased_of(connection: &mut PgConnection, documents: &[Uuid]) -> Result<HashSet<Uuid>, sqlx::Error> {
    if documents.is_empty() {
        return Ok(HashSet::new());
    }
    let erased: Vec<Uuid> =
        sqlx::query_scalar("SELECT documents.erased_of($1)").bind(documents).fetch_all(connection).await?;
    Ok(erased.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_word_and_no_text() {
        for good in ["request", "retention", "gdpr-art-17", "ab"] {
            assert!(is_reason(good), "{good}");
        }
        let long = "a".repeat(41);
        for bad in ["", "a", "Max Mustermann", "he asked", "-x", "1x", "größe", "a_b", &long] {
            assert!(!is_reason(bad), "{bad}");
        }
    }
}
