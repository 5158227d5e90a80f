use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::archive;

/// `[clamd]`
///
/// clamd itself must run with `AlertExceedsMax yes` and `AlertEncrypted yes`: without them it answers "OK" for what it
/// did not look into.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClamdConfig {
    /// Each `host:port`, or `unix:/path/of/the.sock`.
    pub addresses: Vec<String>,
    /// Documents at one clamd at a time; not above its `MaxThreads`.
    pub in_flight_documents_max: usize,
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// For the answer to a command that costs clamd nothing, and for each piece of a document that is sent or read.
    #[serde(with = "humantime_serde")]
    pub stall_timeout: Duration,
    /// From the document's last byte to the verdict. Keep it above clamd's `MaxScanTime`: clamd's own answer says more.
    #[serde(with = "humantime_serde")]
    pub answer_timeout: Duration,
    /// How long the finding of the test file proves that the engine sees.
    #[serde(with = "humantime_serde")]
    pub self_test_every: Duration,
    /// How long a host that failed is left alone while there is another.
    #[serde(with = "humantime_serde")]
    pub rest: Duration,
    /// The oldest signature database whose clean answer counts.
    pub database_age_max: AgeLimit,
    /// Largest member of an archive that clamd looks into: not above its `MaxFileSize`.
    pub member_bytes_max: u64,
    /// Sum over an archive's members: not above clamd's `MaxScanSize`.
    pub archive_bytes_max: u64,
    /// Clean verdicts so young are given anew when the signatures are; zero: none.
    #[serde(with = "humantime_serde")]
    pub rescan_window: Duration,
    /// Documents a second that one process scans again, at most.
    pub rescans_per_second_max: f64,
}

impl Default for ClamdConfig {
    fn default() -> Self {
        Self {
            addresses: vec!["127.0.0.1:3310".to_owned()],
            in_flight_documents_max: 8,
            connect_timeout: Duration::from_secs(3),
            stall_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(130),
            self_test_every: Duration::from_secs(3_600),
            rest: Duration::from_secs(10),
            database_age_max: AgeLimit::AtMost(Duration::from_secs(72 * 3_600)),
            member_bytes_max: 100_000_000,
            archive_bytes_max: 400_000_000,
            rescan_window: Duration::from_secs(30 * 86_400),
            rescans_per_second_max: 10.0,
        }
    }
}

impl ClamdConfig {
    /// # Errors
    /// What would make every document wait for ever.
    pub fn validated(self) -> anyhow::Result<Self> {
        anyhow::ensure!(!self.addresses.is_empty(), "[clamd].addresses is empty");
        anyhow::ensure!(self.in_flight_documents_max > 0, "[clamd].in_flight_documents_max is 0");
        let rate = self.rescans_per_second_max;
        anyhow::ensure!(rate.is_finite() && rate > 0.0, "[clamd].rescans_per_second_max must be above 0");
        Ok(self)
    }

    pub(crate) fn archive_limits(&self) -> archive::Limits {
        archive::Limits { member_bytes_max: self.member_bytes_max, total_bytes_max: self.archive_bytes_max }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp(String),
    Unix(PathBuf),
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        match text.strip_prefix("unix:") {
            Some(path) => Self::Unix(path.into()),
            None => Self::Tcp(text.to_owned()),
        }
    }
}

/// A duration, or the word `unlimited`: the only one under which a database without a date counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgeLimit {
    AtMost(Duration),
    Unlimited,
}

impl<'de> Deserialize<'de> for AgeLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let duration = serde::de::value::StrDeserializer::<D::Error>::new(&text);
        humantime_serde::deserialize(duration)
            .map(Self::AtMost)
            .map_err(|_| D::Error::custom(format!("{text:?} is neither a duration, such as 72h, nor \"unlimited\"")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_age_is_a_duration_or_unlimited_and_nothing_else() {
        let read = |text: &str| {
            serde_json::from_value::<AgeLimit>(serde_json::Value::from(text)).map_err(|error| error.to_string())
        };
        assert_eq!(read("72h"), Ok(AgeLimit::AtMost(Duration::from_secs(72 * 3_600))));
        assert_eq!(read("unlimited"), Ok(AgeLimit::Unlimited));
        for wrong in ["", "never", "72", "-1h", "UNLIMITED"] {
            assert!(read(wrong).unwrap_err().contains("neither a duration"), "{wrong}");
        }
    }

    #[test]
    fn a_configuration_under_which_nothing_could_be_scanned_is_refused() {
        assert!(ClamdConfig::default().validated().is_ok());
        assert!(ClamdConfig { addresses: vec![], ..ClamdConfig::default() }.validated().is_err());
        assert!(ClamdConfig { in_flight_documents_max: 0, ..ClamdConfig::default() }.validated().is_err());
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(ClamdConfig { rescans_per_second_max: rate, ..ClamdConfig::default() }.validated().is_err());
        }
    }
}
