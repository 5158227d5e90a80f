//! Who owns which column. An event that is older than what its stage has written changes nothing.

use std::{borrow::Cow, collections::BTreeMap};

use docfleet_events::{
    DedupOutcome, DocumentDeduplicated, DocumentErased, DocumentInfectionFound, DocumentTextExtracted,
    DocumentUploaded, DocumentVirusScanned, EventMeta, MrzOutcome, ScanVerdict, TextOutcome,
};
use sqlx::{AssertSqlSafe, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::table::Table;

/// An event of one kind, with when and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a, E> {
    pub meta: &'a EventMeta,
    pub event: &'a E,
    /// The beginning of the document's text, where the event tells of one and it was read.
    pub text: Option<&'a str>,
}

pub(crate) type Uploaded<'a> = BTreeMap<Uuid, At<'a, DocumentUploaded>>;
pub(crate) type VirusScanned<'a> = BTreeMap<Uuid, At<'a, DocumentVirusScanned>>;
pub(crate) type Deduplicated<'a> = BTreeMap<Uuid, At<'a, DocumentDeduplicated>>;
pub(crate) type InfectionFound<'a> = BTreeMap<Uuid, At<'a, DocumentInfectionFound>>;
pub(crate) type TextExtracted<'a> = BTreeMap<Uuid, At<'a, DocumentTextExtracted>>;
pub(crate) type Erased<'a> = BTreeMap<Uuid, At<'a, DocumentErased>>;

pub(crate) async fn uploaded(
    connection: &mut PgConnection,
    table: Table,
    events: &Uploaded<'_>,
) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(AssertSqlSafe(format!(
        r"UPDATE {table} AS v
             SET file_name = u.file_name, declared_mime = u.declared_mime, size_bytes = u.size_bytes, blob_key = u.blob_key,
                 uploaded_at = u.at
            FROM UNNEST($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[], $6::text[])
                 AS u (document_id, at, file_name, declared_mime, size_bytes, blob_key)
           WHERE v.document_id = u.document_id AND (v.uploaded_at IS NULL OR v.uploaded_at <= u.at)"
    )))
    .bind(documents(events))
    .bind(times(events))
    .bind(column(events, |e| storable(&e.file_name)))
    .bind(column(events, |e| e.declared_mime.as_deref().map(storable)))
    .bind(column(events, |e| e.blob.size_bytes))
    .bind(column(events, |e| storable(&e.blob.key)))
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn virus_scanned(
    connection: &mut PgConnection,
    table: Table,
    events: &VirusScanned<'_>,
) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(AssertSqlSafe(format!(
        r"UPDATE {table} AS v
             SET verdict = u.verdict, signature = u.signature, scan_reason = u.reason, engine = u.engine, scanned_at = u.at
            FROM UNNEST($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[])
                 AS u (document_id, at, verdict, signature, reason, engine)
           WHERE v.document_id = u.document_id AND (v.scanned_at IS NULL OR v.scanned_at <= u.at)"
    )))
    .bind(documents(events))
    .bind(times(events))
    .bind(column(events, |e| verdict(e.verdict)))
    .bind(column(events, |e| e.signature.as_deref().map(storable)))
    .bind(column(events, |e| e.reason.as_deref().map(storable)))
    .bind(column(events, |e| storable(&format!("{}/{}", e.engine, e.database)).into_owned()))
    .execute(connection)
    .await?;
    Ok(())
}

