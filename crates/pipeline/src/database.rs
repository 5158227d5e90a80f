//! Statements with a deadline of our own.
//!
//! sqlx has none, and the server's `statement_timeout` does not help when the server's machine is gone: a query would be
//! waited for until TCP gives up, after a quarter of an hour or never.

use std::{io, time::Duration};

use sqlx::{Postgres, pool::PoolConnection};
use tokio::time::error::Elapsed;

/// Above the server's own `statement_timeout`, whose answer says more.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// Of statements that ran under [`tokio::time::timeout`] on `connection`. One that did not answer in time is closed and
/// not given back: the pool would wait for it as well.
///
/// # Errors
/// As the statements; a late answer is [`sqlx::Error::Io`] of the kind `TimedOut`.
pub(crate) fn in_time<T, E: From<sqlx::Error>>(
    answered: Result<Result<T, E>, Elapsed>,
    mut connection: PoolConnection<Postgres>,
) -> Result<T, E> {
    answered.unwrap_or_else(|late| {
        connection.close_on_drop();
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, late)).into())
    })
}
