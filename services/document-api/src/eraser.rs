//! Deletes the bytes of erased documents, until they are gone.
//!
//! The erasure is decided in `documents.erasures`; this is what follows from it, as often as it takes. A row is claimed by
//! moving its next try ahead, so several processes share the work and one that dies loses nothing.

use std::time::{Duration, Instant};

use docfleet_blobs::{content_key, layout_key, mrz_key, searchable_key, text_key};
use docfleet_events::{
    deletion::Deletion,
    trail::{self, Action, Entry},
};
use serde_json::json;
use sqlx::{Connection, FromRow};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{ACTOR, App, metric};

/// In one claim: few enough that all are through before the claim ends.
const CLAIM: i64 = 20;
/// For all that is claimed; then others may try.
const CLAIM_TIME: Duration = Duration::from_secs(15 * 60);
/// After a failure, doubled with each one.
const WAIT: Duration = Duration::from_secs(5);
const WAIT_MAX: Duration = Duration::from_secs(600);
/// Between two looks for what failed after an erasure was finished.
const LATE_LOOK: Duration = Duration::from_secs(600);
/// Documents in one such look.
const LATE: i64 = 1_000;

#[derive(FromRow)]
struct Erasure {
    document_id: Uuid,
    tenant: String,
    region: String,
    sha256: Option<Vec<u8>>,
    tries: i32,
    late: i32,
    bytes_gone_at: Option<OffsetDateTime>,
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the blob store: {0}")]
    Blobs(#[from] docfleet_blobs::Error),
    /// A question, before anything was to be deleted.
    #[error("the blob store: {0}")]
    NotAsked(#[source] docfleet_blobs::Error),
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    /// Somebody who works on it, or died of it.
    #[error("the content is being deleted since {}Z; no upload of it is taken before that ends, or another follows after 15 minutes", .0.to_offset(time::UtcOffset::UTC).format(SINCE).unwrap_or_default())]
    Busy(OffsetDateTime),
    /// Without a mark, whose end was a moment ago.
    #[error("the content comes and goes")]
    Contended,
    #[error("the deletion of the content was held up for too long")]
    Late,
}

const SINCE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

/// Until `stop`; at once when a document of this process was erased.
pub(crate) async fn run(app: App, stop: CancellationToken) {
    let mut looked: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.eraser_bell.notified() => {}
            () = tokio::time::sleep(app.erasure.interval) => {}
        }
        while !stop.is_cancelled() {
            match app.erase_bytes(&stop).await {
                Ok(claimed) if claimed >= CLAIM.unsigned_abs() => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "erased documents were not looked for");
                    break;
                }
            }
        }
        if looked.is_none_or(|at| at.elapsed() >= LATE_LOOK) {
            looked = Some(Instant::now());
            if let Err(error) = app.forget_what_failed_late().await {
                tracing::warn!(%error, "late failures of erased documents were not looked for");
            }
        }
        if let Err(error) = app.report_erasures().await {
            tracing::debug!(%error, "the age of erasures is not known");
        }
    }
}

impl App {
    /// Deletes the bytes of a few erased documents of this region that are due, and says how many there were. What `stop` leaves
    /// of them is due for others at once.
    ///
    /// # Errors
    /// The database's, when nothing could be claimed. What goes wrong with one of them is tried again later, and stands in its row.
    pub async fn erase_bytes(&self, stop: &CancellationToken) -> Result<u64, sqlx::Error> {
        let due: Vec<Erasure> = sqlx::query_as(
            r"UPDATE documents.erasures SET next_try_at = clock_timestamp() + make_interval(secs => $2), tries = tries + 1
               WHERE document_id IN (
                    SELECT document_id FROM documents.erasures
                     WHERE finished_at IS NULL AND region = $1 AND next_try_at <= clock_timestamp()
                     ORDER BY next_try_at LIMIT $3 FOR UPDATE SKIP LOCKED)
           RETURNING document_id, tenant, region, sha256, tries, late, bytes_gone_at",
        )
        .bind(&*self.region)
        .bind(CLAIM_TIME.as_secs_f64())
        .bind(CLAIM)
        .fetch_all(&self.pool)
        .await?;
        // Neither an error nor a stop may leave the others waiting for the end of our claim.
        let mut unsettled = Vec::new();
        for (nth, erasure) in due.iter().enumerate() {
            if stop.is_cancelled() {
                self.give_back(due.iter().skip(nth).map(|left| left.document_id).collect(), Duration::ZERO).await;
                break;
            }
            let Err(failed) = self.erase_one(erasure).await else { continue };
            tracing::warn!(document_id = %erasure.document_id, %failed, "its bytes are not deleted yet");
            metrics::counter!(metric::ERASURE_FAILURES_TOTAL).increment(1);
            if self.try_again(erasure, &failed).await.is_err() {
                unsettled.push(erasure.document_id);
            }
        }
        if !unsettled.is_empty() {
            self.give_back(unsettled, WAIT).await;
        }
        Ok(due.len() as u64)
    }