/// The columns of the same stage. It is later than the verdict that it takes back, also when that one arrives late.
pub(crate) async fn infection_found(
    connection: &mut PgConnection,
    table: Table,
    events: &InfectionFound<'_>,
) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(AssertSqlSafe(format!(
        r"UPDATE {table} AS v
             SET verdict = 'infected', signature = u.signature, scan_reason = NULL, engine = u.engine, scanned_at = u.at
            FROM UNNEST($1::uuid[], $2::timestamptz[], $3::text[], $4::text[])
                 AS u (document_id, at, signature, engine)
           WHERE v.document_id = u.document_id AND (v.scanned_at IS NULL OR v.scanned_at <= u.at)"
    )))
    .bind(documents(events))
    .bind(times(events))
    .bind(column(events, |e| storable(&e.signature)))
    .bind(column(events, |e| storable(&format!("{}/{}", e.engine, e.database)).into_owned()))
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn deduplicated(
    connection: &mut PgConnection,
    table: Table,
    events: &Deduplicated<'_>,
) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(AssertSqlSafe(format!(
        r"UPDATE {table} AS v
             SET dedup_outcome = u.outcome, duplicate_of = u.duplicate_of, refused_reason = u.reason, sha256 = u.sha256,
                 mime = u.mime, deduplicated_at = u.at
            FROM UNNEST($1::uuid[], $2::timestamptz[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[])
                 AS u (document_id, at, outcome, duplicate_of, reason, sha256, mime)
           WHERE v.document_id = u.document_id AND (v.deduplicated_at IS NULL OR v.deduplicated_at <= u.at)"
    )))
    .bind(documents(events))
    .bind(times(events))
    .bind(column(events, |e| dedup_outcome(e.outcome)))
    .bind(column(events, |e| e.duplicate_of))
    .bind(column(events, |e| e.reason.as_deref().map(storable)))
    .bind(column(events, |e| storable(&e.sha256)))
    .bind(column(events, |e| storable(&e.mime)))
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn text_extracted(
    connection: &mut PgConnection,
    table: Table,
    events: &TextExtracted<'_>,
) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    let pages = column(events, |e| json(&e.pages));
    let unread = column(events, |e| json(&e.unread));
    sqlx::query(AssertSqlSafe(format!(
        r"UPDATE {table} AS v
             SET text_outcome = u.outcome, text_reason = u.reason, pages = u.pages, page_count = u.page_count,
                 language = u.language, confidence = u.confidence, text_key = u.text_key, excerpt = u.excerpt, read_at = u.at,
                 text_engine = u.engine, unread = u.unread, mrz = u.mrz, layout_key = u.layout_key,
                 searchable_key = u.searchable_key, search = views.search_of(u.language, u.content)
            FROM UNNEST($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::jsonb[], $6::int[], $7::text[],
                        $8::float8[], $9::text[], $10::text[], $11::text[], $12::jsonb[], $13::text[], $14::text[], $15::text[],
                        $16::text[])
                 AS u (document_id, at, outcome, reason, pages, page_count, language, confidence, text_key, excerpt, engine,
                       unread, mrz, layout_key, searchable_key, content)
           WHERE v.document_id = u.document_id AND (v.read_at IS NULL OR v.read_at <= u.at)"
    )))
    .bind(documents(events))
    .bind(times(events))
    .bind(column(events, |e| text_outcome(e.outcome)))
    .bind(column(events, |e| e.reason.as_deref().map(storable)))
    .bind(pages.into_iter().collect::<Result<Vec<_>, _>>()?)
    .bind(column(events, |e| i32::try_from(e.pages.len()).unwrap_or(i32::MAX)))
    .bind(column(events, |e| e.language.as_deref().map(storable)))
    .bind(column(events, |e| e.confidence))
    .bind(column(events, |e| e.text.as_ref().map(|text| storable(&text.key))))
    .bind(column(events, |e| e.excerpt.as_deref().map(storable)))
    .bind(column(events, |e| e.engine.as_deref().map(storable)))
    .bind(unread.into_iter().collect::<Result<Vec<_>, _>>()?)
    .bind(column(events, |e| e.mrz.map(mrz)))
    .bind(column(events, |e| e.layout.as_ref().map(|layout| storable(&layout.key))))
    .bind(column(events, |e| e.searchable.as_ref().map(|searchable| storable(&searchable.key))))
    .bind(events.values().map(|at| at.text.map(storable)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Owns the whole row: what is left says whose it was and that it is gone. After all other stages of a batch.
pub(crate) async fn erased(
    connection: &mut PgConnection,
    table: Table,
    events: &Erased<'_>,
) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    // A new row, and not columns set to NULL: none can be forgotten, also of those to come.
    sqlx::query(AssertSqlSafe(format!(
        r"WITH gone AS (
              DELETE FROM {table} WHERE document_id = ANY($1) RETURNING document_id, tenant, region, version, updated_at)
          INSERT INTO {table} (document_id, tenant, region, version, updated_at, erased_at)
          SELECT g.*, u.at
            FROM gone g JOIN UNNEST($1::uuid[], $2::timestamptz[]) AS u (document_id, at) USING (document_id)
           ORDER BY g.document_id"
    )))
    .bind(documents(events))
    .bind(times(events))
    .execute(connection)
    .await?;
    Ok(())
}

fn documents<E>(events: &BTreeMap<Uuid, At<'_, E>>) -> Vec<Uuid> {
    events.keys().copied().collect()
}

fn times<E>(events: &BTreeMap<Uuid, At<'_, E>>) -> Vec<OffsetDateTime> {
    events.values().map(|at| at.meta.occurred_at).collect()
}

fn column<'a, E, T>(events: &BTreeMap<Uuid, At<'a, E>>, value: impl Fn(&'a E) -> T) -> Vec<T> {
    events.values().map(|at| value(at.event)).collect()
}

/// PostgreSQL's text holds every character but NUL, which foreign names and texts may hold.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

fn verdict(verdict: ScanVerdict) -> &'static str {
    match verdict {
        ScanVerdict::Clean => "clean",
        ScanVerdict::Infected => "infected",
        ScanVerdict::Unscannable => "unscannable",
    }
}

fn dedup_outcome(outcome: DedupOutcome) -> &'static str {
    match outcome {
        DedupOutcome::Unique => "unique",
        DedupOutcome::Duplicate => "duplicate",
        DedupOutcome::Refused => "refused",
    }
}

fn mrz(outcome: MrzOutcome) -> &'static str {
    match outcome {
        MrzOutcome::Valid => "valid",
        MrzOutcome::Invalid => "invalid",
        MrzOutcome::Absent => "absent",
    }
}

fn json(value: &impl serde::Serialize) -> Result<serde_json::Value, sqlx::Error> {
    serde_json::to_value(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

fn text_outcome(outcome: TextOutcome) -> &'static str {
    match outcome {
        TextOutcome::Extracted => "extracted",
        TextOutcome::Unreadable => "unreadable",
    }
}
