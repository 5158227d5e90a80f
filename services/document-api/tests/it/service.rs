use std::path::{Path, PathBuf};

use docfleet_telemetry::Settings;
use docfleet_testkit::{Database, Servers};
use document_api::{App, Error};
use reqwest::{Body, Client, Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::Value;
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{contract, form, telemetry};

/// A running service with a database and a blob store of its own.
pub struct Service {
    pub app: App,
    pub base: String,
    pub stop: CancellationToken,
    pub served: JoinHandle<Result<(), Error>>,
    pub pool: PgPool,
    client: Client,
    blobs: TempDir,
}

/// An answer that conforms to the contract.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Service {
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// `more` is TOML for further sections; `[service]` is set.
    pub async fn with(more: &str) -> Self {
        let database = Database::fresh().await;
        let url = database.url().to_owned();
        Self::on(&database, &url, "", more).await
    }

    /// With a `[blobs]` of its own.
    pub async fn with_blobs(section: &str) -> Self {
        let database = Database::fresh().await;
        let url = database.url().to_owned();
        Self::open(&database, &url, "", "", tempfile::tempdir().unwrap(), section).await
    }

    /// On a database that the service reaches by another address, with more of `[postgres]`.
    pub async fn on(database: &Database, postgres_url: &str, postgres: &str, more: &str) -> Self {
        let blobs = tempfile::tempdir().unwrap();
        let section = format!("url = 'file://{}'", blobs.path().display());
        Self::open(database, postgres_url, postgres, more, blobs, &section).await
    }

    async fn open(
        database: &Database,
        postgres_url: &str,
        postgres: &str,
        more: &str,
        blobs: TempDir,
        section: &str,
    ) -> Self {
        telemetry::install();
        let settings = Settings::from_toml(&format!(
            "{more}\n[service]\nregion = 'eu-test'\n[postgres]\nurl = '{postgres_url}'\n{postgres}\n\
             [registry]\nurl = '{}'\n[blobs]\n{section}\n[kafka]\ntopic_prefix = 'it.'",
            Servers::running().registry_url(),
        ));
        let app = App::open(&settings).unwrap();
        app.pin_schemas().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let served = tokio::spawn(document_api::serve(app.clone(), listener, stop.clone()));
        let client = Client::builder().no_proxy().build().unwrap();
        Self { app, base, stop, served, pool: database.pool(), client, blobs }
    }

    pub fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub fn form(&self, body: impl Into<Body>) -> RequestBuilder {
        self.request(Method::POST, "/v1/documents").header("content-type", form::CONTENT_TYPE).body(body)
    }

    pub async fn upload(&self, body: impl Into<Body>) -> Answer {
        send(self.form(body)).await
    }

    /// Uploads a document that is accepted.
    pub async fn accepted(&self, name: &str, content: &[u8]) -> Uuid {
        let answer = self.upload(form::file(name, content)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.id()
    }

    pub async fn count(&self, table: &'static str) -> i64 {
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    pub async fn sql(&self, statement: &'static str, document: Uuid) {
        sqlx::query(statement).bind(document).execute(&self.pool).await.unwrap();
    }

    /// Everything in the blob store but the mark of its region, relative to its root; unfinished files too.
    pub fn blobs(&self) -> Vec<PathBuf> {
        fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        walk(self.blobs.path(), &mut found);
        let relative = found.iter().map(|path| path.strip_prefix(self.blobs.path()).unwrap().to_owned());
        relative.filter(|path| path != Path::new(".docfleet-region")).collect()
    }

    pub fn blob(&self, key: &str) -> Vec<u8> {
        std::fs::read(self.blobs.path().join(key)).unwrap()
    }

    /// A content of the tenant `default`, by its bytes.
    pub fn content(&self, content: &[u8]) -> Vec<u8> {
        self.blob(&content_key("default", content))
    }

    pub fn remove_blob(&self, key: &str) {
        match std::fs::remove_file(self.blobs.path().join(key)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{key}: {error}"),
            _ => {}
        }
    }

    pub fn put_blob(&self, key: &str, content: &[u8]) {
        let path = self.blobs.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

/// Where a content lies.
pub fn content_key(tenant: &str, content: &[u8]) -> String {
    let hash = <sha2::Sha256 as sha2::Digest>::digest(content);
    docfleet_blobs::content_key(tenant, &hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

pub async fn send(request: RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, url) = (request.method().clone(), request.url().clone());
    let response = client.execute(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.unwrap().to_vec();
    if method != Method::HEAD {
        let path = &url[url::Position::BeforePath..];
        contract::check_answer(method.as_str(), path, status.as_u16(), &headers, &body);
    }
    Answer { status, headers, body }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn id(&self) -> Uuid {
        self.json()["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Asserts that this is a problem of this status and type; returns its detail.
    pub fn problem(&self, status: u16, slug: &str) -> String {
        let body = self.text();
        assert_eq!(self.status, status, "{body}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["type"], format!("/problems/{slug}"), "{body}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        problem["detail"].as_str().unwrap().to_owned()
    }
}
