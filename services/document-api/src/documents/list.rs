use axum::{Json, extract::State};

use super::{UPLOAD_PATH, represent::Document, row::DocumentRow};
use crate::{
    App,
    page::{Page, PageRequest},
    problem::Problem,
    tenant::Tenant,
};

/// `GET /v1/documents`
pub(crate) async fn list(
    State(app): State<App>,
    tenant: Tenant,
    request: PageRequest,
) -> Result<Json<Page<Document>>, Problem> {
    let rows = DocumentRow::page(&app.pool, &tenant, request.limit(), request.offset()).await?;
    let total: i64 = sqlx::query_scalar("SELECT count(*) FROM documents.documents WHERE tenant = $1")
        .bind(tenant.as_str())
        .fetch_one(&app.pool)
        .await?;
    let items = rows.into_iter().map(Document::from).collect();
    Ok(Json(Page::new(items, request, total, UPLOAD_PATH)))
}
