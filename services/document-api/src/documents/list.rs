use axum::{Json, extract::State};

use super::{UPLOAD_PATH, represent::Document, row::DocumentRow, search::Search};
use crate::{
    App,
    page::{Page, PageRequest, SearchRequest},
    problem::Problem,
    tenant::Tenant,
};

/// `GET /v1/documents`
pub(crate) async fn list(
    State(app): State<App>,
    tenant: Tenant,
    SearchRequest { q, page }: SearchRequest,
) -> Result<Json<Page<Document>>, Problem> {
    match q {
        Some(q) => found(&app, &tenant, &Search::parse(q)?, page).await,
        None => all(&app, &tenant, page).await,
    }
}

async fn all(app: &App, tenant: &Tenant, request: PageRequest) -> Result<Json<Page<Document>>, Problem> {
    let rows = DocumentRow::page(&app.pool, tenant, request.limit(), request.offset()).await?;
    let total: i64 = sqlx::query_scalar("SELECT count(*) FROM documents.documents WHERE tenant = $1")
        .bind(tenant.as_str())
        .fetch_one(&app.pool)
        .await?;
    let items = rows.into_iter().map(Document::from).collect();
    Ok(Json(Page::new(items, request, total, UPLOAD_PATH)))
}

async fn found(
    app: &App,
    tenant: &Tenant,
    search: &Search,
    request: PageRequest,
) -> Result<Json<Page<Document>>, Problem> {
    let ids = search.run(app, tenant).await?;
    let (skipped, taken) = (usize::try_from(request.offset()), usize::try_from(request.limit()));
    let of_page: Vec<_> =
        ids.iter().copied().skip(skipped.unwrap_or(usize::MAX)).take(taken.unwrap_or_default()).collect();
    let rows = DocumentRow::all_of(&app.pool, tenant, &of_page).await?;
    let items = rows.into_iter().map(Document::from).collect();
    let total = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    Ok(Json(Page::found(items, request, total, UPLOAD_PATH, Some(search.as_str()))))
}
