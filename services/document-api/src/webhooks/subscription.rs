use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::validate::{NewWebhook, Subscription};
use crate::{
    App,
    database::Pool,
    json::JsonBody,
    page::{Page, PageRequest},
    problem::{Kind, Problem},
    tenant::Tenant,
};

const PATH: &str = "/v1/webhooks";
/// Every event is fanned out to all of a tenant's subscriptions. Two requests at once may go a little beyond it.
const PER_TENANT_MAX: i64 = 100;

/// The `{id}` of a webhook's path.
pub(crate) struct WebhookId(pub Uuid);

impl FromRequestParts<App> for WebhookId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match Path::<Uuid>::from_request_parts(parts, app).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(no_such_webhook()),
        }
    }
}

pub(super) fn no_such_webhook() -> Problem {
    Problem::new(Kind::NotFound, "There is no such webhook.")
}

pub(super) fn path_of(id: Uuid) -> String {
    format!("{PATH}/{id}")
}

/// A subscription as clients see it; the secret is no part of it.
#[derive(Debug, Serialize)]
pub(crate) struct Webhook {
    id: Uuid,
    url: String,
    event_types: Vec<String>,
    description: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    links: Links,
}

#[derive(Debug, Serialize)]
struct Links {
    #[serde(rename = "self")]
    this: String,
    deliveries: String,
}

#[derive(Serialize)]
struct CreatedWebhook {
    #[serde(flatten)]
    webhook: Webhook,
    secret: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    url: String,
    event_types: Vec<String>,
    description: Option<String>,
    created_at: OffsetDateTime,
}

impl From<Row> for Webhook {
    fn from(row: Row) -> Self {
        let path = path_of(row.id);
        let links = Links { deliveries: format!("{path}/deliveries"), this: path };
        Self {
            id: row.id,
            url: row.url,
            event_types: row.event_types,
            description: row.description,
            created_at: row.created_at,
            links,
        }
    }
}

/// `POST /v1/webhooks`
pub(crate) async fn create(
    State(app): State<App>,
    tenant: Tenant,
    JsonBody(wanted): JsonBody<NewWebhook>,
) -> Result<Response, Problem> {
    let wanted = wanted.validate(app.webhooks.allow_loopback)?;
    let secret = new_secret();
    let too_many = || Problem::of(Kind::TooManyWebhooks);
    let webhook: Webhook = insert(&app.pool, &tenant, wanted, &secret).await?.ok_or_else(too_many)?.into();
    let location = [(header::LOCATION, webhook.links.this.clone())];
    Ok((StatusCode::CREATED, location, Json(CreatedWebhook { webhook, secret })).into_response())
}

/// As the Standard Webhooks specification wants it. The generator is a cryptographic one, seeded by the system.
fn new_secret() -> String {
    format!("whsec_{}", STANDARD.encode(rand::random::<[u8; 32]>()))
}

/// None when the tenant has as many as are allowed.
async fn insert(pool: &Pool, tenant: &Tenant, wanted: Subscription, secret: &str) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(
        r"INSERT INTO webhooks.subscriptions (id, tenant, url, event_types, secret, description)
          SELECT $1, $2, $3, $4, $5, $6
           WHERE (SELECT count(*) FROM webhooks.subscriptions WHERE tenant = $2 AND deleted_at IS NULL) < $7
          RETURNING id, url, event_types, description, created_at",
    )
    .bind(Uuid::now_v7())
    .bind(tenant.as_str())
    .bind(wanted.url)
    .bind(wanted.event_types)
    .bind(secret)
    .bind(wanted.description)
    .bind(PER_TENANT_MAX)
    .fetch_optional(pool)
    .await
}

/// `GET /v1/webhooks`
pub(crate) async fn list(
    State(app): State<App>,
    tenant: Tenant,
    request: PageRequest,
) -> Result<Json<Page<Webhook>>, Problem> {
    let rows: Vec<Row> = sqlx::query_as(
        r"SELECT id, url, event_types, description, created_at FROM webhooks.subscriptions
           WHERE tenant = $1 AND deleted_at IS NULL ORDER BY created_at, id LIMIT $2 OFFSET $3",
    )
    .bind(tenant.as_str())
    .bind(request.limit())
    .bind(request.offset())
    .fetch_all(&app.pool)
    .await?;
    let total: i64 =
        sqlx::query_scalar("SELECT count(*) FROM webhooks.subscriptions WHERE tenant = $1 AND deleted_at IS NULL")
            .bind(tenant.as_str())
            .fetch_one(&app.pool)
            .await?;
    Ok(Json(Page::new(rows.into_iter().map(Webhook::from).collect(), request, total, PATH)))
}

/// `GET /v1/webhooks/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    tenant: Tenant,
    WebhookId(id): WebhookId,
) -> Result<Json<Webhook>, Problem> {
    let row: Option<Row> = sqlx::query_as(
        r"SELECT id, url, event_types, description, created_at FROM webhooks.subscriptions
           WHERE id = $1 AND tenant = $2 AND deleted_at IS NULL",
    )
    .bind(id)
    .bind(tenant.as_str())
    .fetch_optional(&app.pool)
    .await?;
    Ok(Json(row.ok_or_else(no_such_webhook)?.into()))
}

/// `DELETE /v1/webhooks/{id}`. Only marks it, as there is no bound to the deliveries that would go with it: from now on
/// nobody sees it and nothing is sent to it. The dispatcher removes both.
pub(crate) async fn remove(
    State(app): State<App>,
    tenant: Tenant,
    WebhookId(id): WebhookId,
) -> Result<StatusCode, Problem> {
    let removed = sqlx::query(
        r"UPDATE webhooks.subscriptions SET deleted_at = clock_timestamp()
           WHERE id = $1 AND tenant = $2 AND deleted_at IS NULL",
    )
    .bind(id)
    .bind(tenant.as_str())
    .execute(&app.pool)
    .await?;
    if removed.rows_affected() == 1 { Ok(StatusCode::NO_CONTENT) } else { Err(no_such_webhook()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_random_and_in_the_form_of_the_specification() {
        let (one, other) = (new_secret(), new_secret());
        assert_ne!(one, other);
        let key = one.strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok());
        assert!(key.is_some_and(|key| key.len() == 32), "{one}");
    }
}
