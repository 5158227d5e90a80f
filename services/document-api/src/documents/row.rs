use docfleet_events::{PageText, UnreadPage};
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{database::Pool, problem::Kind, tenant::Tenant};

/// A document with what its view and its deliveries say: all that there is to show.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct DocumentRow {
    pub id: Uuid,
    pub tenant: String,
    pub region: String,
    pub file_name: String,
    pub size_bytes: i64,
    pub declared_mime: Option<String>,
    pub blob_key: String,
    pub created_at: OffsetDateTime,
    /// 0 when the view does not know the document yet.
    pub version: i64,
    pub verdict: Option<String>,
    /// av-scan's own word, which may be newer than the view's: of the document, or of another with the same bytes.
    pub newest_verdict: Option<String>,
    pub signature: Option<String>,
    pub scan_reason: Option<String>,
    pub engine: Option<String>,
    pub scanned_at: Option<OffsetDateTime>,
    pub dedup_outcome: Option<String>,
    pub duplicate_of: Option<Uuid>,
    pub refused_reason: Option<String>,
    pub sha256: Option<String>,
    pub mime: Option<String>,
    pub deduplicated_at: Option<OffsetDateTime>,
    pub text_outcome: Option<String>,
    pub text_reason: Option<String>,
    pub pages: Option<Json<Vec<PageText>>>,
    pub page_count: Option<i32>,
    pub language: Option<String>,
    pub confidence: Option<f64>,
    pub text_key: Option<String>,
    pub excerpt: Option<String>,
    pub read_at: Option<OffsetDateTime>,
    pub text_engine: Option<String>,
    pub unread: Option<Json<Vec<UnreadPage>>>,
    pub mrz: Option<String>,
    pub layout_key: Option<String>,
    pub searchable_key: Option<String>,
    pub pending: i64,
    pub delivered: i64,
    pub failed: i64,
}

/// The columns of [`DocumentRow`] for the documents `d` of a FROM item. The tables are joined after that item has
/// chosen its rows, so that a page costs what its rows cost.
macro_rules! select_documents {
    ($from:literal) => {
        select_documents!($from, "d.created_at DESC, d.id")
    };
    ($from:literal, $order:literal) => {
        concat!(
            r"SELECT d.id, d.tenant, d.region, d.file_name, d.size_bytes, d.declared_mime, d.blob_key, d.created_at,
                     coalesce(v.version, 0) AS version,
                     v.verdict, documents.newest_verdict(d.id, d.tenant, d.blob_key) AS newest_verdict, v.signature, v.scan_reason, v.engine, v.scanned_at,
                     v.dedup_outcome, v.duplicate_of, v.refused_reason, v.sha256, v.mime, v.deduplicated_at,
                     v.text_outcome, v.text_reason, v.pages, v.page_count, v.language, v.confidence, v.text_key,
                     v.excerpt, v.read_at, v.text_engine, v.unread, v.mrz, v.layout_key, v.searchable_key,
                     w.pending, w.delivered, w.failed
                FROM ",
            $from,
            r" AS d
                LEFT JOIN views.document_view v ON v.document_id = d.id
               CROSS JOIN LATERAL (
                     SELECT count(*) FILTER (WHERE status = 'pending') AS pending,
                            count(*) FILTER (WHERE status = 'delivered') AS delivered,
                            count(*) FILTER (WHERE status = 'failed') AS failed
                       FROM webhooks.deliveries WHERE document_id = d.id
                        AND NOT EXISTS (SELECT FROM webhooks.subscriptions s
                                         WHERE s.id = subscription_id AND s.deleted_at IS NOT NULL)) w
               ORDER BY ",
            $order
        )
    };
}

impl DocumentRow {
    /// None also when the document is another tenant's: not even its existence is told.
    pub async fn find(pool: &Pool, tenant: &Tenant, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        const SQL: &str = select_documents!("(SELECT * FROM documents.documents WHERE id = $1 AND tenant = $2)");
        sqlx::query_as(SQL).bind(id).bind(tenant.as_str()).fetch_optional(pool).await
    }

    /// Newest first.
    pub async fn page(pool: &Pool, tenant: &Tenant, limit: i64, offset: i64) -> Result<Vec<Self>, sqlx::Error> {
        const SQL: &str = select_documents!(
            "(SELECT * FROM documents.documents WHERE tenant = $1 ORDER BY created_at DESC, id LIMIT $2 OFFSET $3)"
        );
        sqlx::query_as(SQL).bind(tenant.as_str()).bind(limit).bind(offset).fetch_all(pool).await
    }

    /// These documents of the tenant, in this order.
    pub async fn all_of(pool: &Pool, tenant: &Tenant, ids: &[Uuid]) -> Result<Vec<Self>, sqlx::Error> {
        const SQL: &str = select_documents!(
            "(SELECT d.*, u.nth FROM UNNEST($2::uuid[]) WITH ORDINALITY AS u (id, nth) JOIN documents.documents d USING (id)
               WHERE d.tenant = $1)",
            "d.nth"
        );
        sqlx::query_as(SQL).bind(tenant.as_str()).bind(ids).fetch_all(pool).await
    }

    /// Whether the content may be given out, else why not. Only the explicit words of both, the engine and dedup, open
    /// it; whatever else stands there does not. The topics arrive in any order, so each is asked by itself.
    pub fn content_opened(&self) -> Result<(), Kind> {
        self.not_found_infected()?;
        match (self.verdict.as_deref(), self.dedup_outcome.as_deref()) {
            (Some("clean"), Some("unique" | "duplicate")) => Ok(()),
            (Some("clean") | None, None) | (None, Some("unique" | "duplicate")) => Err(Kind::NotScannedYet),
            (Some("clean") | None, Some(_)) => Err(Kind::Refused),
            (Some(_), _) => Err(Kind::NotClean),
        }
    }

    /// Whether what was made of the content may be given out: not once av-scan, or the view of it, takes the word `clean`
    /// back. av-scan's own table is asked too, since an infection that is found later closes a document at once, and all of
    /// the tenant's with the same bytes, and the view hears of it by an event. That table only closes: what opens is the view's.
    pub fn not_found_infected(&self) -> Result<(), Kind> {
        let words = [&self.verdict, &self.newest_verdict];
        if words.into_iter().flatten().all(|word| word == "clean") { Ok(()) } else { Err(Kind::NotClean) }
    }
}
