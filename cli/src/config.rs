use std::{collections::BTreeMap, path::Path};

use docfleet_blobs::BlobsConfig;
use docfleet_outbox::{RegistryConfig, RetentionConfig};
use figment::{
    Figment,
    providers::{Env, Format, Toml},
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::Error;

/// Where the servers are. The sections' owners refuse unknown keys; the CLI reads only what it needs of each.
///
/// No `Debug`: the database's URL holds a password.
pub struct Config {
    pub postgres_url: String,
    pub brokers: String,
    pub topic_prefix: String,
    /// Further properties of librdkafka, such as `"security.protocol" = "sasl_ssl"`.
    pub kafka_client: BTreeMap<String, String>,
    pub registry: RegistryConfig,
    pub retention: RetentionConfig,
    /// Base of the document API, without a slash at the end.
    pub api_url: String,
    pub blobs: BlobsConfig,
    /// Whose blob store this is.
    pub region: String,
}

#[derive(Deserialize)]
#[serde(default)]
struct Postgres {
    url: String,
}

impl Default for Postgres {
    fn default() -> Self {
        Self { url: "postgres://docfleet@127.0.0.1:5432/docfleet".to_owned() }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct Kafka {
    brokers: String,
    topic_prefix: String,
    client: BTreeMap<String, String>,
}

impl Default for Kafka {
    fn default() -> Self {
        Self { brokers: "127.0.0.1:9092".to_owned(), topic_prefix: String::new(), client: BTreeMap::new() }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct Api {
    listen: String,
}

impl Default for Api {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8080".to_owned() }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct Service {
    region: String,
}

impl Default for Service {
    fn default() -> Self {
        Self { region: "local".to_owned() }
    }
}

impl Config {
    /// The same precedence as every process of the fleet: defaults < `file` < `DOCFLEET__SECTION__KEY`.
    pub fn load(file: Option<&Path>) -> Result<Self, Error> {
        let mut figment = Figment::new();
        if let Some(path) = file {
            if !path.is_file() {
                return Err(Error::Config(format!(
                    "the configuration {} is not a file; name it by --config or DOCFLEET_CONFIG",
                    path.display()
                )));
            }
            figment = figment.merge(Toml::file_exact(path));
        }
        Self::of(&figment.merge(Env::prefixed("DOCFLEET__").split("__")))
    }

    fn of(figment: &Figment) -> Result<Self, Error> {
        let kafka: Kafka = section(figment, "kafka")?;
        Ok(Self {
            postgres_url: section::<Postgres>(figment, "postgres")?.url,
            brokers: kafka.brokers,
            topic_prefix: kafka.topic_prefix,
            kafka_client: kafka.client,
            registry: section(figment, "registry")?,
            retention: section(figment, "retention")?,
            api_url: format!("http://{}", section::<Api>(figment, "api")?.listen),
            blobs: section(figment, "blobs")?,
            region: section::<Service>(figment, "service")?.region,
        })
    }
}

fn section<T: DeserializeOwned + Default>(figment: &Figment, name: &str) -> Result<T, Error> {
    if !figment.contains(name) {
        return Ok(T::default());
    }
    figment.extract_inner(name).map_err(|e| Error::Config(format!("configuration: {e}")))
}
