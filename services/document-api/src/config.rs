use std::time::Duration;

use serde::Deserialize;

use crate::{Error, tenant};

/// `[api]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    pub listen: String,
    /// The largest file that is accepted; a larger one is answered with 413.
    pub upload_bytes_max: u64,
    /// The tenant of requests without `X-Tenant-Id`.
    pub default_tenant: String,
    /// Uploads that run at once; each holds at most some 25 MB in memory. Further ones are answered with 503.
    pub uploads_max: usize,
    /// Connections that are open at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// For a request's line and headers, and for a connection that is kept open between requests.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// From a request's headers to the answer's, for all but uploads.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// An upload that sends nothing for so long is given up.
    #[serde(with = "humantime_serde")]
    pub upload_idle_timeout: Duration,
    /// Bytes per second that an upload must send on the average, once it was waited for longer than `upload_slow_grace`;
    /// 0 is no minimum.
    pub upload_bytes_per_second_min: u64,
    #[serde(with = "humantime_serde")]
    pub upload_slow_grace: Duration,
    /// For the whole body of an upload.
    #[serde(with = "humantime_serde")]
    pub upload_timeout: Duration,
    /// A client that takes nothing of its answer for so long loses the connection.
    #[serde(with = "humantime_serde")]
    pub write_idle_timeout: Duration,
    /// How long an orderly end waits for requests that are being answered.
    #[serde(with = "humantime_serde")]
    pub shutdown_drain: Duration,
    /// How long a repeated request with an `Idempotency-Key` gets its first answer again.
    #[serde(with = "humantime_serde")]
    pub idempotency_keys_kept: Duration,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            upload_bytes_max: 50 * 1024 * 1024,
            default_tenant: "default".to_owned(),
            uploads_max: 32,
            connections_max: 1_024,
            header_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            upload_idle_timeout: Duration::from_secs(30),
            upload_bytes_per_second_min: 8_000,
            upload_slow_grace: Duration::from_secs(10),
            upload_timeout: Duration::from_secs(600),
            write_idle_timeout: Duration::from_secs(30),
            shutdown_drain: Duration::from_secs(25),
            idempotency_keys_kept: Duration::from_secs(7 * 24 * 3_600),
        }
    }
}

impl ApiConfig {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        if !tenant::is_valid(&self.default_tenant) {
            return Err(Error::Config("[api].default_tenant must match ^[a-z0-9][a-z0-9-]{0,62}$"));
        }
        if self.uploads_max == 0 || self.connections_max == 0 {
            return Err(Error::Config("[api].uploads_max and [api].connections_max must be at least 1"));
        }
        if i64::try_from(self.upload_bytes_max).is_err() {
            return Err(Error::Config("[api].upload_bytes_max is too large"));
        }
        Ok(())
    }
}

/// `[postgres]`, with a shorter patience than the workers': a client waits for the answer.
///
/// No `Debug`: the URL holds a password.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PostgresConfig {
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
            max_connections: 16,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
        }
    }
}

/// What the API needs of `[kafka]`: the topics' names stand in the outbox. The workers read the rest.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TopicsConfig {
    pub topic_prefix: String,
}

/// What the API needs of `[webhooks]`; the dispatcher reads the rest.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WebhooksConfig {
    /// For development: subscriptions to loopback addresses are accepted, and plain http to them.
    pub allow_loopback: bool,
}
