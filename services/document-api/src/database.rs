//! The pool, its deadlines, and what its errors mean to a client.

use std::{io, str::FromStr, time::Duration};

use futures::{
    StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Connection, Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::time::error::Elapsed;

use crate::{
    Error,
    config::PostgresConfig,
    problem::{Kind, Problem},
};

/// Of a statement, or of the transaction that accepts a document. sqlx has no deadline, and the server's
/// `statement_timeout` does not help when the server's machine is gone: the connection stays half-open.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Of the question whether an idle connection still lives; sqlx's own has no deadline.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// A pool whose statements have a deadline. A connection that did not answer in time is closed and not given back: the
/// pool would wait for it as well.
#[derive(Clone, Debug)]
pub(crate) struct Pool(PgPool);

/// Connects when first used.
pub(crate) fn pool(config: &PostgresConfig) -> Result<Pool, Error> {
    let statement_timeout = format!("{}ms", config.statement_timeout.as_millis());
    let options = PgConnectOptions::from_str(&config.url)
        .map_err(|_| Error::PostgresUrl)?
        .application_name("document-api")
        .options([
            ("statement_timeout", statement_timeout.as_str()),
            // A process that was stopped between a statement and its commit must not hold its locks for ever.
            ("idle_in_transaction_session_timeout", "15s"),
            ("lock_timeout", "5s"),
        ]);
    let pool = PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(config.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(answers(connection)))
        .connect_lazy_with(options);
    Ok(Pool(pool))
}

async fn answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    tokio::time::timeout(PING_TIMEOUT, connection.ping()).await.map_err(late)?.map(|()| true)
}

fn late(elapsed: Elapsed) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, elapsed))
}

impl Pool {
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        self.0.acquire().await
    }

    pub async fn close(&self) {
        self.0.close().await;
    }
}

/// Runs `statements` under the deadline. When it has passed, close their connection.
pub(crate) async fn in_time<T>(statements: impl Future<Output = T>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(ANSWER_TIMEOUT, statements).await.map_err(late)
}

/// So that a query is run on the pool as on sqlx's own. All rows of a query come within the deadline: each is bounded.
impl<'p> Executor<'p> for &'p Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let answer = async move {
            let mut connection = self.acquire().await?;
            let answered = in_time((&mut *connection).fetch_many(query).try_collect::<Vec<_>>()).await;
            close_if_late(answered, connection)
        };
        stream::once(answer).map_ok(|rows| stream::iter(rows.into_iter().map(Ok))).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move {
            let mut connection = self.acquire().await?;
            let answered = in_time((&mut *connection).fetch_optional(query)).await;
            close_if_late(answered, connection)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut connection = self.acquire().await?;
            let answered = in_time((&mut *connection).prepare_with(sql, parameters)).await;
            close_if_late(answered, connection)
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut connection = self.acquire().await?;
            let answered = in_time((&mut *connection).describe(sql)).await;
            close_if_late(answered, connection)
        })
    }
}

fn close_if_late<T>(
    answered: Result<Result<T, sqlx::Error>, sqlx::Error>,
    mut connection: PoolConnection<Postgres>,
) -> Result<T, sqlx::Error> {
    answered.unwrap_or_else(|late| {
        connection.close_on_drop();
        Err(late)
    })
}

impl From<sqlx::Error> for Problem {
    /// The log gets the kind and the code only: a message of PostgreSQL may quote values.
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|e| e.code()).unwrap_or_default();
        if is_away(&error) {
            tracing::warn!(%code, kind = kind(&error), "the database is away");
            return Self::unavailable();
        }
        tracing::error!(%code, kind = kind(&error), "a statement failed");
        Self::of(Kind::Internal)
    }
}

/// Whether the same statement may work later.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        // A connection that breaks in the middle of an answer.
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(refused) => is_passing(&refused.code().unwrap_or_default()),
        _ => false,
    }
}

/// SQLSTATE: connection lost, rolled back by a conflict, out of resources, operator intervention (also timeouts), a
/// lock that was not to be had, a database that takes no connections, a standby that is read-only.
fn is_passing(code: &str) -> bool {
    ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class)) || ["55P03", "55000", "25006"].contains(&code)
}

fn kind(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::Io(_) => "io",
        sqlx::Error::Tls(_) => "tls",
        sqlx::Error::Protocol(_) => "protocol",
        sqlx::Error::PoolTimedOut => "pool-timed-out",
        sqlx::Error::PoolClosed => "pool-closed",
        sqlx::Error::Database(_) => "refused",
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => "decode",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_work_later_is_told_from_what_never_will() {
        for passing in ["08006", "40001", "40P01", "53300", "57P01", "57014", "55P03", "25006"] {
            assert!(is_passing(passing), "{passing}");
        }
        for lasting in ["23505", "42P01", "22P02", ""] {
            assert!(!is_passing(lasting), "{lasting}");
        }
        assert!(is_away(&sqlx::Error::PoolTimedOut) && !is_away(&sqlx::Error::RowNotFound));
    }
}
