//! Every route, once. The table is compared with `openapi.yaml` by a test.

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::Method,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, delete, get, post},
};

use crate::{
    App, documents, json,
    observe::observe,
    openapi,
    problem::{Kind, Problem},
    webhooks,
};

pub struct Route {
    pub method: Method,
    /// As in `openapi.yaml`.
    pub path: &'static str,
    handler: MethodRouter<App>,
}

/// All routes; `HEAD` comes with each `GET`.
pub fn routes() -> Vec<Route> {
    let get_ = |path, handler| Route { method: Method::GET, path, handler };
    let post_ = |path, handler| Route { method: Method::POST, path, handler };
    vec![
        post_("/v1/documents", post(documents::upload)),
        get_("/v1/documents", get(documents::list)),
        get_("/v1/documents/{id}", get(documents::read)),
        Route { method: Method::DELETE, path: "/v1/documents/{id}", handler: delete(documents::erase) },
        get_("/v1/documents/{id}/content", get(documents::content)),
        get_("/v1/documents/{id}/text", get(documents::text)),
        get_("/v1/documents/{id}/pages", get(documents::pages)),
        get_("/v1/documents/{id}/pages/{number}/text", get(documents::page_text)),
        get_("/v1/documents/{id}/hocr", get(documents::hocr)),
        get_("/v1/documents/{id}/searchable.pdf", get(documents::searchable_pdf)),
        post_("/v1/webhooks", post(webhooks::create)),
        get_("/v1/webhooks", get(webhooks::list)),
        get_("/v1/webhooks/{id}", get(webhooks::read)),
        Route { method: Method::DELETE, path: "/v1/webhooks/{id}", handler: delete(webhooks::remove) },
        get_("/v1/webhooks/{id}/deliveries", get(webhooks::deliveries)),
        get_("/openapi.yaml", get(openapi::document)),
        get_("/problems/{slug}", get(openapi::problem_type)),
    ]
}

pub(crate) fn router(app: App) -> Router {
    let mut router = Router::new();
    for Route { path, handler, .. } in routes() {
        router = router.route(path, handler);
    }
    router
        .method_not_allowed_fallback(async || Problem::of(Kind::MethodNotAllowed))
        .fallback(async || Problem::of(Kind::NotFound))
        .layer(middleware::from_fn_with_state(app.clone(), in_time))
        .layer(DefaultBodyLimit::max(json::BODY_BYTES_MAX))
        .layer(middleware::from_fn(observe))
        .with_state(app)
}

/// An answer must begin in time. An upload is not cut off here: it has limits of its own, on what it waits for, so that
/// it never ends between its blob and its row.
async fn in_time(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method() == Method::POST && request.uri().path() == documents::UPLOAD_PATH {
        return next.run(request).await;
    }
    match tokio::time::timeout(app.api.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::of(Kind::TimedOut).retry_after(std::time::Duration::from_secs(5)).into_response(),
    }
}
