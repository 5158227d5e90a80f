//! The outermost layer: whatever happens inside, the client gets a request id and a well-formed answer, and the
//! operators a trace, a log line and a measurement.

use std::{panic::AssertUnwindSafe, time::Instant};

use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use docfleet_telemetry::trace;
use futures::FutureExt;
use tracing::{Instrument, Span};

use crate::{
    metric,
    problem::{Kind, Problem},
    request_id::{self, RequestId},
};

/// For answers that set none of their own. Nothing here is for a browser to render or for a proxy to keep.
const DEFAULT_HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let measured = Measured::start(&request);
    let path = request.uri().path().to_owned();
    let span = tracing::info_span!(
        "request", method = measured.method, route = %measured.route, request_id = %id, trace_id = tracing::field::Empty
    );
    trace::adopt(&span, request.headers().get("traceparent").and_then(|v| v.to_str().ok()));

    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let mut response = answered.unwrap_or_else(|_| panicked(&span));
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        write_problem(&mut response, &problem, &path, &id);
    }
    for (name, value) in DEFAULT_HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    if let Some(value) = id.header_value() {
        response.headers_mut().insert(request_id::HEADER, value);
    }
    measured.finish(response.status(), &span);
    response
}

fn write_problem(response: &mut Response, problem: &Problem, path: &str, id: &RequestId) {
    let body = serde_json::to_vec(&problem.body(path, id.as_str())).unwrap_or_default();
    // Replaces also the length of the empty body.
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    *response.body_mut() = Body::from(body);
}

/// The panic itself is on standard error, with its place; its message may hold anything, so it is not repeated.
fn panicked(span: &Span) -> Response {
    span.in_scope(|| tracing::error!("a handler panicked"));
    Problem::of(Kind::Internal).into_response()
}

/// A request that is being answered. Dropped before its answer, it counts as one whose client left.
struct Measured {
    method: &'static str,
    route: String,
    started: Instant,
    finished: bool,
}

impl Measured {
    fn start(request: &Request) -> Self {
        metrics::gauge!(metric::IN_FLIGHT_REQUESTS).increment(1);
        // Never the path: it holds ids, and anybody can invent paths without end.
        let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
        Self { method: known(request.method()), route, started: Instant::now(), finished: false }
    }

    fn finish(mut self, status: StatusCode, span: &Span) {
        self.finished = true;
        self.record(status.as_str().to_owned());
        let milliseconds = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        span.in_scope(|| tracing::info!(status = status.as_u16(), milliseconds, "answered"));
    }

    fn record(&self, status: String) {
        let labels = [("route", self.route.clone()), ("method", self.method.to_owned()), ("status", status)];
        metrics::counter!(metric::REQUESTS_TOTAL, &labels).increment(1);
        metrics::histogram!(metric::REQUEST_SECONDS, &labels).record(self.started.elapsed());
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        metrics::gauge!(metric::IN_FLIGHT_REQUESTS).decrement(1);
        if !self.finished {
            self.record("abandoned".to_owned());
        }
    }
}

/// A label of a closed set: HTTP lets clients invent methods.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::{Router, middleware, routing::get};

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_problem_of_its_request_and_of_no_other() {
        async fn panics() -> StatusCode {
            panic!("with a secret in its text")
        }
        let router = Router::new().route("/", get(panics)).route("/well", get(async || "well"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router.layer(middleware::from_fn(observe))).await });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(&base).send().await.unwrap();
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let body = answer.text().await.unwrap();
        assert!(body.contains("/problems/internal") && !body.contains("secret"), "{body}");
        assert_eq!(client.get(format!("{base}/well")).send().await.unwrap().status(), 200);
    }
}
