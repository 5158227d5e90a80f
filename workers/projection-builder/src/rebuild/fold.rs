use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::{Error, read::Facts, search::Texts};
use crate::{
    table::Table,
    view::{self, Fact},
};

/// Adds the rows of documents that the standby does not have, once in a transaction. Returns how many were carried over
/// from the live view.
///
/// The live view's own fold works on a temporary table, which costs no log; the standby gets each row once, finished.
pub async fn fill(connection: &mut PgConnection, facts: &Facts, texts: Texts<'_>) -> Result<i64, Error> {
    let (live, standby, folded) = (Table::LIVE, Table::STANDBY, Table::FOLDED);
    sqlx::query(AssertSqlSafe(format!(
        "CREATE TEMPORARY TABLE IF NOT EXISTS document_view_folded (LIKE {live}, PRIMARY KEY (document_id)) ON COMMIT DELETE ROWS"
    )))
    .execute(&mut *connection)
    .await?;
    let all: Vec<Fact<'_>> = facts.events.iter().map(|(meta, event)| Fact { meta, event, text: None }).collect();
    view::apply(&mut *connection, folded, &all).await?;
    texts.index(&mut *connection, folded, facts).await?;
    let (documents, times): (Vec<Uuid>, Vec<_>) = facts.applied_at.iter().copied().unzip();
    sqlx::query(AssertSqlSafe(format!(
        "UPDATE {folded} AS v SET updated_at = u.at FROM UNNEST($1::uuid[], $2::timestamptz[]) AS u (id, at) WHERE v.document_id = u.id"
    )))
    .bind(documents)
    .bind(times)
    .execute(&mut *connection)
    .await?;
    sqlx::query(AssertSqlSafe(format!("INSERT INTO {standby} SELECT * FROM {folded} ORDER BY document_id")))
        .execute(&mut *connection)
        .await?;
    if facts.pruned.is_empty() {
        return Ok(0);
    }
    let carried = sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO {standby} SELECT * FROM {live} WHERE document_id = ANY($1) ORDER BY document_id"
    )))
    .bind(&facts.pruned)
    .execute(connection)
    .await?;
    Ok(i64::try_from(carried.rows_affected()).unwrap_or(i64::MAX))
}

/// Folds documents again, whatever the standby says of them.
pub async fn again(
    connection: &mut PgConnection,
    documents: &[Uuid],
    facts: &Facts,
    texts: Texts<'_>,
) -> Result<(), Error> {
    let standby = Table::STANDBY;
    sqlx::query(AssertSqlSafe(format!("DELETE FROM {standby} WHERE document_id = ANY($1)")))
        .bind(documents)
        .execute(&mut *connection)
        .await?;
    fill(connection, facts, texts).await?;
    Ok(())
}
