//! The table of verdicts, `documents.scans`.

use std::collections::BTreeMap;

use docfleet_events::DocumentUploaded;
use docfleet_pipeline::Message;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    Finding, Version,
    reply::{Answer, Unscannable},
};

/// After so many failures in a row a document waits for an operator, or for an infection of the same content.
pub const FAILURES_MAX: i16 = 5;

/// A document that is due, under a lease.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Due {
    pub document_id: Uuid,
    pub tenant: String,
    pub region: String,
    pub blob_key: String,
    pub size_bytes: i64,
    pub database: String,
    pub event_id: Uuid,
    pub first_scanned_at: OffsetDateTime,
    pub lease_epoch: i64,
}

/// Where a pass over the window stands: it goes from the newest documents to the oldest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    pub before: OffsetDateTime,
    pub document: Uuid,
}

/// A message and what was found out.
pub type Scanned<'b> = (&'b Message<DocumentUploaded>, &'b Finding);

/// Writes down the verdicts of one settlement. An infection is never taken back by a repeated upload event.
pub async fn record(connection: &mut PgConnection, batch: &[Scanned<'_>]) -> Result<(), sqlx::Error> {
    // One row for a document, in the order of their ids: an upsert can not touch a row twice, and two settlements lock
    // their rows in one order.
    let mut rows: BTreeMap<Uuid, Scanned<'_>> = BTreeMap::new();
    for scanned in batch {
        let row = rows.entry(scanned.0.event.document_id).or_insert(*scanned);
        if row.1.answer == Answer::Clean {
            *row = *scanned;
        }
    }
    let column = |of: fn(&Scanned<'_>) -> String| -> Vec<String> { rows.values().map(of).collect() };
    sqlx::query(
        r"INSERT INTO documents.scans AS s (document_id, tenant, region, blob_key, size_bytes, verdict, signature, engine,
                                            database, database_number, event_id)
          SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[],
                               $8::text[], $9::text[], $10::bigint[], $11::uuid[]) AS u (document_id) ORDER BY document_id
          ON CONFLICT (document_id) DO UPDATE
             SET verdict = excluded.verdict, signature = excluded.signature, engine = excluded.engine,
                 database = excluded.database, database_number = excluded.database_number,
                 scanned_at = excluded.scanned_at, requested = false, failures = 0, leased_until = NULL, rescan_problem = NULL,
                 lease_epoch = s.lease_epoch + 1
           WHERE s.verdict <> 'infected'",
    )
    .bind(rows.keys().copied().collect::<Vec<_>>())
    .bind(column(|w| w.0.meta.tenant.clone()))
    .bind(column(|w| w.0.meta.region.clone()))
    .bind(column(|w| w.0.event.blob.key.clone()))
    .bind(rows.values().map(|w| w.0.event.blob.size_bytes).collect::<Vec<_>>())
    .bind(column(|w| verdict(&w.1.answer).to_owned()))
    .bind(rows.values().map(|w| signature(&w.1.answer)).collect::<Vec<_>>())
    .bind(column(|w| w.1.version.engine.clone()))
    .bind(column(|w| w.1.version.database.clone()))
    .bind(rows.values().map(|w| w.1.version.database_number()).collect::<Vec<_>>())
    .bind(rows.values().map(|w| w.0.meta.event_id).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Clean verdicts of this region and window by signatures older than `number`, behind `place`, leased for `lease_seconds`.
/// Newest documents first. What others have leased is passed over.
pub async fn claim(
    connection: &mut PgConnection,
    (region, number): (&str, i64),
    window_seconds: f64,
    place: Place,
    (rows, lease_seconds): (i64, f64),
) -> Result<Vec<Due>, sqlx::Error> {
    let mut due: Vec<Due> = sqlx::query_as(
        r"WITH due AS MATERIALIZED (
              SELECT document_id FROM documents.scans
               WHERE verdict = 'clean' AND region = $1 AND database_number < $2
                 AND first_scanned_at > clock_timestamp() - make_interval(secs => $3)
                 AND (first_scanned_at, document_id) < ($4, $5)
                 AND failures < $6 AND (leased_until IS NULL OR leased_until < clock_timestamp())
               ORDER BY first_scanned_at DESC, document_id DESC LIMIT $7 FOR UPDATE SKIP LOCKED)
          UPDATE documents.scans s
             SET leased_until = clock_timestamp() + make_interval(secs => $8), lease_epoch = lease_epoch + 1
            FROM due WHERE s.document_id = due.document_id
          RETURNING s.document_id, s.tenant, s.region, s.blob_key, s.size_bytes, s.database, s.event_id,
                    s.first_scanned_at, s.lease_epoch",
    )
    .bind(region)
    .bind(number)
    .bind(window_seconds)
    .bind(place.before)
    .bind(place.document)
    .bind(FAILURES_MAX)
    .bind(rows)
    .bind(lease_seconds)
    .fetch_all(connection)
    .await?;
    due.sort_by_key(|row| std::cmp::Reverse((row.first_scanned_at, row.document_id)));
    Ok(due)
}

/// What operators, or the infection of the same content, made due; whatever its age and signatures.
pub async fn claim_requested(
    connection: &mut PgConnection,
    region: &str,
    (rows, lease_seconds): (i64, f64),
) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as(
        r"WITH due AS MATERIALIZED (
              SELECT document_id FROM documents.scans
               WHERE requested AND verdict = 'clean' AND region = $1
                 AND failures < $2 AND (leased_until IS NULL OR leased_until < clock_timestamp())
               ORDER BY first_scanned_at DESC LIMIT $3 FOR UPDATE SKIP LOCKED)
          UPDATE documents.scans s
             SET leased_until = clock_timestamp() + make_interval(secs => $4), lease_epoch = lease_epoch + 1
            FROM due WHERE s.document_id = due.document_id
          RETURNING s.document_id, s.tenant, s.region, s.blob_key, s.size_bytes, s.database, s.event_id,
                    s.first_scanned_at, s.lease_epoch",
    )
    .bind(region)
    .bind(FAILURES_MAX)
    .bind(rows)
    .bind(lease_seconds)
    .fetch_all(connection)
    .await
}

