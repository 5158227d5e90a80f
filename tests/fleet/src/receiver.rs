use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};

/// Receives webhooks, refuses every tenth attempt, and remembers what came under which id.
#[derive(Clone, Default)]
pub struct Receiver(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    attempts: usize,
    bodies: HashMap<String, Vec<Bytes>>,
    /// Of each attempt: its document and its trace.
    traces: Vec<(String, String)>,
}

impl Receiver {
    /// Returns its address.
    pub async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/hook", post(receive)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/hook")
    }

    /// Documents with the traces under which they were announced.
    pub fn traces(&self) -> HashMap<String, HashSet<String>> {
        let mut traces: HashMap<String, HashSet<String>> = HashMap::new();
        for (document, trace) in &self.0.lock().unwrap().traces {
            traces.entry(document.clone()).or_default().insert(trace.clone());
        }
        traces
    }

    /// Deliveries by id, and whether each came with one body over all its attempts.
    pub fn deliveries(&self) -> (usize, bool) {
        let seen = self.0.lock().unwrap();
        let stable = seen.bodies.values().all(|bodies| bodies.windows(2).all(|pair| pair[0] == pair[1]));
        (seen.bodies.len(), stable)
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let id = headers["webhook-id"].to_str().unwrap().to_owned();
    let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let document = event["data"]["document_id"].as_str().unwrap().to_owned();
    let trace = headers["traceparent"].to_str().unwrap().split('-').nth(1).unwrap().to_owned();
    let mut seen = receiver.0.lock().unwrap();
    seen.attempts += 1;
    seen.traces.push((document, trace));
    let refuse = seen.attempts.is_multiple_of(10);
    seen.bodies.entry(id).or_default().push(body);
    if refuse { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }
}
