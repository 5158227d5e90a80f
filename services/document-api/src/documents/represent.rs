//! A document as clients see it.

use docfleet_events::{PageText, UnreadPage};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::row::DocumentRow;

#[derive(Debug, Serialize)]
pub(crate) struct Document {
    id: Uuid,
    tenant: String,
    region: String,
    version: i64,
    state: State,
    file_name: String,
    size_bytes: i64,
    declared_mime: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    uploaded_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    finished_at: Option<OffsetDateTime>,
    scan: Option<Scan>,
    content: Option<Content>,
    text: Option<Text>,
    webhooks: DeliveryCounts,
    links: Links,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Processing,
    Finished,
}

#[derive(Debug, Serialize)]
struct Scan {
    verdict: String,
    signature: Option<String>,
    reason: Option<String>,
    engine: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    scanned_at: Option<OffsetDateTime>,
}

#[derive(Debug, Serialize)]
struct Content {
    outcome: String,
    duplicate_of: Option<Uuid>,
    reason: Option<String>,
    sha256: Option<String>,
    mime: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    identified_at: Option<OffsetDateTime>,
}

#[derive(Debug, Serialize)]
struct Text {
    outcome: String,
    reason: Option<String>,
    page_count: i32,
    pages: Vec<PageText>,
    language: Option<String>,
    confidence: Option<f64>,
    excerpt: Option<String>,
    engine: Option<String>,
    unread: Vec<UnreadPage>,
    mrz: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    read_at: Option<OffsetDateTime>,
}

#[derive(Debug, Default, Serialize)]
struct DeliveryCounts {
    pending: i64,
    delivered: i64,
    failed: i64,
}

#[derive(Debug, Serialize)]
struct Links {
    #[serde(rename = "self")]
    this: String,
    content: Option<String>,
    text: Option<String>,
    pages: Option<String>,
    hocr: Option<String>,
    searchable_pdf: Option<String>,
}

impl Links {
    /// Where there is nothing to be had there is no link.
    fn of(row: &DocumentRow) -> Self {
        let this = path_of(row.id);
        let opened = row.content_opened().is_ok();
        let to = |is_there: bool, form: &str| (opened && is_there).then(|| format!("{this}/{form}"));
        Self {
            content: to(true, "content"),
            text: to(row.text_key.is_some(), "text"),
            pages: to(row.text_key.is_some(), "pages"),
            hocr: to(row.layout_key.is_some(), "hocr"),
            searchable_pdf: to(row.searchable_key.is_some(), "searchable.pdf"),
            this,
        }
    }

    fn none(id: Uuid) -> Self {
        Self { this: path_of(id), content: None, text: None, pages: None, hocr: None, searchable_pdf: None }
    }
}

/// What is known of a document at the moment of its acceptance; its answer, also when it is repeated later.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct AcceptedRow {
    pub id: Uuid,
    pub tenant: String,
    pub region: String,
    pub file_name: String,
    pub size_bytes: i64,
    pub declared_mime: Option<String>,
    pub created_at: OffsetDateTime,
}

pub(super) fn path_of(id: Uuid) -> String {
    format!("/v1/documents/{id}")
}

impl From<AcceptedRow> for Document {
    fn from(row: AcceptedRow) -> Self {
        Self {
            id: row.id,
            tenant: row.tenant,
            region: row.region,
            version: 0,
            state: State::Processing,
            file_name: row.file_name,
            size_bytes: row.size_bytes,
            declared_mime: row.declared_mime,
            uploaded_at: row.created_at,
            finished_at: None,
            scan: None,
            content: None,
            text: None,
            webhooks: DeliveryCounts::default(),
            links: Links::none(row.id),
        }
    }
}

impl From<DocumentRow> for Document {
    fn from(row: DocumentRow) -> Self {
        let (state, finished_at) = state_of(&row);
        let links = Links::of(&row);
        // Of the text, so it is shown when the text is given out.
        let excerpt = row.content_opened().is_ok().then_some(row.excerpt).flatten();
        Self {
            id: row.id,
            tenant: row.tenant,
            region: row.region,
            version: row.version,
            state,
            file_name: row.file_name,
            size_bytes: row.size_bytes,
            declared_mime: row.declared_mime,
            uploaded_at: row.created_at,
            finished_at,
            scan: row.verdict.map(|verdict| Scan {
                verdict,
                signature: row.signature,
                reason: row.scan_reason,
                engine: row.engine,
                scanned_at: row.scanned_at,
            }),
            content: row.dedup_outcome.map(|outcome| Content {
                outcome,
                duplicate_of: row.duplicate_of,
                reason: row.refused_reason,
                sha256: row.sha256,
                mime: row.mime,
                identified_at: row.deduplicated_at,
            }),
            text: row.text_outcome.map(|outcome| Text {
                outcome,
                reason: row.text_reason,
                page_count: row.page_count.unwrap_or_default(),
                pages: row.pages.map(|pages| pages.0).unwrap_or_default(),
                language: row.language,
                confidence: row.confidence,
                excerpt,
                engine: row.text_engine,
                unread: row.unread.map(|unread| unread.0).unwrap_or_default(),
                mrz: row.mrz,
                read_at: row.read_at,
            }),
            webhooks: DeliveryCounts { pending: row.pending, delivered: row.delivered, failed: row.failed },
            links,
        }
    }
}

/// Finished means that no stage will add anything. The topics arrive in any order, so each stage is asked by itself.
fn state_of(row: &DocumentRow) -> (State, Option<OffsetDateTime>) {
    if row.text_outcome.is_some() {
        (State::Finished, row.read_at)
    } else if matches!(row.dedup_outcome.as_deref(), Some("duplicate" | "refused")) {
        (State::Finished, row.deduplicated_at)
    } else if matches!(row.verdict.as_deref(), Some("infected" | "unscannable")) {
        (State::Finished, row.scanned_at)
    } else {
        (State::Processing, None)
    }
}

/// The entity tag: it changes with everything that the representation shows. The deliveries are counted in, as they
/// change without an event of the document. So is av-scan's word, when it closes a document that the view has open.
pub(super) fn etag_of(row: &DocumentRow) -> String {
    let closed =
        if row.verdict.as_deref() == Some("clean") && row.not_found_infected().is_err() { "-closed" } else { "" };
    if row.pending + row.delivered + row.failed == 0 {
        format!("\"v{}{closed}\"", row.version)
    } else {
        format!("\"v{}-{}.{}.{}{closed}\"", row.version, row.pending, row.delivered, row.failed)
    }
}
