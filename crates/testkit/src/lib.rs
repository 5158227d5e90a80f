//! For tests only: the real servers that `./dev test` started, divided so that tests do not meet.
//!
//! Everything here panics with a sentence on what to do: a test without its servers has nothing to say.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod admin;
mod database;
mod kafka;
pub mod proxy;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

pub use database::Database;
use docfleet_telemetry::Settings;
pub use kafka::{Consumed, Topics};
use serde::Deserialize;

/// Addresses of the running servers, from the file named by `DOCFLEET_TEST_CONFIG`.
#[derive(Clone)]
pub struct Servers {
    pub settings: Settings,
}

#[derive(Deserialize, Default)]
struct Url {
    url: String,
}

#[derive(Deserialize, Default)]
struct Kafka {
    brokers: String,
}

/// `[test_bucket]`: an S3 service with the keys of `[blobs]`.
#[derive(Deserialize, Default)]
struct TestBucket {
    url: String,
    endpoint: String,
    #[serde(flatten)]
    further: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
struct Address {
    address: String,
}

impl Servers {
    pub fn running() -> Self {
        let path = std::env::var("DOCFLEET_TEST_CONFIG").expect(
            "DOCFLEET_TEST_CONFIG is not set: run the tests through `./dev test` (or `./dev test --only PATTERN`)",
        );
        Self::named_by(Path::new(&path))
    }

    /// The servers whose configuration is this file.
    pub fn named_by(path: &Path) -> Self {
        let text = std::fs::read_to_string(path)
            .unwrap_or_else(|e| panic!("{}: {e}: start the servers by `./dev test`", path.display()));
        Self { settings: Settings::from_toml(&text) }
    }

    pub fn postgres_url(&self) -> String {
        self.section::<Url>("postgres").url
    }

    pub fn registry_url(&self) -> String {
        self.section::<Url>("registry").url
    }

    pub fn redis_url(&self) -> String {
        self.section::<Url>("redis").url
    }

    pub fn brokers(&self) -> String {
        self.section::<Kafka>("kafka").brokers
    }

    pub fn clamd_address(&self) -> String {
        self.section::<Address>("clamd").address
    }

    /// The lines of a `[blobs]` with a customer's key, in a place of the bucket that no other test has. `endpoint`: another
    /// address for the service, as behind a proxy.
    pub fn bucket(&self, endpoint: Option<&str>) -> String {
        let bucket: TestBucket = self.section("test_bucket");
        assert!(!bucket.url.is_empty(), "the test configuration has no S3 service: start the servers by `./dev test`");
        let endpoint = endpoint.unwrap_or(&bucket.endpoint);
        let mut lines = format!("url = '{}/{}'\nendpoint = '{endpoint}'\n", bucket.url, unique_name());
        for (key, value) in bucket.further {
            lines.push_str(&format!("{key} = '{value}'\n"));
        }
        lines
    }

    /// Where the S3 service listens.
    pub fn bucket_address(&self) -> SocketAddr {
        let endpoint = self.section::<TestBucket>("test_bucket").endpoint;
        endpoint.trim_start_matches("https://").parse().expect("the S3 service has an address")
    }

    /// The configuration of a worker that meets no other test: its own database, its own topics and groups. `more` holds
    /// further sections.
    pub fn toml_for(&self, database: &Database, prefix: &str, more: &str) -> String {
        format!(
            "[postgres]\nurl = '{}'\n[kafka]\nbrokers = '{}'\ntopic_prefix = '{prefix}'\n[registry]\nurl = '{}'\n\
             [redis]\nurl = '{}'\n[clamd]\naddress = '{}'\n[service]\nlisten = '127.0.0.1:0'\nregion = 'test'\n{more}",
            database.url(),
            self.brokers(),
            self.registry_url(),
            self.redis_url(),
            self.clamd_address(),
        )
    }

    fn section<T: serde::de::DeserializeOwned + Default>(&self, name: &str) -> T {
        self.settings.section(name).expect("the test configuration has the section")
    }
}

/// A name no other test has, such as `t1763990000_4af1c2d3`; the time lets leftovers be swept.
pub fn unique_name() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970").as_secs();
    format!("t{seconds}_{:08x}", rand::random::<u32>())
}

/// Waits until `probe` answers with something, at most `seconds`.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, seconds: u64, mut probe: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(seconds);
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "after {seconds} s still not: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
