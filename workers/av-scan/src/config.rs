use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::archive;

/// `[clamd]`
///
/// clamd itself must run with `AlertExceedsMax yes` and `AlertEncrypted yes`: without them it answers "OK" for what it
/// did not look into.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClamdConfig {
    /// `host:port`, or `unix:/path/of/the.sock`.
    pub address: String,
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
    /// Largest member of an archive that clamd looks into: not above its `MaxFileSize`.
    pub member_bytes_max: u64,
    /// Sum over an archive's members: not above clamd's `MaxScanSize`.
    pub archive_bytes_max: u64,
}

impl Default for ClamdConfig {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:3310".to_owned(),
            connect_timeout: Duration::from_secs(3),
            stall_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(130),
            self_test_every: Duration::from_secs(3_600),
            member_bytes_max: 100_000_000,
            archive_bytes_max: 400_000_000,
        }
    }
}

impl ClamdConfig {
    pub fn address(&self) -> Address {
        match self.address.strip_prefix("unix:") {
            Some(path) => Address::Unix(path.into()),
            None => Address::Tcp(self.address.clone()),
        }
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
