use docfleet_outbox::SchemaName;
use serde::Serialize;
use sqlx::{PgConnection, migrate::Migrator};

use crate::{Config, Error, output, servers};

/// Every migration but the outbox's own, part of the binary: a deployment needs no other file.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

#[derive(Serialize)]
pub struct Migrated {
    /// Names of those applied now.
    applied: Vec<String>,
    /// Those applied before.
    existing: usize,
}

/// Applies what is missing: first the outbox, then what builds on it. sqlx holds an advisory lock, so two setups at once are
/// safe.
pub async fn migrate(config: &Config) -> Result<Migrated, Error> {
    let mut connection = servers::postgres(config).await?;
    let outbox = install_outbox(&mut connection, &SchemaName::pipeline()).await?;
    let before = applied(&mut connection, "_sqlx_migrations").await?;
    MIGRATIONS.run_direct(None, &mut connection, false).await?;
    let new = MIGRATIONS.iter().filter(|m| !before.contains(&m.version));
    let new = new.map(|m| format!("{:04} {}", m.version, m.description));
    Ok(Migrated { applied: outbox.applied.into_iter().chain(new).collect(), existing: outbox.existing + before.len() })
}

/// The outbox alone, in any schema of the connection's database.
pub async fn install_outbox(connection: &mut PgConnection, schema: &SchemaName) -> Result<Migrated, Error> {
    let before = applied(connection, &schema.migrations_table()).await?;
    schema.install(connection).await?;
    let new = schema.migrations().into_iter().filter(|m| !before.contains(&m.version));
    let new = new.map(|m| format!("{schema}/{:04} {}", m.version, m.description)).collect();
    Ok(Migrated { applied: new, existing: before.len() })
}

async fn applied(connection: &mut PgConnection, table: &str) -> Result<Vec<i64>, Error> {
    let found: Option<String> =
        sqlx::query_scalar("SELECT to_regclass($1)::text").bind(table).fetch_one(&mut *connection).await?;
    match found {
        // The name comes from this program, or was checked.
        Some(_) => {
            let versions = sqlx::AssertSqlSafe(format!("SELECT version FROM {table}"));
            Ok(sqlx::query_scalar(versions).fetch_all(connection).await?)
        }
        None => Ok(Vec::new()),
    }
}

impl Migrated {
    pub fn line(&self) -> String {
        let existing = output::grouped(i64::try_from(self.existing).unwrap_or(i64::MAX));
        if self.applied.is_empty() {
            return format!("database   up to date, {existing} migrations");
        }
        format!("database   {existing} existing, applied: {}", self.applied.join(", "))
    }
}
