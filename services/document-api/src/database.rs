//! The pool, and what its errors mean to a client.

use std::str::FromStr;

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    Error,
    config::PostgresConfig,
    problem::{Kind, Problem},
};

/// Connects when first used.
pub(crate) fn pool(config: &PostgresConfig) -> Result<PgPool, Error> {
    let statement_timeout = format!("{}ms", config.statement_timeout.as_millis());
    let options = PgConnectOptions::from_str(&config.url)
        .map_err(|_| Error::PostgresUrl)?
        .application_name("document-api")
        .options([
            ("statement_timeout", statement_timeout.as_str()),
            // A process that was stopped between a statement and its commit must not hold its locks for ever.
            ("idle_in_transaction_session_timeout", "60s"),
            ("lock_timeout", "5s"),
        ]);
    Ok(PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(config.acquire_timeout)
        .connect_lazy_with(options))
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
