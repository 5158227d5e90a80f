//! A bucket that can be told to refuse: as much of S3 as small documents need.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Method, Response, StatusCode, Uri, header},
};
use tempfile::TempDir;
use tokio::net::TcpListener;

#[derive(Default)]
struct Objects {
    of: HashMap<String, Bytes>,
    refuses_deletes: bool,
}

type Shared = Arc<Mutex<Objects>>;

/// Ends with the test's runtime.
pub struct Bucket {
    objects: Shared,
    port: u16,
    keys: TempDir,
}

impl Bucket {
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (objects, port, keys) =
            (Shared::default(), listener.local_addr().unwrap().port(), tempfile::tempdir().unwrap());
        std::fs::write(keys.path().join("key"), "any").unwrap();
        let served = Router::new().fallback(answer).with_state(Arc::clone(&objects));
        tokio::spawn(async move { axum::serve(listener, served).await });
        Self { objects, port, keys }
    }

    /// Of a configuration, `[blobs]`.
    pub fn section(&self) -> String {
        let (port, key) = (self.port, self.keys.path().join("key"));
        let key = key.display();
        format!(
            "url = 's3://bucket'\nendpoint = 'http://127.0.0.1:{port}'\naccess_key_id_file = '{key}'\nsecret_access_key_file = '{key}'"
        )
    }

    /// Of contents, from now on; what is made of documents may go.
    pub fn refuse_deletes(&self) {
        self.objects.lock().unwrap().refuses_deletes = true;
    }
}

async fn answer(State(objects): State<Shared>, method: Method, uri: Uri, body: Bytes) -> Response<Body> {
    let (mut objects, key) = (objects.lock().unwrap(), uri.path().to_owned());
    let (status, body) = match method {
        Method::PUT => {
            objects.of.insert(key, body);
            (StatusCode::OK, Bytes::new())
        }
        Method::DELETE if objects.refuses_deletes && key.contains("/contents/") => {
            (StatusCode::FORBIDDEN, Bytes::new())
        }
        Method::DELETE => {
            objects.of.remove(&key);
            (StatusCode::NO_CONTENT, Bytes::new())
        }
        _ => {
            objects.of.get(&key).map_or((StatusCode::NOT_FOUND, Bytes::new()), |found| (StatusCode::OK, found.clone()))
        }
    };
    Response::builder()
        .status(status)
        .header(header::ETAG, "\"1\"")
        .header(header::LAST_MODIFIED, "Tue, 01 Jan 2030 00:00:00 GMT")
        .body(Body::from(body))
        .unwrap()
}
