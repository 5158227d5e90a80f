use docfleet_blobs::Blobs;
use docfleet_events::DocumentEvent;
use futures::future::try_join_all;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use super::{Error, read::Facts};
use crate::{
    table::Table,
    text::{self, SEARCHED_BYTES_MAX},
};

/// Texts that are read at once, and that one statement carries.
const TEXTS_AT_ONCE: usize = 16;
const _: () = assert!(TEXTS_AT_ONCE as u64 * SEARCHED_BYTES_MAX <= 8 * 1024 * 1024);

/// Where the words for the search come from.
#[derive(Clone, Copy)]
pub enum Texts<'b> {
    /// The texts themselves.
    Blobs(&'b Blobs),
    /// What the live view has of the same text, for a moment in which others wait.
    OfLive,
}

impl Texts<'_> {
    /// Fills the search of rows in `table`, which were folded from `facts`.
    pub async fn index(self, connection: &mut PgConnection, table: Table, facts: &Facts) -> Result<(), Error> {
        match self {
            Self::Blobs(blobs) => of_blobs(connection, table, facts, blobs).await,
            Self::OfLive => of_live(connection, table).await,
        }
    }
}

async fn of_live(connection: &mut PgConnection, table: Table) -> Result<(), Error> {
    let live = Table::LIVE;
    sqlx::query(AssertSqlSafe(format!(
        r"UPDATE {table} AS v SET search = l.search FROM {live} AS l
           WHERE l.document_id = v.document_id AND l.text_key = v.text_key AND l.read_at = v.read_at"
    )))
    .execute(connection)
    .await?;
    Ok(())
}

/// Of a document with several such events the last one stands: they come in their order.
async fn of_blobs(connection: &mut PgConnection, table: Table, facts: &Facts, blobs: &Blobs) -> Result<(), Error> {
    let told: Vec<_> =
        facts.events.iter().filter(|(_, event)| matches!(event, DocumentEvent::TextExtracted(_))).collect();
    for some in told.chunks(TEXTS_AT_ONCE) {
        let texts = try_join_all(some.iter().map(|(meta, event)| text::of(blobs, meta, event))).await?;
        let found = some.iter().zip(texts).filter_map(|((_, event), text)| Some((event.document_id(), text?)));
        write(connection, table, &found.collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// A text that PostgreSQL refuses, or needs too long for, is left out: it must not stop the others for ever.
async fn write(connection: &mut PgConnection, table: Table, texts: &[(Uuid, String)]) -> Result<(), Error> {
    if within_savepoint(connection, table, texts).await? {
        return Ok(());
    }
    for text in texts {
        if !within_savepoint(connection, table, std::slice::from_ref(text)).await? {
            tracing::warn!(document_id = %text.0, "a text can not be searched: PostgreSQL does not index it");
        }
    }
    Ok(())
}

/// False when it failed for what the texts are; then nothing was written.
async fn within_savepoint(
    connection: &mut PgConnection,
    table: Table,
    texts: &[(Uuid, String)],
) -> Result<bool, sqlx::Error> {
    let mut savepoint = connection.begin().await?;
    match index_texts(&mut savepoint, table, texts).await {
        Ok(()) => savepoint.commit().await.map(|()| true),
        Err(error) if is_of_the_text(&error) => savepoint.rollback().await.map(|()| false),
        Err(error) => Err(error),
    }
}

/// SQLSTATE: data that is refused, a limit of the program, a statement that took too long.
fn is_of_the_text(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|refused| refused.code()).unwrap_or_default();
    code.starts_with("22") || code.starts_with("54") || code == "57014"
}

async fn index_texts(connection: &mut PgConnection, table: Table, texts: &[(Uuid, String)]) -> Result<(), sqlx::Error> {
    if texts.is_empty() {
        return Ok(());
    }
    sqlx::query(AssertSqlSafe(format!(
        r"UPDATE {table} AS v SET search = views.search_of(v.language, u.content)
            FROM (SELECT DISTINCT ON (document_id) document_id, content
                    FROM UNNEST($1::uuid[], $2::text[]) WITH ORDINALITY AS t (document_id, content, nth)
                   ORDER BY document_id, nth DESC) AS u
           WHERE v.document_id = u.document_id AND v.erased_at IS NULL AND v.text_key IS NOT NULL"
    )))
    .bind(texts.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(texts.iter().map(|(_, text)| text.replace('\0', "\u{fffd}")).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
