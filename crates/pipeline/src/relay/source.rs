//! One outbox: a schema of a database.

use std::{str::FromStr, time::Duration};

use anyhow::Context;
use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio_util::sync::CancellationToken;

use super::config::{RelayConfig, SourceConfig};
use crate::{Class, PostgresConfig, RetryConfig, database::pool_options, failure};

/// Leases, measuring, listening, asking.
const OTHER_CONNECTIONS: u32 = 5;

#[derive(Clone)]
pub(super) struct Source {
    pub name: String,
    /// Finds the tables of this outbox by its `search_path`: statements name no schema.
    pub pool: PgPool,
}

impl Source {
    /// Connects when first used.
    ///
    /// # Errors
    /// When the file of its URL can not be read, or holds none.
    pub fn new(
        source: SourceConfig,
        config: &RelayConfig,
        postgres: &PostgresConfig,
        name: &str,
    ) -> anyhow::Result<Self> {
        let url = match &source.url_file {
            // The error must not show the URL.
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("relay.sources {:?}: url_file {}", source.name, file.display()))?,
            None => postgres.url.clone(),
        };
        let options = PgConnectOptions::from_str(url.trim()).map_err(|_| anyhow::anyhow!("no URL of a database"));
        let statement_timeout = format!("{}ms", postgres.statement_timeout.as_millis());
        let options =
            options.with_context(|| format!("relay.sources {:?}", source.name))?.application_name(name).options([
                ("search_path", source.schema.as_str()),
                ("statement_timeout", statement_timeout.as_str()),
                ("idle_in_transaction_session_timeout", "60s"),
                ("lock_timeout", "20s"),
                // A relay whose machine is gone must not hold the locks of a mark until TCP gives up.
                ("tcp_user_timeout", "15s"),
                ("tcp_keepalives_idle", "10s"),
                ("client_connection_check_interval", "10s"),
                // A mark or lease that a crash of the server forgets is a repetition: docs/adr/0023.
                ("synchronous_commit", "off"),
                // Two statements, thousands of times; with many partitions planning would cost more than they do.
                ("plan_cache_mode", "force_generic_plan"),
            ]);
        let connections = OTHER_CONNECTIONS + 2 * u32::from(config.publishers.unsigned_abs());
        let pool = pool_options(postgres)
            .max_connections(connections)
            .idle_timeout(Duration::from_secs(300))
            .connect_lazy_with(options);
        Ok(Self { name: source.name, pool })
    }

    /// Waits until the database answers.
    ///
    /// # Errors
    /// When it is a standby: what it shows is late, and it takes no mark.
    pub async fn until_primary(&self, retry: &RetryConfig, shutdown: &CancellationToken) -> anyhow::Result<()> {
        for waits in 0.. {
            let asking = sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&self.pool);
            match asking.await {
                Ok(false) => break,
                Ok(true) => anyhow::bail!("the database of {} is a standby; the relay needs the primary", self.name),
                Err(error) => {
                    let failure = failure::of_database(&error);
                    anyhow::ensure!(failure.class == Class::Unavailable, failure);
                    tracing::warn!(source = self.name, detail = %failure.detail, "waiting for the database");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(retry.wait(waits, rand::random())) => {}
                () = shutdown.cancelled() => break,
            }
        }
        Ok(())
    }
}
