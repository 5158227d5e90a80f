use std::time::Duration;

use serde::Deserialize;

/// `[breaker]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    pub enabled: bool,
    /// It looks at so many of the last outcomes.
    pub window_messages: usize,
    /// And at none older than this.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// So many of the same class, whatever their reasons, must be among them, at least.
    pub failures_min: usize,
    /// And they must be more than this part of all of them.
    pub failures_percent: u32,
    /// First pause between two probes; doubles with each that fails, halves with each that succeeds.
    #[serde(with = "humantime_serde")]
    pub probe_interval: Duration,
    #[serde(with = "humantime_serde")]
    pub probe_interval_max: Duration,
    /// It closes after so many successful probes without a failed one between.
    pub close_after: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            window_messages: 200,
            window: Duration::from_secs(60),
            failures_min: 20,
            failures_percent: 20,
            probe_interval: Duration::from_secs(1),
            probe_interval_max: Duration::from_secs(60),
            close_after: 20,
        }
    }
}
