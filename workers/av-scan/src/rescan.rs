//! Clean verdicts are given anew when the signatures are: beside the fresh documents, at a bounded pace.

use std::time::Duration;

use docfleet_events::DocumentInfectionFound;
use docfleet_outbox::Outbox;
use docfleet_pipeline::Draft;
use sqlx::{Connection, PgPool};
use time::macros::datetime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    ClamdConfig, Error, Finding, Scanner, Version,
    engines::Purpose,
    metric,
    reply::Answer,
    scans::{self, Due, Place},
};

/// Of one document; as for a fresh one.
const SCAN_DEADLINE: Duration = Duration::from_secs(180);
/// Longer than a scan. A process that dies leaves its row to another so late.
const LEASE: Duration = Duration::from_secs(300);
/// Between two looks when nothing is due, or something is away.
const IDLE: Duration = Duration::from_secs(15);
/// What died with its lease, or came into the window by a clock, is found by the next pass.
const PASS_EVERY: Duration = Duration::from_secs(600);
/// How long a document rests after a failure that may be its own.
const FAILED_REST: Duration = Duration::from_secs(600);
/// How long one rests that is not to be scanned: until there are other signatures or limits.
const UNSCANNABLE_REST: Duration = Duration::from_secs(86_400);
/// Where counting ends.
const DUE_ROWS_MAX: i64 = 100_000;
/// Behind every document.
const NEWEST: Place = Place { before: datetime!(9999-01-01 00:00 UTC), document: Uuid::max() };

pub struct Rescan {
    pool: PgPool,
    outbox: Outbox,
    region: String,
    scanner: Scanner,
    window: Duration,
    pace: Duration,
}

/// One way from the newest to the oldest document of the window, for one release of the signatures.
#[derive(Debug, Clone, Copy)]
struct Pass {
    number: i64,
    place: Place,
    /// Set when it found nothing more.
    ended: Option<Instant>,
}

/// What became of one rescan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Another process took over; its result counts.
    LeaseLost,
    /// Engine, store or database are away: nothing else would do better now.
    Away,
}

impl Rescan {
    /// Of the documents of one region. The outbox's registry must know [`DocumentInfectionFound`].
    pub fn new(pool: PgPool, outbox: Outbox, region: &str, scanner: Scanner, config: &ClamdConfig) -> Self {
        let pace = Duration::from_secs_f64(1.0 / config.rescans_per_second_max);
        Self { pool, outbox, region: region.to_owned(), scanner, window: config.rescan_window, pace }
    }

