use std::{borrow::Cow, fmt::Display, str::FromStr, sync::Arc};

use serde::Deserialize;
use sqlx::{
    AssertSqlSafe, PgConnection, SqlSafeStr,
    migrate::{MigrateError, Migration, Migrator},
};

use crate::Error;

/// The outbox's migrations, written for [`SchemaName::pipeline`].
static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/outbox");

/// PostgreSQL cuts longer names, and some of ours are made of this one.
const CHARS_MAX: usize = 40;

/// The schema that an outbox lives in. It goes into statements as it is, so it is a lower-case word of ASCII letters, digits
/// and underscores, whatever it was read from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct SchemaName(Arc<str>);

impl SchemaName {
    /// The one of docfleet's own fleet.
    pub fn pipeline() -> Self {
        Self("pipeline".into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A statement that was written for `pipeline`, for this schema. The statement must be a constant of the program in
    /// which that word names the schema and nothing else.
    pub fn statement(&self, sql: &'static str) -> AssertSqlSafe<Cow<'static, str>> {
        AssertSqlSafe(self.in_text(sql))
    }

    fn in_text<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        match self.as_str() {
            "pipeline" => Cow::Borrowed(sql),
            other => Cow::Owned(sql.replace("pipeline", other)),
        }
    }

    /// Where an installation is recorded.
    pub fn migrations_table(&self) -> String {
        format!("{}.outbox_migrations", self.0)
    }

    /// Creates the schema, its outbox and the functions to write to it, or what of these is missing. sqlx holds an advisory
    /// lock, so two at once are safe.
    ///
    /// # Errors
    /// As [`Migrator::run`]; a migration is applied wholly or not at all.
    pub async fn install(&self, connection: &mut PgConnection) -> Result<(), MigrateError> {
        let mut migrator = Migrator::with_migrations(self.migrations());
        migrator.dangerous_set_table_name(self.migrations_table());
        migrator.create_schema(self.0.to_string());
        migrator.run_direct(None, connection, false).await
    }

    /// What [`install`](Self::install) applies.
    pub fn migrations(&self) -> Vec<Migration> {
        let of_ours = |m: &Migration| {
            let sql = AssertSqlSafe(self.in_text(m.sql.as_str()).into_owned()).into_sql_str();
            Migration::new(m.version, m.description.clone(), m.migration_type, sql, m.no_tx)
        };
        MIGRATIONS.iter().map(of_ours).collect()
    }
}

impl FromStr for SchemaName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let mut chars = name.chars();
        let first = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
        let rest = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !first || !rest || name.len() > CHARS_MAX || name.starts_with("pg_") {
            return Err(Error::InvalidSchemaName(name.chars().take(CHARS_MAX).collect()));
        }
        Ok(Self(name.into()))
    }
}

impl TryFrom<String> for SchemaName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

impl Display for SchemaName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::string_slice)]

    use super::*;

    #[test]
    fn only_plain_words_name_a_schema() {
        let long = "a".repeat(CHARS_MAX + 1);
        for bad in ["", "Billing", "a.b", "a b", "1a", "a\"", "a;drop", "ä", "pg_toast", "a-b", &long] {
            assert!(bad.parse::<SchemaName>().is_err(), "{bad}");
        }
        for good in ["billing", "_b2", "a"] {
            assert_eq!(good.parse::<SchemaName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn in_the_migrations_the_schemas_name_stands_for_the_schema_only() {
        for migration in MIGRATIONS.iter() {
            for (at, word) in migration.sql.as_str().match_indices("pipeline") {
                let text = migration.sql.as_str();
                let before = text[..at].chars().next_back().unwrap();
                let after = text[at + word.len()..].chars().next().unwrap();
                assert!(!before.is_alphanumeric() && before != '_', "{}", &text[at - 20..at + 20]);
                assert!(matches!(after, '.' | ';' | '`'), "{}", &text[at - 20..at + 20]);
            }
        }
        let elsewhere = "billing".parse::<SchemaName>().unwrap().migrations();
        assert!(elsewhere.iter().all(|m| !m.sql.as_str().contains("pipeline")));
    }
}
