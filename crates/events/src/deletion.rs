//! The right to delete the bytes of a content, from its beginning to its end (docs/adr/0034).

use std::time::{Duration, SystemTime};

use sqlx::PgExecutor;
use time::OffsetDateTime;

/// A successor may begin after 15 minutes; what is on its way to the store by now must have arrived before.
const TIME: Duration = Duration::from_secs(10 * 60);

/// Until it ends, no upload counts on these bytes or puts them anew. Dropped without an end, it is followed after 15 minutes.
#[derive(Debug)]
pub struct Deletion<'c> {
    region: &'c str,
    tenant: &'c str,
    sha256: &'c [u8],
    token: OffsetDateTime,
    /// By this machine's clock, and before the database's began to count. No [`std::time::Instant`]: it stands still while a
    /// machine sleeps.
    begun: SystemTime,
}

impl<'c> Deletion<'c> {
    /// None while a document of the tenant has the content, or somebody else deletes it.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin(
        executor: impl PgExecutor<'_>,
        region: &'c str,
        tenant: &'c str,
        sha256: &'c [u8],
    ) -> Result<Option<Self>, sqlx::Error> {
        let begun = SystemTime::now();
        let token: Option<OffsetDateTime> = sqlx::query_scalar("SELECT documents.begin_blob_erasure($1, $2, $3)")
            .bind(region)
            .bind(tenant)
            .bind(sha256)
            .fetch_one(executor)
            .await?;
        Ok(token.map(|token| Self { region, tenant, sha256, token, begun }))
    }

    /// To be asked right before the store is: whether nobody can have followed us by now.
    pub fn is_in_time(&self) -> bool {
        // Of a clock that was set back nothing is known.
        self.begun.elapsed().is_ok_and(|passed| passed < TIME)
    }

    /// When the object is deleted, or certainly will not be: the content may come again. After an error that leaves open whether
    /// the store still works on it, let it be. False when somebody else has begun since; nothing was done then.
    ///
    /// # Errors
    /// The database's.
    pub async fn end(self, executor: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar("SELECT documents.end_blob_erasure($1, $2, $3, $4)")
            .bind(self.region)
            .bind(self.tenant)
            .bind(self.sha256)
            .bind(self.token)
            .fetch_one(executor)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_stopped_for_too_long_must_not_turn_to_the_store() {
        let begun =
            |begun| Deletion { region: "eu", tenant: "a", sha256: &[], token: OffsetDateTime::UNIX_EPOCH, begun };
        let now = SystemTime::now();
        assert!(begun(now).is_in_time());
        assert!(!begun(now - TIME).is_in_time());
        assert!(!begun(now + TIME).is_in_time(), "the clock was set back");
    }
}
