//! The document API's contract, without a fleet behind it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Multipart, Path, State},
    http::{HeaderMap, StatusCode},
    routing::{delete, get},
};
use serde_json::{Value, json};
use uuid::Uuid;

#[derive(Default)]
pub struct Seen {
    /// By id; the bytes come back when the same arrive again.
    pub documents: BTreeMap<Uuid, (String, Vec<u8>)>,
    pub idempotency_keys: Vec<String>,
    pub tenants: Vec<String>,
    pub subscriptions: BTreeMap<Uuid, Value>,
}

type Shared = Arc<Mutex<Seen>>;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Its address and what it has seen. Files named `stuck…` never finish, those named `huge…` are refused, the first
/// named `flaky…` at the first try only.
pub async fn start() -> (String, Shared) {
    let seen = Shared::default();
    let pages = Router::new()
        .route("/v1/documents", axum::routing::post(upload))
        .route("/v1/documents/{id}", get(show))
        .route("/v1/webhooks", get(subscriptions).post(subscribe))
        .route("/v1/webhooks/{id}", delete(unsubscribe))
        .with_state(Arc::clone(&seen));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, pages).await.unwrap() });
    (address, seen)
}

async fn upload(State(seen): State<Shared>, headers: HeaderMap, mut form: Multipart) -> (StatusCode, Json<Value>) {
    let part = form.next_field().await.unwrap().unwrap();
    assert_eq!(part.name(), Some("file"));
    let name = part.file_name().unwrap().to_owned();
    let bytes = part.bytes().await.unwrap().to_vec();
    if name.starts_with("huge") {
        let problem = json!({"type": "about:blank", "title": "Payload Too Large", "detail": "at most 10 bytes"});
        return (StatusCode::PAYLOAD_TOO_LARGE, Json(problem));
    }
    let id = Uuid::now_v7();
    let mut seen = seen.lock().unwrap();
    if name.starts_with("flaky") && seen.idempotency_keys.is_empty() {
        seen.idempotency_keys.push("flaky".to_owned());
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"title": "Busy", "detail": "try again"})));
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    seen.idempotency_keys.extend(text("idempotency-key"));
    seen.tenants.extend(text("x-tenant-id"));
    seen.documents.insert(id, (name, bytes));
    (StatusCode::CREATED, Json(document(&seen, id, false)))
}

async fn show(State(seen): State<Shared>, Path(id): Path<Uuid>) -> Json<Value> {
    let seen = seen.lock().unwrap();
    let stuck = seen.documents[&id].0.starts_with("stuck");
    Json(document(&seen, id, !stuck))
}

fn document(seen: &Seen, id: Uuid, finished: bool) -> Value {
    let (name, bytes) = &seen.documents[&id];
    let original =
        seen.documents.iter().find(|(other, (_, same))| **other < id && same == bytes).map(|(other, _)| *other);
    let mut document = json!({
        "id": id, "tenant": "acme", "region": "local", "version": 0, "state": "processing", "file_name": name,
        "size_bytes": bytes.len(), "declared_mime": null, "uploaded_at": "2026-01-01T00:00:00Z", "finished_at": null,
        "scan": null, "content": null, "text": null, "webhooks": {"pending": 0, "delivered": 0, "failed": 0},
        "links": {"self": format!("/v1/documents/{id}")}
    });
    if finished {
        document["state"] = json!("finished");
        document["finished_at"] = json!("2026-01-01T00:00:02.5Z");
        document["scan"] = json!({"verdict": "clean", "signature": null, "reason": null, "engine": "e", "scanned_at": "2026-01-01T00:00:01Z"});
        let outcome = if original.is_some() { "duplicate" } else { "unique" };
        document["content"] = json!({"outcome": outcome, "duplicate_of": original, "reason": null, "sha256": "00", "mime": "text/plain", "identified_at": "2026-01-01T00:00:01Z"});
        if original.is_none() {
            document["text"] = json!({"outcome": "extracted", "reason": null, "page_count": 1, "pages": [], "language": "eng", "confidence": 91.4, "excerpt": "Dear  Sir\nor Madam", "read_at": "2026-01-01T00:00:02Z"});
        }
    }
    document
}

async fn subscriptions(State(seen): State<Shared>) -> Json<Value> {
    let seen = seen.lock().unwrap();
    Json(json!({ "items": seen.subscriptions.values().collect::<Vec<_>>(), "links": {"next": null} }))
}

async fn subscribe(State(seen): State<Shared>, Json(wanted): Json<Value>) -> (StatusCode, Json<Value>) {
    let id = Uuid::now_v7();
    let mut subscription = json!({
        "id": id, "url": wanted["url"], "event_types": wanted["event_types"], "description": wanted["description"],
        "created_at": "2026-06-01T00:00:00Z"
    });
    seen.lock().unwrap().subscriptions.insert(id, subscription.clone());
    subscription["secret"] = json!(SECRET);
    (StatusCode::CREATED, Json(subscription))
}

async fn unsubscribe(State(seen): State<Shared>, Path(id): Path<Uuid>) -> StatusCode {
    seen.lock().unwrap().subscriptions.remove(&id);
    StatusCode::NO_CONTENT
}
