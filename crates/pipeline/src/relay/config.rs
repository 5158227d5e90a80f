use std::{collections::HashSet, path::PathBuf, time::Duration};

use serde::Deserialize;

/// `[relay]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelayConfig {
    /// Rows that one publisher reads at a time; it holds at most twice as many.
    pub batch_rows: u32,
    pub batch_bytes_max: u32,
    /// Publishers of each source, each over shards and with a producer of its own.
    pub publishers: i16,
    /// A relay that does not answer for so long loses its shards.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How long a row that Kafka refuses (too large, no such topic, no right) is left out, with what follows it.
    #[serde(with = "humantime_serde")]
    pub hold_refused: Duration,
    /// Longest pause between two looks into the table while there is nothing to do.
    #[serde(with = "humantime_serde")]
    pub idle_poll: Duration,
    /// A row that has waited so long for a predecessor that is not there is an error in the log.
    #[serde(with = "humantime_serde")]
    pub gap_alarm: Duration,
    /// Rows that wait without any movement and without a reason for so long end the process.
    #[serde(with = "humantime_serde")]
    pub stall_after: Duration,
    /// Where outboxes lie. Empty: the schema `pipeline` of the process's own database.
    pub sources: Vec<SourceConfig>,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            batch_rows: 5_000,
            batch_bytes_max: 16 * 1024 * 1024,
            publishers: 1,
            lease: Duration::from_secs(10),
            hold_refused: Duration::from_secs(60),
            idle_poll: Duration::from_secs(1),
            gap_alarm: Duration::from_secs(60),
            stall_after: Duration::from_secs(120),
            sources: Vec::new(),
        }
    }
}

/// `[[relay.sources]]`: one outbox.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Names it in logs and metrics.
    pub name: String,
    #[serde(default = "default_schema")]
    pub schema: String,
    /// A file that holds the database's URL, password and all; without it, `[postgres].url`.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
    /// Whether the relay makes and drops its days as well, by `[retention]`. The fleet's own outbox is always kept.
    #[serde(default)]
    pub housekeeping: bool,
}

fn default_schema() -> String {
    "pipeline".to_owned()
}

impl RelayConfig {
    /// All outboxes, at least one.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) fn outboxes(&self) -> Result<Vec<SourceConfig>, String> {
        if !(1..=20_000).contains(&self.batch_rows) {
            return Err("relay.batch_rows must be between 1 and 20000".to_owned());
        }
        if !(1..=16).contains(&self.publishers) {
            return Err("relay.publishers must be between 1 and 16".to_owned());
        }
        if self.sources.is_empty() {
            let name = "default".to_owned();
            return Ok(vec![SourceConfig { name, schema: default_schema(), url_file: None, housekeeping: false }]);
        }
        let (mut names, mut places) = (HashSet::new(), HashSet::new());
        for source in &self.sources {
            if !is_identifier(&source.schema) || source.schema.starts_with("pg_") {
                let schema = &source.schema;
                return Err(format!(
                    "relay.sources: schema {schema:?} is not a name of lower-case letters, digits and _"
                ));
            }
            if source.name.is_empty() || !names.insert(&source.name) {
                return Err(format!("relay.sources: the name {:?} is empty or taken twice", source.name));
            }
            if !places.insert((&source.schema, &source.url_file)) {
                return Err(format!("relay.sources: {:?} is the same outbox as another one", source.name));
            }
        }
        Ok(self.sources.clone())
    }
}

/// What PostgreSQL takes without quotes. It goes into a connection option, never into a statement.
fn is_identifier(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    first && name.len() <= 63 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn with(schemas: &[&str]) -> RelayConfig {
        let source = |schema: &&str| SourceConfig {
            name: (*schema).to_owned(),
            schema: (*schema).to_owned(),
            url_file: None,
            housekeeping: false,
        };
        RelayConfig { sources: schemas.iter().map(source).collect(), ..RelayConfig::default() }
    }

    #[test]
    fn a_schema_that_is_no_plain_name_is_refused() {
        for schema in ["", "a b", "a,b", "a\"b", "a;drop", "a-b", "Ä", "A", "1a", "$user", "pg_catalog", "a\0"] {
            assert!(with(&[schema]).outboxes().is_err(), "{schema:?}");
        }
        assert!(with(&[&"a".repeat(64)]).outboxes().is_err());
        assert_eq!(with(&["orders_2", "_x"]).outboxes().unwrap().len(), 2);
    }

    #[test]
    fn an_outbox_has_one_source_and_without_any_it_is_our_own() {
        assert!(with(&["a", "a"]).outboxes().is_err());
        let own = RelayConfig::default().outboxes().unwrap();
        assert_eq!((own[0].name.as_str(), own[0].schema.as_str()), ("default", "pipeline"));
    }
}
