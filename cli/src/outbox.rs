//! Which outbox a command means: the fleet's own, or one that a service has in a schema of its own.

use std::path::PathBuf;

use clap::Args;
use docfleet_outbox::SchemaName;
use sqlx::PgConnection;

use crate::{Config, Error, servers};

#[derive(Args)]
pub struct OutboxArgs {
    /// The outbox in this schema, not the fleet's own
    #[arg(long, value_name = "NAME")]
    pub outbox_schema: Option<SchemaName>,
    /// In the database whose URL stands in this file; a command line is no place for a password
    #[arg(long, value_name = "FILE", requires = "outbox_schema")]
    database_url_file: Option<PathBuf>,
}

impl OutboxArgs {
    pub fn schema(&self) -> SchemaName {
        self.outbox_schema.clone().unwrap_or_else(SchemaName::pipeline)
    }

    pub async fn connect(&self, config: &Config) -> Result<PgConnection, Error> {
        let Some(file) = &self.database_url_file else { return servers::postgres(config).await };
        let url = std::fs::read_to_string(file)
            .map_err(|e| Error::Usage(format!("--database-url-file {}: {e}", file.display())))?;
        servers::postgres_at(url.trim(), &format!("the URL in {}", file.display())).await
    }
}
