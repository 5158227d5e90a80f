//! The audit trail of documents: who wrote, read or removed what, and in which region.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// What was done. A new one is added here; readers of the trail know them by [`Action::as_str`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A document was taken in, and its content stored unless the tenant had it already.
    Accepted,
    ContentRead,
    TextStored,
    TextRead,
    LayoutStored,
    LayoutRead,
    SearchableStored,
    SearchableRead,
    MrzStored,
    MrzRead,
    /// A document and all that was made of it was removed.
    Erased,
    /// Bytes were removed from a store: of no document any more, or of one that never came to be.
    ContentErased,
}

impl Action {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::ContentRead => "content-read",
            Self::TextStored => "text-stored",
            Self::TextRead => "text-read",
            Self::LayoutStored => "layout-stored",
            Self::LayoutRead => "layout-read",
            Self::SearchableStored => "searchable-stored",
            Self::SearchableRead => "searchable-read",
            Self::MrzStored => "mrz-stored",
            Self::MrzRead => "mrz-read",
            Self::Erased => "erased",
            Self::ContentErased => "content-erased",
        }
    }
}

/// A line of the trail; PostgreSQL adds when.
#[derive(Debug, Clone)]
pub struct Entry<'e> {
    /// Where the bytes lie.
    pub region: &'e str,
    pub tenant: &'e str,
    /// `document-api`, the name of a consumer, or the operator of a command.
    pub actor: &'e str,
    pub action: Action,
    pub document_id: Option<Uuid>,
    /// An object of sizes, counts and reasons, at most 2,000 characters of JSON. Never a name, a text or an address: it
    /// outlives the document.
    pub detail: Value,
}

/// Writes the entries, in the transaction of what they tell of where there is one: else a thing could be done and not told.
///
/// # Errors
/// The database's. What was to be told must not happen then.
pub async fn record(connection: &mut PgConnection, entries: &[Entry<'_>]) -> Result<(), sqlx::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    sqlx::query(
        r"INSERT INTO documents.audit_trail (region, tenant, actor, action, document_id, detail)
          SELECT u.region, u.tenant, u.actor, u.action, u.document_id, u.detail
            FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::jsonb[])
                 WITH ORDINALITY AS u (region, tenant, actor, action, document_id, detail, nth)
           ORDER BY u.nth",
    )
    .bind(entries.iter().map(|e| e.region).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.tenant).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.actor).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.action.as_str()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.document_id).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| &e.detail).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}
