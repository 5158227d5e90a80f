use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

/// `[kafka]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    pub brokers: String,
    /// Before each topic's and group's name. Empty but in tests.
    pub topic_prefix: String,
    /// A member of a group that is silent for so long loses its partitions. A frozen process must lose them soon; a busy
    /// one is never silent, as its poll thread only polls. The broker's own minimum is 6 s.
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// Further properties of librdkafka, such as `"security.protocol" = "sasl_ssl"`. The ones that guarantees rest on
    /// are refused.
    pub client: BTreeMap<String, String>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            topic_prefix: String::new(),
            session_timeout: Duration::from_secs(15),
            client: BTreeMap::new(),
        }
    }
}

/// `[postgres]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// With the password; never logged.
    pub url: String,
    pub max_connections: u32,
    #[serde(with = "humantime_serde")]
    pub acquire_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            url: "postgres://docfleet@127.0.0.1:5432/docfleet".to_owned(),
            max_connections: 8,
            acquire_timeout: Duration::from_secs(30),
            statement_timeout: Duration::from_secs(30),
        }
    }
}

/// `[consumer]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumerConfig {
    /// Tries of `work` that run at once.
    pub concurrency: usize,
    /// Messages delivered and not settled; beyond it the partitions pause.
    pub in_flight_messages_max: usize,
    pub in_flight_bytes_max: usize,
    /// A larger record is dead at once, `oversized`: it would starve the others of the budget.
    pub record_bytes_max: usize,
    /// Messages in one settlement transaction, at most.
    pub batch_messages_max: usize,
    /// Settlement transactions that run at once.
    pub settlers: usize,
    #[serde(with = "humantime_serde")]
    pub commit_interval: Duration,
    /// How long a rebalance waits for what is in flight.
    #[serde(with = "humantime_serde")]
    pub revoke_drain: Duration,
    /// How long an orderly end waits for what is in flight.
    #[serde(with = "humantime_serde")]
    pub shutdown_drain: Duration,
    /// Lag without any movement for so long ends the process.
    #[serde(with = "humantime_serde")]
    pub stall_after: Duration,
    /// Goes on, with an error in the log, where Kafka has removed records before they were read. Otherwise the process ends.
    pub accept_lost_records: bool,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            concurrency: 8,
            in_flight_messages_max: 1_024,
            in_flight_bytes_max: 64 * 1024 * 1024,
            record_bytes_max: 512 * 1024,
            batch_messages_max: 256,
            settlers: 3,
            commit_interval: Duration::from_millis(500),
            revoke_drain: Duration::from_secs(10),
            shutdown_drain: Duration::from_secs(25),
            stall_after: Duration::from_secs(120),
            accept_lost_records: false,
        }
    }
}

/// `[retry]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// First wait between tries in the lane; doubles up to `backoff_max`, with full jitter.
    #[serde(with = "humantime_serde")]
    pub backoff: Duration,
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    /// Multiplies the delays of the retry topics; tests make it small.
    pub tier_delay_factor: f64,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { backoff: Duration::from_millis(200), backoff_max: Duration::from_secs(15), tier_delay_factor: 1.0 }
    }
}

/// `[parked]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParkedConfig {
    /// How often due keys are looked for.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    /// Wait before the first try of a parked message; doubles up to `backoff_max`, with full jitter.
    #[serde(with = "humantime_serde")]
    pub backoff: Duration,
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    /// A process that does not answer for so long loses the keys that it drains.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// Keys that one process drains at once.
    pub concurrency: usize,
    /// With more messages behind it a key becomes a group of dead letters,
    pub messages_max: u32,
    /// or when its head waits for longer,
    #[serde(with = "humantime_serde")]
    pub age_max: Duration,
    /// or when its head failed so often while it was parked.
    pub attempts_max: u32,
}

impl Default for ParkedConfig {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            lease: Duration::from_secs(15),
            concurrency: 4,
            messages_max: 10_000,
            age_max: Duration::from_secs(24 * 60 * 60),
            attempts_max: 100,
        }
    }
}

impl ParkedConfig {
    /// The waits between the tries of a head.
    pub(crate) fn waits(&self) -> RetryConfig {
        RetryConfig { backoff: self.backoff, backoff_max: self.backoff_max, tier_delay_factor: 1.0 }
    }
}