/// Clean by these signatures too. False when the lease was lost.
pub async fn still_clean(connection: &mut PgConnection, due: &Due, by: &Version) -> Result<bool, sqlx::Error> {
    let updated = sqlx::query(
        r"UPDATE documents.scans
             SET engine = $3, database = $4, database_number = $5, scanned_at = clock_timestamp(), requested = false,
                 failures = 0, leased_until = NULL, rescan_problem = NULL
           WHERE document_id = $1 AND lease_epoch = $2 AND verdict = 'clean'",
    )
    .bind(due.document_id)
    .bind(due.lease_epoch)
    .bind(&by.engine)
    .bind(&by.database)
    .bind(by.database_number())
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// The verdict becomes `infected`, which closes the download as soon as this commits; the documents of the same content are
/// made due. False when the lease was lost.
pub async fn infected(
    connection: &mut PgConnection,
    due: &Due,
    signature: &str,
    by: &Version,
) -> Result<bool, sqlx::Error> {
    let updated = sqlx::query(
        r"UPDATE documents.scans
             SET verdict = 'infected', signature = $3, engine = $4, database = $5, database_number = $6,
                 scanned_at = clock_timestamp(), requested = false, failures = 0, leased_until = NULL, rescan_problem = NULL
           WHERE document_id = $1 AND lease_epoch = $2 AND verdict = 'clean'",
    )
    .bind(due.document_id)
    .bind(due.lease_epoch)
    .bind(signature)
    .bind(&by.engine)
    .bind(&by.database)
    .bind(by.database_number())
    .execute(&mut *connection)
    .await?;
    if updated.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        r"UPDATE documents.scans SET requested = true, failures = 0
           WHERE document_id IN (SELECT document_id FROM documents.scans
                                  WHERE blob_key = $1 AND verdict = 'clean' AND NOT requested
                                  ORDER BY document_id FOR UPDATE SKIP LOCKED)",
    )
    .bind(&due.blob_key)
    .execute(connection)
    .await?;
    Ok(true)
}

/// Not to be scanned under today's limits. That takes no clean verdict back, as an engine has read these bytes to their
/// end; but it is the word of the signatures of then, and the document stays due. False when the lease was lost.
pub async fn not_scannable(
    connection: &mut PgConnection,
    due: &Due,
    why: Unscannable,
    rest_seconds: f64,
) -> Result<bool, sqlx::Error> {
    let updated = sqlx::query(
        r"UPDATE documents.scans
             SET rescan_problem = $3, failures = failures + 1, leased_until = clock_timestamp() + make_interval(secs => $4)
           WHERE document_id = $1 AND lease_epoch = $2 AND verdict = 'clean'",
    )
    .bind(due.document_id)
    .bind(due.lease_epoch)
    .bind(why.as_str())
    .bind(rest_seconds)
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// A try without a verdict. `counts` when the document may be the cause.
pub async fn failed(
    connection: &mut PgConnection,
    due: &Due,
    counts: bool,
    rest_seconds: f64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        r"UPDATE documents.scans
             SET failures = failures + $3, leased_until = clock_timestamp() + make_interval(secs => $4)
           WHERE document_id = $1 AND lease_epoch = $2",
    )
    .bind(due.document_id)
    .bind(due.lease_epoch)
    .bind(i16::from(counts))
    .bind(rest_seconds)
    .execute(connection)
    .await?;
    Ok(())
}

/// How many are due; counting ends at `most`.
pub async fn count_due(
    connection: &mut PgConnection,
    (region, number): (&str, i64),
    window_seconds: f64,
    most: i64,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        r"SELECT count(*) FROM (
              SELECT FROM documents.scans
               WHERE verdict = 'clean' AND region = $1 AND (database_number < $2 OR requested) AND failures < $3
                 AND (requested OR first_scanned_at > clock_timestamp() - make_interval(secs => $4)) LIMIT $5) due",
    )
    .bind(region)
    .bind(number)
    .bind(FAILURES_MAX)
    .bind(window_seconds)
    .bind(most)
    .fetch_one(connection)
    .await
}

fn verdict(answer: &Answer) -> &'static str {
    match answer {
        Answer::Clean => "clean",
        Answer::Infected { .. } => "infected",
        Answer::Unscannable(_) => "unscannable",
    }
}

fn signature(answer: &Answer) -> Option<String> {
    match answer {
        Answer::Infected { signature } => Some(signature.clone()),
        Answer::Clean | Answer::Unscannable(_) => None,
    }
}
