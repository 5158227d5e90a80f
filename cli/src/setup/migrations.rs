use serde::Serialize;
use sqlx::migrate::Migrator;

use crate::{Config, Error, output, servers};

/// Every migration, part of the binary: a deployment needs no other file.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

#[derive(Serialize)]
pub struct Migrated {
    /// Names of those applied now.
    applied: Vec<String>,
    /// Those applied before.
    existing: usize,
}

/// Applies what is missing. sqlx holds an advisory lock, so two setups at once are safe.
pub async fn migrate(config: &Config) -> Result<Migrated, Error> {
    let mut connection = servers::postgres(config).await?;
    let table: Option<String> =
        sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations')::text").fetch_one(&mut connection).await?;
    let before: Vec<i64> = match table {
        Some(_) => sqlx::query_scalar("SELECT version FROM _sqlx_migrations").fetch_all(&mut connection).await?,
        None => Vec::new(),
    };
    MIGRATIONS.run_direct(None, &mut connection, false).await?;
    let applied = MIGRATIONS.iter().filter(|m| !before.contains(&m.version));
    let applied = applied.map(|m| format!("{:04} {}", m.version, m.description)).collect();
    Ok(Migrated { applied, existing: before.len() })
}

impl Migrated {
    pub fn text(&self) -> String {
        let existing = output::grouped(i64::try_from(self.existing).unwrap_or(i64::MAX));
        if self.applied.is_empty() {
            return format!("database   up to date, {existing} migrations");
        }
        format!("database   {existing} existing, applied: {}", self.applied.join(", "))
    }
}