    /// Until `shutdown`; what is away is waited for.
    ///
    /// # Errors
    /// None: no state of engine, store or database ends the process.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut pass = None;
        let working = async {
            loop {
                let wait = match self.step(&mut pass).await {
                    Ok(Some(Outcome::Done | Outcome::LeaseLost)) => self.pace,
                    Ok(Some(Outcome::Away) | None) => IDLE,
                    Err(error) => {
                        tracing::warn!(%error, "rescans wait for the database");
                        IDLE
                    }
                };
                tokio::time::sleep(wait).await;
            }
        };
        tokio::select! {
            () = working => {}
            () = shutdown.cancelled() => {}
        }
        Ok(())
    }

    /// Scans what is due next. None when nothing is.
    async fn step(&self, pass: &mut Option<Pass>) -> Result<Option<Outcome>, sqlx::Error> {
        match self.next(pass).await? {
            Some(due) => Ok(Some(self.again(&due).await?)),
            None => Ok(None),
        }
    }

    async fn next(&self, pass: &mut Option<Pass>) -> Result<Option<Due>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let claim = (1, LEASE.as_secs_f64());
        if let Some(due) = scans::claim_requested(&mut connection, &self.region, claim).await?.pop() {
            return Ok(Some(due));
        }
        let Some(number) = self.scanner.engines.database_number().filter(|_| !self.window.is_zero()) else {
            return Ok(None);
        };
        let under_way = pass.filter(|p| p.number == number && p.ended.is_none_or(|at| at.elapsed() < PASS_EVERY));
        let current = pass.insert(under_way.unwrap_or(Pass { number, place: NEWEST, ended: None }));
        if current.ended.is_some() {
            return Ok(None);
        }
        let (of, window) = ((self.region.as_str(), number), self.window.as_secs_f64());
        if current.place == NEWEST {
            let due = scans::count_due(&mut connection, of, window, DUE_ROWS_MAX).await?;
            metrics::gauge!(metric::RESCAN_DUE_ROWS).set(due as f64);
        }
        let due = scans::claim(&mut connection, of, window, current.place, claim).await?.pop();
        match &due {
            Some(due) => current.place = Place { before: due.first_scanned_at, document: due.document_id },
            None => {
                current.ended = Some(Instant::now());
                metrics::gauge!(metric::RESCAN_DUE_ROWS).set(0.0);
            }
        }
        Ok(due)
    }

    async fn again(&self, due: &Due) -> Result<Outcome, sqlx::Error> {
        let by = Instant::now() + SCAN_DEADLINE;
        let scanned = self.scanner.scan(&due.blob_key, due.size_bytes, Purpose::Again, by).await;
        let (kept, outcome) = match scanned {
            Ok(Finding { answer: Answer::Infected { signature }, version }) => {
                (self.infected(due, &signature, &version).await?, "infected")
            }
            Ok(Finding { answer: Answer::Clean, version }) => {
                let mut connection = self.pool.acquire().await?;
                (scans::still_clean(&mut connection, due, &version).await?, "clean")
            }
            Ok(Finding { answer: Answer::Unscannable(why), .. }) => {
                tracing::warn!(document = %due.document_id, reason = why.as_str(), "a rescan gave no verdict");
                let mut connection = self.pool.acquire().await?;
                let rest = UNSCANNABLE_REST.as_secs_f64();
                (scans::not_scannable(&mut connection, due, why, rest).await?, "unscannable")
            }
            Err(error) => return self.failed(due, &error).await,
        };
        if !kept {
            return Ok(Outcome::LeaseLost);
        }
        metrics::counter!(metric::RESCANS_TOTAL, "outcome" => outcome).increment(1);
        Ok(Outcome::Done)
    }

    /// The verdict, which closes the download, and the event in one transaction.
    async fn infected(&self, due: &Due, signature: &str, by: &Version) -> Result<bool, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        if !scans::infected(&mut transaction, due, signature, by).await? {
            return Ok(false);
        }
        let appended = self.outbox.append(&mut transaction, vec![found(due, signature, by)]).await;
        match appended {
            Ok(()) => transaction.commit().await?,
            Err(docfleet_outbox::Error::Database(error)) => return Err(error),
            // The schema was pinned at start and a signature's name is short: only a bug comes here.
            Err(error) => return Err(sqlx::Error::Protocol(error.to_string())),
        }
        tracing::error!(document = %due.document_id, signature, database = %by.database, "a clean document turned out infected");
        // A hint only: the relays poll.
        self.outbox.wake_relays(&mut *connection).await.ok();
        Ok(true)
    }

    async fn failed(&self, due: &Due, error: &Error) -> Result<Outcome, sqlx::Error> {
        // Facts about this document, or what may be one: others are not held up.
        let of_document = error.is_in_the_middle()
            || matches!(error, Error::SizeDiffers { .. } | Error::EndedEarly)
            || matches!(error, Error::Content(docfleet_blobs::Error::NotFound | docfleet_blobs::Error::Config(_)));
        tracing::warn!(document = %due.document_id, reason = error.reason(), detail = %error, "a rescan failed");
        let rest = if of_document { FAILED_REST } else { Duration::ZERO };
        let mut connection = self.pool.acquire().await?;
        scans::failed(&mut connection, due, of_document, rest.as_secs_f64()).await?;
        if !of_document {
            return Ok(Outcome::Away);
        }
        metrics::counter!(metric::RESCANS_TOTAL, "outcome" => "failed").increment(1);
        Ok(Outcome::Done)
    }
}

fn found(due: &Due, signature: &str, by: &Version) -> Draft {
    let event = DocumentInfectionFound {
        document_id: due.document_id,
        signature: signature.to_owned(),
        engine: by.engine.clone(),
        database: by.database.clone(),
        clean_by: due.database.clone(),
        clean_since: due.first_scanned_at.unix_timestamp_nanos().try_into().map_or(0, |nanos: i64| nanos / 1_000),
    };
    let id = event_id(due.document_id, &by.database, signature);
    Draft::from_task(event, id, due.event_id, (&due.tenant, &due.region))
}

/// The same at each repetition. UUIDv5 in the namespace of the document's id; changing it makes a repeat a new fact.
fn event_id(document: Uuid, database: &str, signature: &str) -> Uuid {
    Uuid::new_v5(&document, format!("infection-found/{database}/{signature}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derivation_of_an_infections_id_is_frozen() {
        let document = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
        let id = event_id(document, "27500/Mon Nov 24 09:36:00 2025", "Win.Test.EICAR_HDB-1");
        assert_eq!(id.to_string(), "53728b9a-f4e6-55ae-9c67-7bffe359857e");
        assert_ne!(id, event_id(document, "27501/Tue Nov 25 09:36:00 2025", "Win.Test.EICAR_HDB-1"));
        assert_ne!(id, event_id(Uuid::nil(), "27500/Mon Nov 24 09:36:00 2025", "Win.Test.EICAR_HDB-1"));
    }
}
