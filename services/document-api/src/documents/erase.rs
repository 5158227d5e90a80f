use axum::{extract::State, http::StatusCode};
use docfleet_events::erasure::{self, Erased, Request};
use docfleet_telemetry::trace;
use sqlx::{Connection, PgConnection};
use tracing::Span;
use uuid::Uuid;

use super::{accept::of_outbox, id::DocumentId, id::no_such_document};
use crate::{
    ACTOR, App,
    database::in_time,
    metric,
    problem::{Kind, Problem},
    tenant::Tenant,
};

/// Of a tenant that asks by this API.
const REASON: &str = "request";

/// `DELETE /v1/documents/{id}`. When it answers nobody can read the document any more; its bytes go within moments, by the
/// eraser. Repeating it is harmless.
pub(crate) async fn erase(
    State(app): State<App>,
    tenant: Tenant,
    DocumentId(id): DocumentId,
) -> Result<StatusCode, Problem> {
    let mut connection = app.pool.acquire().await?;
    let answered = in_time(transact(&mut connection, &app, &tenant, id)).await;
    let erased = answered.unwrap_or_else(|late| {
        // Nobody knows which statement was the last that arrived.
        connection.close_on_drop();
        Err(late.into())
    })?;
    match erased {
        Erased::Now { .. } => {
            tracing::info!(document_id = %id, "erased");
            metrics::counter!(metric::ERASED_DOCUMENTS_TOTAL).increment(1);
            app.relay_bell.strike();
            app.eraser_bell.notify_one();
            Ok(StatusCode::NO_CONTENT)
        }
        Erased::Already { .. } => Ok(StatusCode::NO_CONTENT),
        Erased::Held => Err(Problem::of(Kind::LegalHold)),
        Erased::Unknown => Err(no_such_document()),
    }
}

async fn transact(connection: &mut PgConnection, app: &App, tenant: &Tenant, id: Uuid) -> Result<Erased, Problem> {
    let request = Request { document_id: id, tenant: Some(tenant.as_str()), reason: REASON, by: ACTOR };
    let mut transaction = connection.begin().await?;
    let traceparent = trace::traceparent_of(&Span::current());
    let erased = erasure::erase(&mut transaction, &app.outbox, request, traceparent).await.map_err(of_outbox)?;
    transaction.commit().await?;
    Ok(erased)
}

/// Why there is no such document: it may have been one.
pub(super) async fn gone_or_unknown(app: &App, tenant: &Tenant, id: Uuid) -> Result<Problem, sqlx::Error> {
    let erased: Option<Uuid> =
        sqlx::query_scalar("SELECT document_id FROM documents.erasures WHERE document_id = $1 AND tenant = $2")
            .bind(id)
            .bind(tenant.as_str())
            .fetch_optional(&app.pool)
            .await?;
    Ok(erased.map_or_else(no_such_document, |_| Problem::of(Kind::Erased)))
}