    async fn erase_one(&self, erasure: &Erasure) -> Result<(), Failed> {
        self.delete_bytes(erasure).await?;
        Ok(self.bytes_are_gone(erasure).await?)
    }

    /// Where the database does not let us, the claim ends by itself.
    async fn give_back(&self, documents: Vec<Uuid>, wait: Duration) {
        let given = sqlx::query(
            r"UPDATE documents.erasures SET next_try_at = clock_timestamp() + make_interval(secs => $2)
               WHERE document_id = ANY ($1) AND finished_at IS NULL",
        )
        .bind(documents)
        .bind(wait.as_secs_f64())
        .execute(&self.pool)
        .await;
        if let Err(error) = given {
            tracing::warn!(%error, "erasures wait for the end of a claim");
        }
    }

    async fn delete_bytes(&self, erasure: &Erasure) -> Result<(), Failed> {
        let (tenant, id) = (erasure.tenant.as_str(), erasure.document_id);
        for key in [text_key(tenant, id), layout_key(tenant, id), searchable_key(tenant, id), mrz_key(tenant, id)] {
            self.blobs.delete(&key).await?;
        }
        match &erasure.sha256 {
            Some(sha256) => self.delete_content(erasure, sha256).await,
            None => Ok(()),
        }
    }

    /// Unless another document of the tenant has it.
    async fn delete_content(&self, erasure: &Erasure, sha256: &[u8]) -> Result<(), Failed> {
        let (region, tenant) = (erasure.region.as_str(), erasure.tenant.as_str());
        let Some(deletion) = Deletion::begin(&self.pool, region, tenant, sha256).await? else {
            return self.is_owned(region, tenant, sha256).await;
        };
        let hex: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        let deleted = self.delete_object(erasure, &content_key(tenant, &hex), &deletion).await;
        let was_there = match deleted {
            Ok(was_there) => was_there,
            Err(failed) => {
                // Uploads need not wait: nothing is on its way to the store.
                if !matches!(&failed, Failed::Blobs(error) if !error.is_refusal()) {
                    deletion.end(&self.pool).await?;
                }
                return Err(failed);
            }
        };
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        deletion.end(&mut *transaction).await?;
        if was_there {
            let entry = Entry {
                region,
                tenant,
                actor: ACTOR,
                action: Action::ContentErased,
                document_id: Some(erasure.document_id),
                detail: json!({}),
            };
            trail::record(&mut transaction, &[entry]).await?;
        }
        transaction.commit().await?;
        metrics::counter!(metric::ERASED_CONTENTS_TOTAL).increment(u64::from(was_there));
        Ok(())
    }

    /// False when it had gone before. At the first look it counts as there: one who died may have deleted it and told nobody.
    async fn delete_object(&self, erasure: &Erasure, key: &str, deletion: &Deletion<'_>) -> Result<bool, Failed> {
        let was_there = match erasure.bytes_gone_at {
            None => true,
            Some(_) => match self.blobs.size(key).await {
                Ok(_) => true,
                Err(docfleet_blobs::Error::NotFound) => false,
                Err(error) => return Err(Failed::NotAsked(error)),
            },
        };
        if !deletion.is_in_time() {
            return Err(Failed::Late);
        }
        self.blobs.delete(key).await?;
        Ok(was_there)
    }

    /// Why a deletion could not begin. Nothing is to be done when a document has the content.
    async fn is_owned(&self, region: &str, tenant: &str, sha256: &[u8]) -> Result<(), Failed> {
        let (owned, since): (bool, Option<OffsetDateTime>) = sqlx::query_as(
            r"SELECT EXISTS (SELECT FROM documents.documents WHERE region = $1 AND tenant = $2 AND sha256 = $3),
                     (SELECT erasing_since FROM documents.blobs WHERE region = $1 AND tenant = $2 AND sha256 = $3)",
        )
        .bind(region)
        .bind(tenant)
        .bind(sha256)
        .fetch_one(&self.pool)
        .await?;
        match (owned, since) {
            (true, _) => Ok(()),
            (false, Some(since)) => Err(Failed::Busy(since)),
            (false, None) => Err(Failed::Contended),
        }
    }

