use docfleet_outbox::Registry;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::{
    Error,
    build::{Build, State},
    follow::{self, NEAR_DOCUMENTS},
    search::Texts,
};
use crate::table::Table;

/// Everything that carries the view's name, and its name on the standby.
const NAMES: [(&str, &str); 4] = [
    ("TABLE views.document_view", "document_view"),
    ("INDEX views.document_view_pkey", "document_view_pkey"),
    ("INDEX views.document_view_by_tenant", "document_view_by_tenant"),
    ("INDEX views.document_view_search", "document_view_search"),
];

/// Empty, and without the indexes that are filled faster at the end.
pub async fn make(connection: &mut PgConnection) -> Result<(), Error> {
    let (live, standby) = (Table::LIVE, Table::STANDBY);
    // A build that died before its first step was written down may have left one.
    sqlx::query(AssertSqlSafe(format!("DROP TABLE IF EXISTS {standby}"))).execute(&mut *connection).await?;
    sqlx::query(AssertSqlSafe(format!(
        r"CREATE TABLE {standby} (LIKE {live} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS,
              CONSTRAINT document_view_pkey_standby PRIMARY KEY (document_id)) WITH (fillfactor = 60)"
    )))
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn index(connection: &mut PgConnection) -> Result<(), Error> {
    sqlx::query("SET LOCAL statement_timeout = '30min'").execute(&mut *connection).await?;
    let standby = Table::STANDBY;
    sqlx::query(AssertSqlSafe(format!(
        "CREATE INDEX document_view_by_tenant_standby ON {standby} (tenant, uploaded_at DESC, document_id)"
    )))
    .execute(&mut *connection)
    .await?;
    sqlx::query(AssertSqlSafe(format!(
        "CREATE INDEX document_view_search_standby ON {standby} USING gin (tenant, search)"
    )))
    .execute(&mut *connection)
    .await?;
    sqlx::query(AssertSqlSafe(format!("ANALYZE {standby}"))).execute(connection).await?;
    Ok(())
}

/// Live and standby exchange their names, in both directions the same. Readers wait for milliseconds; writers from the
/// moment on when those at work have ended, while the last documents are folded. When that takes longer than the lock
/// timeout, everybody goes on and it is tried again.
pub async fn switch(pool: &PgPool, registry: &Registry, build: &Build) -> Result<(), Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SET LOCAL lock_timeout = '1s'").execute(&mut *transaction).await?;
    let (live, standby) = (Table::LIVE, Table::STANDBY);
    sqlx::query(AssertSqlSafe(format!("LOCK TABLE {live} IN SHARE MODE"))).execute(&mut *transaction).await?;
    // No settlement that touched the live view is at work any more, so all that it has applied is visible.
    let documents = follow::since(&mut transaction, build.followed_until).await?;
    if documents.len() > NEAR_DOCUMENTS {
        return Err(Error::Behind { documents: documents.len() });
    }
    // Writers wait: what the live view has of a text is as good as the blob.
    follow::catch_up(&mut transaction, registry, &documents, Texts::OfLive).await?;
    sqlx::query(AssertSqlSafe(format!("LOCK TABLE {live}, {standby} IN ACCESS EXCLUSIVE MODE")))
        .execute(&mut *transaction)
        .await?;
    for (what, name) in NAMES {
        for rename in [
            format!("ALTER {what} RENAME TO {name}_leaves"),
            format!("ALTER {what}_standby RENAME TO {name}"),
            format!("ALTER {what}_leaves RENAME TO {name}_standby"),
        ] {
            sqlx::query(AssertSqlSafe(rename)).execute(&mut *transaction).await?;
        }
    }
    let next = if build.state == State::Switched { State::Ready } else { State::Switched };
    build.enter(&mut transaction, next, build.wanted).await?;
    transaction.commit().await?;
    tracing::info!(state = ?next, "the view was switched");
    Ok(())
}

/// Whatever is beside the live view goes.
pub async fn end(pool: &PgPool, build: &Build) -> Result<(), Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query(AssertSqlSafe(format!("DROP TABLE IF EXISTS {}", Table::STANDBY))).execute(&mut *transaction).await?;
    build.end(&mut transaction).await?;
    transaction.commit().await?;
    Ok(())
}
