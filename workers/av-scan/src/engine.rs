use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use time::OffsetDateTime;
use tokio::{sync::Mutex, time::Instant};

use crate::{Address, AgeLimit, Clamd, ClamdConfig, Error, Stale, Version, reply::Answer};

/// The EICAR test file, in hexadecimal so that no scanner takes this program for infected.
const TEST_FILE_HEX: &str = "58354f2150254041505b345c505a58353428505e2937434329377d2445494341522d5354414e444152442d414e544956495255532d544553542d46494c452124482b482a";

/// A clamd that is believed only after it has found the test file: again after each change of its version, after each
/// absence, and every so often. A clamd whose database is empty or gone answers "OK" to everything. Its clean answer counts
/// only while its signatures are fresh; what it finds counts always.
pub struct Engine {
    clamd: Clamd,
    self_test_every: Duration,
    age_max: AgeLimit,
    proof: Mutex<Option<Proof>>,
}

struct Proof {
    version: Version,
    at: Instant,
}

/// An engine that sees.
#[derive(Debug, Clone)]
pub struct Vouched {
    pub version: Version,
    /// By our own clock, at the moment of the question.
    pub fresh: Result<(), Stale>,
}

impl Engine {
    pub fn new(address: Address, config: &ClamdConfig) -> Self {
        Self {
            clamd: Clamd::new(address, config),
            self_test_every: config.self_test_every,
            age_max: config.database_age_max,
            proof: Mutex::new(None),
        }
    }

    /// The version is asked for before the scan, so the database that judged is this one or a newer one.
    ///
    /// # Errors
    /// [`Error::Away`], [`Error::Blind`] and [`Error::Stale`] say nothing of the document.
    pub async fn scan<S>(&self, content: S, deadline: Instant) -> Result<(Answer, Version), Error>
    where
        S: Stream<Item = Result<Bytes, docfleet_blobs::Error>> + Send + Unpin,
    {
        let Vouched { version, fresh } = self.vouched().await?;
        match self.clamd.scan(content, deadline).await {
            Ok(Answer::Clean) => fresh.map(|()| (Answer::Clean, version)).map_err(Error::from),
            Ok(answer) => Ok((answer, version)),
            Err(error) => {
                // It may be another process by the next time, or one with another database.
                self.forget().await;
                Err(error)
            }
        }
    }

    /// # Errors
    /// [`Error::Away`] or [`Error::Blind`].
    pub async fn vouched(&self) -> Result<Vouched, Error> {
        let version = match self.clamd.version().await {
            Ok(version) => version,
            Err(error) => {
                self.forget().await;
                return Err(error);
            }
        };
        let fresh = version.fresh(self.age_max, OffsetDateTime::now_utc());
        // Held during the test: one test serves all who wait.
        let mut proof = self.proof.lock().await;
        if proof.as_ref().is_some_and(|p| p.version == version && p.at.elapsed() < self.self_test_every) {
            return Ok(Vouched { version, fresh });
        }
        *proof = None;
        self.self_test().await?;
        tracing::info!(engine = %version.engine, database = %version.database, "the engine finds the test file");
        *proof = Some(Proof { version: version.clone(), at: Instant::now() });
        Ok(Vouched { version, fresh })
    }

    async fn forget(&self) {
        *self.proof.lock().await = None;
    }

    async fn self_test(&self) -> Result<(), Error> {
        const TEST_TIMEOUT: Duration = Duration::from_secs(10);
        let content = stream::iter([Ok(test_file())]);
        match self.clamd.scan(content, Instant::now() + TEST_TIMEOUT).await {
            Ok(Answer::Infected { .. }) => Ok(()),
            Ok(other) => Err(Error::Blind(format!("the test file came back as {other:?}"))),
            Err(error) => Err(Error::Blind(error.to_string())),
        }
    }
}

/// The harmless file that every antivirus engine must report.
fn test_file() -> Bytes {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok()).unwrap_or_default();
    TEST_FILE_HEX.as_bytes().chunks_exact(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_file_is_the_one_of_the_development_database() {
        let database = include_str!("../../../deploy/clamav/docfleet.ndb");
        assert!(database.trim_end().ends_with(&format!(":{TEST_FILE_HEX}")));
        assert_eq!(test_file().len(), 68);
    }
}
