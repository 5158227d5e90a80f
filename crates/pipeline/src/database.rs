//! Connections and statements with deadlines of our own.
//!
//! sqlx has none, and the server's `statement_timeout` does not help when the server's machine is gone: a query would be
//! waited for until TCP gives up, after a quarter of an hour or never. Nor does sqlx let us set the socket's own options.

use std::{io, time::Duration};

use sqlx::{Connection, PgConnection, Postgres, pool::PoolConnection, postgres::PgPoolOptions};
use tokio::time::error::Elapsed;

use crate::PostgresConfig;

/// Of statements that touch many rows. Above the server's own `statement_timeout`, whose answer says more.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// Of a statement that finds one row by its key.
pub(crate) const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Of the question whether a connection still lives.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// A pool that tests a connection before it gives it out, as sqlx does, but with a deadline: otherwise each dead
/// connection costs its finder the whole `acquire_timeout`.
pub(crate) fn pool_options(config: &PostgresConfig) -> PgPoolOptions {
    PgPoolOptions::new()
        .acquire_timeout(config.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(answers(connection)))
}

async fn answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    tokio::time::timeout(PING_TIMEOUT, connection.ping()).await.map_err(late)?.map(|()| true)
}

/// Of statements that ran under [`tokio::time::timeout`] on `connection`. One that did not answer in time is closed and
/// not given back: the pool would wait for it as well.
///
/// # Errors
/// As the statements; a late answer is [`sqlx::Error::Io`] of the kind `TimedOut`.
pub(crate) fn in_time<T, E: From<sqlx::Error>>(
    answered: Result<Result<T, E>, Elapsed>,
    mut connection: PoolConnection<Postgres>,
) -> Result<T, E> {
    answered.unwrap_or_else(|elapsed| {
        connection.close_on_drop();
        Err(late(elapsed).into())
    })
}

fn late(elapsed: Elapsed) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, elapsed))
}
