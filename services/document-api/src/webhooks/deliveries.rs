use axum::{Json, extract::State};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::subscription::{WebhookId, no_such_webhook, path_of};
use crate::{
    App,
    page::{Page, PageRequest},
    problem::Problem,
    tenant::Tenant,
};

/// A delivery as clients see it. Its body is not shown again.
#[derive(Debug, Serialize)]
pub(crate) struct Delivery {
    id: Uuid,
    document_id: Uuid,
    event_id: Uuid,
    event_type: String,
    status: String,
    attempts: i32,
    #[serde(with = "time::serde::rfc3339::option")]
    next_attempt_at: Option<OffsetDateTime>,
    last_status: Option<i32>,
    last_error: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    finished_at: Option<OffsetDateTime>,
    links: Links,
}

#[derive(Debug, Serialize)]
struct Links {
    document: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    document_id: Uuid,
    event_id: Uuid,
    event_type: String,
    status: String,
    attempts: i32,
    next_attempt_at: OffsetDateTime,
    last_status: Option<i32>,
    last_error: Option<String>,
    created_at: OffsetDateTime,
    finished_at: Option<OffsetDateTime>,
}

impl From<Row> for Delivery {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            document_id: row.document_id,
            event_id: row.event_id,
            event_type: row.event_type,
            next_attempt_at: (row.status == "pending").then_some(row.next_attempt_at),
            status: row.status,
            attempts: row.attempts,
            last_status: row.last_status,
            last_error: row.last_error,
            created_at: row.created_at,
            finished_at: row.finished_at,
            links: Links { document: format!("/v1/documents/{}", row.document_id) },
        }
    }
}

/// `GET /v1/webhooks/{id}/deliveries`
pub(crate) async fn deliveries(
    State(app): State<App>,
    tenant: Tenant,
    WebhookId(id): WebhookId,
    request: PageRequest,
) -> Result<Json<Page<Delivery>>, Problem> {
    // None: no such subscription of this tenant, which is something else than one without deliveries.
    let total: Option<i64> = sqlx::query_scalar(
        r"SELECT (SELECT count(*) FROM webhooks.deliveries d WHERE d.subscription_id = s.id)
            FROM webhooks.subscriptions s WHERE s.id = $1 AND s.tenant = $2 AND s.deleted_at IS NULL",
    )
    .bind(id)
    .bind(tenant.as_str())
    .fetch_optional(&app.pool)
    .await?;
    let total = total.ok_or_else(no_such_webhook)?;
    let rows: Vec<Row> = sqlx::query_as(
        r"SELECT id, document_id, event_id, event_type, status, attempts, next_attempt_at, last_status, last_error,
                 created_at, finished_at
            FROM webhooks.deliveries WHERE subscription_id = $1 ORDER BY created_at DESC, id LIMIT $2 OFFSET $3",
    )
    .bind(id)
    .bind(request.limit())
    .bind(request.offset())
    .fetch_all(&app.pool)
    .await?;
    let items = rows.into_iter().map(Delivery::from).collect();
    Ok(Json(Page::new(items, request, total, &format!("{}/deliveries", path_of(id)))))
}
