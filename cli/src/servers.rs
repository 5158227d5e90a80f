use std::{str::FromStr, time::Duration};

use rdkafka::{ClientConfig, admin::AdminClient, client::DefaultClientContext, consumer::BaseConsumer};
use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};

use crate::{Config, Error, error::Server};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one request; long enough for a broker that elects a leader.
pub const KAFKA_TIMEOUT: Duration = Duration::from_secs(10);
pub const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// The fleet's own database.
pub async fn postgres(config: &Config) -> Result<PgConnection, Error> {
    postgres_at(&config.postgres_url, "[postgres].url").await
}

/// One connection is enough for a command, and unlike a pool it tells at once why it can not be had. `origin` names the place
/// of the URL.
pub async fn postgres_at(url: &str, origin: &str) -> Result<PgConnection, Error> {
    // The parser's own text could repeat the URL, and with it the password; and it takes any scheme.
    let options = Some(url)
        .filter(|url| url.starts_with("postgres://") || url.starts_with("postgresql://"))
        .and_then(|url| PgConnectOptions::from_str(url).ok())
        .ok_or_else(|| Error::Config(format!("{origin} is not like postgres://user:password@host:port/database")))?
        .application_name("docfleet-cli");
    let address = format!("{}:{}", options.get_host(), options.get_port());
    match tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(match Error::from(error) {
            Error::Away { server, detail } => Error::Away { server, detail: format!("{address}: {detail}") },
            other => other,
        }),
        Err(_) => Err(Error::Away {
            server: Server::Postgres,
            detail: format!("{address} did not answer within {} s", CONNECT_TIMEOUT.as_secs()),
        }),
    }
}

fn kafka(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    for (name, value) in &config.kafka_client {
        client.set(name, value);
    }
    client.set("bootstrap.servers", &config.brokers).set("client.id", "docfleet-cli");
    client
}

pub fn kafka_admin(config: &Config) -> Result<AdminClient<DefaultClientContext>, Error> {
    Ok(kafka(config).create()?)
}

/// A client that reads offsets and records. It never subscribes, so it never joins `group`, and never commits.
pub fn kafka_observer(config: &Config, group: &str) -> Result<BaseConsumer, Error> {
    Ok(kafka(config)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        // A look at a few records must not pull a backlog into memory.
        .set("queued.max.messages.kbytes", "4096")
        .create()?)
}

/// For servers of our own: no proxy of the environment lies between.
pub fn http() -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("docfleet-cli/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| Error::Config(format!("HTTP client: {e}")))
}
