//! Which document of a tenant had a content first. The primary key of `documents.contents` decides.

use std::collections::HashMap;

use sqlx::{PgConnection, Row};
use uuid::Uuid;

/// A document and its content, as it stands in a settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub tenant: String,
    pub sha256: [u8; 32],
    pub document_id: Uuid,
    /// The cache believes that this content has its first document already.
    pub is_probably_known: bool,
}

/// Tenant and SHA-256.
pub type ContentKey = (String, [u8; 32]);

impl Content {
    pub fn key(&self) -> ContentKey {
        (self.tenant.clone(), self.sha256)
    }
}

/// Enters the contents that are new and returns the first document of each. Call it in READ COMMITTED, once per
/// transaction: the second statement must see what others committed while the first one waited for them.
///
/// Of equal contents within `contents` the earlier one is first.
///
/// # Errors
/// The database's, and [`sqlx::Error::RowNotFound`] when a content was deleted in between.
pub async fn claim(
    connection: &mut PgConnection,
    contents: &[Content],
) -> Result<HashMap<ContentKey, Uuid>, sqlx::Error> {
    let (probably_known, mut rest): (Vec<&Content>, Vec<&Content>) = contents.iter().partition(|c| c.is_probably_known);
    let mut first = firsts(connection, &probably_known).await?;
    // What the cache was wrong about goes the long way with the others, and in the order of the batch.
    if first.len() < probably_known.len() {
        rest = contents.iter().filter(|content| !first.contains_key(&content.key())).collect();
    }
    insert_new(connection, &rest).await?;
    first.extend(firsts(connection, &rest).await?);
    match contents.iter().all(|content| first.contains_key(&content.key())) {
        true => Ok(first),
        false => Err(sqlx::Error::RowNotFound),
    }
}

/// Writes down that these are duplicates, with their types; one that stands there stays. An erasure of the first document
/// chooses the next one among them.
///
/// # Errors
/// The database's.
pub async fn note_duplicates(
    connection: &mut PgConnection,
    duplicates: &[(Content, &'static str)],
) -> Result<(), sqlx::Error> {
    if duplicates.is_empty() {
        return Ok(());
    }
    sqlx::query(
        r"INSERT INTO documents.duplicates (document_id, tenant, sha256, mime)
          SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::bytea[], $4::text[]) AS u (document) ORDER BY document
          ON CONFLICT (document_id) DO NOTHING",
    )
    .bind(duplicates.iter().map(|(c, _)| c.document_id).collect::<Vec<_>>())
    .bind(duplicates.iter().map(|(c, _)| c.tenant.as_str()).collect::<Vec<_>>())
    .bind(duplicates.iter().map(|(c, _)| c.sha256.as_slice()).collect::<Vec<_>>())
    .bind(duplicates.iter().map(|(_, mime)| *mime).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Waits for another transaction that is entering the same content.
async fn insert_new(connection: &mut PgConnection, contents: &[&Content]) -> Result<(), sqlx::Error> {
    if contents.is_empty() {
        return Ok(());
    }
    // Sorted: two settlements that enter the same contents do it in the same order, and so can not deadlock.
    sqlx::query(
        r"INSERT INTO documents.contents (tenant, sha256, first_document)
          SELECT u.tenant, u.sha256, u.document
            FROM UNNEST($1::text[], $2::bytea[], $3::uuid[]) WITH ORDINALITY AS u (tenant, sha256, document, nth)
           ORDER BY u.tenant, u.sha256, u.nth
          ON CONFLICT (tenant, sha256) DO NOTHING",
    )
    .bind(contents.iter().map(|c| c.tenant.as_str()).collect::<Vec<_>>())
    .bind(contents.iter().map(|c| c.sha256.as_slice()).collect::<Vec<_>>())
    .bind(contents.iter().map(|c| c.document_id).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn firsts(
    connection: &mut PgConnection,
    contents: &[&Content],
) -> Result<HashMap<ContentKey, Uuid>, sqlx::Error> {
    if contents.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        r"SELECT DISTINCT c.tenant, c.sha256, c.first_document
            FROM UNNEST($1::text[], $2::bytea[]) AS u (tenant, sha256)
            JOIN documents.contents AS c USING (tenant, sha256)",
    )
    .bind(contents.iter().map(|c| c.tenant.as_str()).collect::<Vec<_>>())
    .bind(contents.iter().map(|c| c.sha256.as_slice()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let read = |row: &sqlx::postgres::PgRow| {
        let sha256 = row.try_get::<Vec<u8>, _>("sha256")?.try_into().map_err(|_| sqlx::Error::RowNotFound)?;
        Ok(((row.try_get("tenant")?, sha256), row.try_get("first_document")?))
    };
    rows.iter().map(read).collect()
}
