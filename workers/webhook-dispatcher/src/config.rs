use std::time::Duration;

use serde::Deserialize;

/// `[webhooks]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhooksConfig {
    /// For development only: loopback addresses, any port and plain `http` are allowed too.
    pub allow_loopback: bool,
    /// Ports that may be dialled.
    pub ports: Vec<u16>,
    /// Name resolution, TCP and TLS.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// From the dial to the last byte of the answer's head.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// A whole attempt, reading the answer's body included.
    #[serde(with = "humantime_serde")]
    pub total_timeout: Duration,
    /// Attempts that are out at once.
    pub concurrency: usize,
    /// Attempts that are out at once to one subscription.
    pub per_subscription: usize,
    /// Attempts that are out at once to one tenant's subscriptions; half of `concurrency` when absent. With more than
    /// that, two tenants can fill all slots.
    pub per_tenant: Option<usize>,
    /// After so many failures in a row a subscription rests for `rest`, then gets one attempt at a time until one
    /// succeeds.
    pub failures_before_rest: u32,
    #[serde(with = "humantime_serde")]
    pub rest: Duration,
    /// The wait before each attempt, the first one included; its length is the number of attempts.
    pub schedule: Vec<Wait>,
    /// The longest wait that an endpoint may ask for by `Retry-After`.
    #[serde(with = "humantime_serde")]
    pub retry_after_max: Duration,
    /// How long a claimed delivery is left to its dispatcher.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How often due deliveries are looked for when nothing wakes the dispatcher.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
}

/// A duration such as `5s` or `2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Wait(#[serde(with = "humantime_serde")] pub Duration);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("[webhooks] {0}")]
pub struct ConfigError(&'static str);

const SECOND: u64 = 1;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

impl Default for WebhooksConfig {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let waits = [0, 5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR];
        Self {
            allow_loopback: false,
            ports: vec![443],
            connect_timeout: seconds(3),
            request_timeout: seconds(10),
            total_timeout: seconds(30),
            concurrency: 10,
            per_subscription: 2,
            per_tenant: None,
            failures_before_rest: 5,
            rest: seconds(30),
            schedule: waits.map(|wait| Wait(seconds(wait))).to_vec(),
            retry_after_max: seconds(10 * HOUR),
            lease: seconds(60),
            poll_interval: seconds(1),
        }
    }
}

impl WebhooksConfig {
    pub(crate) fn per_tenant(&self) -> usize {
        self.per_tenant.unwrap_or(self.concurrency / 2).max(1)
    }

    /// # Errors
    /// What in it would deliver nothing, or break a promise.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let rules = [
            (!self.schedule.is_empty(), "schedule: at least one attempt"),
            (self.concurrency > 0, "concurrency: at least 1"),
            (self.per_subscription > 0, "per_subscription: at least 1"),
            (self.per_tenant != Some(0), "per_tenant: at least 1"),
            (self.failures_before_rest > 0, "failures_before_rest: at least 1"),
            (!self.poll_interval.is_zero(), "poll_interval: more than 0"),
            (self.allow_loopback || !self.ports.is_empty(), "ports: at least one"),
            (self.request_timeout <= self.total_timeout, "request_timeout: at most total_timeout"),
            // Else a second dispatcher takes over an attempt that is still out.
            (self.total_timeout < self.lease, "lease: longer than total_timeout"),
        ];
        rules.iter().find(|(kept, _)| !kept).map_or(Ok(()), |(_, rule)| Err(ConfigError(rule)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use docfleet_telemetry::Settings;

    use super::*;

    fn read(text: &str) -> Result<WebhooksConfig, String> {
        Settings::from_toml(text).section("webhooks").map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_hold_their_own_rules() {
        let config = WebhooksConfig::default();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.schedule.len(), 8);
        assert!(!config.allow_loopback);
    }

    #[test]
    fn a_tenant_has_half_of_the_slots_unless_told_otherwise() {
        let of = |text: &str| read(&format!("[webhooks]\n{text}")).expect("valid").per_tenant();
        assert_eq!([of(""), of("concurrency = 1"), of("per_tenant = 10")], [5, 1, 10]);
    }

    #[test]
    fn a_schedule_is_written_as_people_write_durations() {
        let config = read("[webhooks]\nschedule = ['0s', '50ms', '2h']").expect("valid");
        let waits: Vec<u128> = config.schedule.iter().map(|wait| wait.0.as_millis()).collect();
        assert_eq!(waits, [0, 50, 7_200_000]);
    }

    #[test]
    fn what_can_not_work_is_refused() {
        assert!(read("[webhooks]\nallow_loopbak = true").is_err(), "an unknown key");
        assert!(read("[webhooks]\nlease = 'soon'").is_err(), "not a duration");
        for text in [
            "schedule = []",
            "concurrency = 0",
            "per_subscription = 0",
            "per_tenant = 0",
            "lease = '30s'",
            "ports = []",
            "poll_interval = '0s'",
        ] {
            let config = read(&format!("[webhooks]\n{text}")).expect("well-formed");
            assert!(config.validate().is_err(), "{text}");
        }
    }
}