    /// Unless somebody was late meanwhile: then it is looked again. Finished after the second look; with it goes what is left of a late failure at any consumer.
    async fn bytes_are_gone(&self, erasure: &Erasure) -> Result<(), sqlx::Error> {
        sqlx::query(
            r"WITH done AS (
                  UPDATE documents.erasures
                     SET bytes_gone_at = coalesce(bytes_gone_at, clock_timestamp()), problem = NULL, tries = 0,
                         next_try_at = erased_at + make_interval(secs => $2),
                         finished_at = CASE WHEN erased_at + make_interval(secs => $2) <= clock_timestamp() THEN clock_timestamp() END,
                         sha256 = CASE WHEN erased_at + make_interval(secs => $2) <= clock_timestamp() THEN NULL ELSE sha256 END
                   WHERE document_id = $1 AND late = $3 RETURNING document_id, finished_at, erased_by, reason)
              SELECT pipeline.forget_key(convert_to(document_id::text, 'UTF8'), 'DocumentErased', erased_by,
                                         'the document was erased: ' || reason)
                FROM done WHERE finished_at IS NOT NULL",
        )
        .bind(erasure.document_id)
        .bind(self.erasure.second_look.as_secs_f64())
        .bind(erasure.late)
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// A consumer that was far behind, or whose message was replayed, fails at an event of an erased document, and keeps what
    /// the event says: until this look. Returns how many documents it was at.
    ///
    /// # Errors
    /// The database's; the next look goes on.
    pub async fn forget_what_failed_late(&self) -> Result<u64, sqlx::Error> {
        let left: Vec<(Uuid, String, String)> = sqlx::query_as(
            r"SELECT e.document_id, e.erased_by, e.reason FROM documents.erasures e
               WHERE e.region = $1 AND e.document_id IN (
                    SELECT documents.of_key(o.key) FROM pipeline.outbox_events o
                     WHERE o.kind <> 'event' AND o.event_type <> 'DocumentErased' AND o.payload IS NOT NULL
                       AND NOT (o.kind = 'retry' AND EXISTS (SELECT FROM pipeline.outbox_unpublished u WHERE u.id = o.id))
                    UNION ALL
                    SELECT documents.of_key(m.key) FROM pipeline.parked_messages m WHERE m.event_type <> 'DocumentErased')
               LIMIT $2",
        )
        .bind(&*self.region)
        .bind(LATE)
        .fetch_all(&self.pool)
        .await?;
        // Each by itself: its locks are those that settlements wait for.
        for (document, by, reason) in &left {
            sqlx::query("SELECT pipeline.forget_key(convert_to($1::text, 'UTF8'), 'DocumentErased', $2, $3)")
                .bind(document.to_string())
                .bind(by)
                .bind(format!("the document was erased: {reason}"))
                .execute(&self.pool)
                .await?;
        }
        Ok(left.len() as u64)
    }

    async fn try_again(&self, erasure: &Erasure, failed: &Failed) -> Result<(), sqlx::Error> {
        let doublings = u32::try_from(erasure.tries.clamp(1, 8) - 1).unwrap_or(0);
        let wait = (WAIT * 2_u32.pow(doublings)).min(WAIT_MAX);
        sqlx::query(
            r"UPDATE documents.erasures SET problem = left($2, 500), next_try_at = clock_timestamp() + make_interval(secs => $3)
               WHERE document_id = $1",
        )
        .bind(erasure.document_id)
        .bind(failed.to_string())
        .bind(wait.as_secs_f64())
        .execute(&self.pool)
        .await
        .map(drop)
    }

    async fn report_erasures(&self) -> Result<(), sqlx::Error> {
        let oldest: Option<OffsetDateTime> = sqlx::query_scalar(
            "SELECT min(erased_at) FROM documents.erasures WHERE finished_at IS NULL AND region = $1 AND bytes_gone_at IS NULL",
        )
        .bind(&*self.region)
        .fetch_one(&self.pool)
        .await?;
        let age = oldest.map_or(0.0, |at| (OffsetDateTime::now_utc() - at).as_seconds_f64().max(0.0));
        metrics::gauge!(metric::ERASURE_OLDEST_SECONDS).set(age);
        Ok(())
    }
}
