use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use docfleet_testkit::{Database, Servers, Topics, unique_name};
use rand::{Rng, rngs::StdRng};
use serde_json::Value;

use crate::{
    documents::Document,
    links::Links,
    process::{Process, docfleet},
    servers::OwnServers,
};

pub const CONSUMERS: [&str; 5] = ["av-scan", "dedup", "ocr", "webhook-dispatcher", "projection-builder"];
pub const RELAY: &str = "outbox-relay";
/// How long a client repeats one upload: longer than any fault lasts.
const UPLOAD_SECONDS: u64 = 240;

/// Two of each worker and one API, on servers of its own.
pub struct Fleet {
    // Before the servers: the processes end first.
    pub processes: Vec<Process>,
    pub links: Links,
    pub servers: OwnServers,
    pub database: Database,
    pub topics: Topics,
    /// Of the processes: by way of the links.
    pub config: PathBuf,
    /// The same without the links.
    pub direct: PathBuf,
    pub prefix: String,
    pub brokers: String,
    pub registry: String,
    pub client: Client,
    logs: PathBuf,
    _directory: tempfile::TempDir,
}

/// A client of the document API.
#[derive(Clone)]
pub struct Client {
    api: String,
    http: reqwest::Client,
}

impl Fleet {
    /// `state` is one for chaos: its Kafka has a listener behind a proxy.
    pub async fn start(state: &'static str) -> Self {
        let servers = OwnServers::up(state);
        let known = Servers::named_by(&servers.config);
        let links = Links::start(&servers, &known).await;
        let database = Database::fresh_on(&known).await;
        let prefix = format!("{}.", unique_name());
        let directory = tempfile::tempdir().unwrap();
        let (config, direct) = (directory.path().join("docfleet.toml"), directory.path().join("direct.toml"));
        let api = free_address();
        let toml = known.toml_for(&database, &prefix, &more(&api, directory.path()));
        std::fs::write(&direct, &toml).unwrap();
        std::fs::write(&config, links.through(&toml)).unwrap();
        let (code, said) = docfleet(&direct, &["setup", "--wait", "60s", "--partitions", "6"]).await;
        assert_eq!(code, 0, "{said}");
        let logs = servers.directory().join("logs");
        std::fs::create_dir_all(&logs).unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
        let mut fleet = Self {
            processes: Vec::new(),
            links,
            topics: Topics::on(&known.brokers(), &prefix),
            prefix,
            brokers: known.brokers(),
            registry: known.registry_url(),
            servers,
            database,
            config,
            direct,
            client: Client { api: format!("http://{api}"), http },
            logs,
            _directory: directory,
        };
        eprintln!("logs: {}", fleet.logs.display());
        fleet.join("document-api");
        for name in [RELAY].into_iter().chain(CONSUMERS) {
            fleet.join(name);
            fleet.join(name);
        }
        fleet
    }

    /// One more process; returns its place among [`processes`](Self::processes).
    pub fn join(&mut self, name: &'static str) -> usize {
        let number = self.of(name).count() + 1;
        let log = self.logs.join(format!("{name}-{number}.log"));
        std::fs::remove_file(&log).ok();
        self.processes.push(Process::start(name, &self.config, log));
        self.processes.len() - 1
    }

    pub fn of(&mut self, name: &str) -> impl Iterator<Item = &mut Process> {
        self.processes.iter_mut().filter(move |process| process.name == name)
    }

    /// Kills one process at random; returns which.
    pub fn crash_one(&mut self, random: &mut StdRng) -> &'static str {
        let index = random.random_range(0..self.processes.len());
        self.processes[index].crash();
        self.processes[index].name
    }

    /// Restarts what has ended by itself, as an orchestrator does.
    pub fn revive(&mut self) {
        for process in &mut self.processes {
            if let Some(ended) = process.revive() {
                eprintln!("  {} ended by itself: {ended}", process.name);
            }
        }
    }

    pub fn kills(&self) -> u32 {
        self.processes.iter().map(|process| process.kills).sum()
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        docfleet_testkit::eventually("the database answers", 60, || async {
            sqlx::query_scalar(sql).fetch_one(&self.database.pool()).await.ok()
        })
        .await
    }

    /// Statements past the links.
    pub async fn execute(&self, sql: String) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&self.database.pool()).await.unwrap();
    }

    /// As [`execute`](Self::execute), while the database may be away.
    ///
    /// # Panics
    /// When the statement is wrong: a fault that is not injected must not look like one that was survived.
    pub async fn try_execute(&self, sql: &'static str) {
        if let Err(error) = sqlx::raw_sql(sql).execute(&self.database.pool()).await {
            let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default();
            assert!(!code.starts_with("42"), "{sql}: {error}");
            eprintln!("  not done: {error}");
        }
    }
}

impl Client {
    /// Uploads as a careful client does: until it is told the id, always under one idempotency key.
    pub async fn upload(&self, document: &Document) -> String {
        let began = tokio::time::Instant::now();
        while began.elapsed() < Duration::from_secs(UPLOAD_SECONDS) {
            let part = reqwest::multipart::Part::bytes(document.bytes.clone())
                .file_name(document.name.clone())
                .mime_str(document.mime)
                .unwrap();
            let request = self
                .http
                .post(format!("{}/v1/documents", self.api))
                .header("Idempotency-Key", &document.name)
                .header("traceparent", format!("00-{}-00f067aa0ba902b7-01", document.trace))
                .multipart(reqwest::multipart::Form::new().part("file", part));
            match request.send().await {
                Ok(answer) if answer.status().as_u16() == 201 => {
                    // The connection may end within the answer, too; the next try gets the same one.
                    if let Ok(body) = answer.json::<Value>().await {
                        return body["id"].as_str().unwrap().to_owned();
                    }
                }
                Ok(answer) if answer.status().is_client_error() && answer.status().as_u16() != 409 => {
                    panic!("{}: {}", answer.status(), answer.text().await.unwrap_or_default());
                }
                _ => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
        panic!("{} is not accepted", document.name);
    }

    /// As the API shows it, or none while the API is away.
    pub async fn document(&self, id: &str) -> Option<Value> {
        self.http.get(format!("{}/v1/documents/{id}", self.api)).send().await.ok()?.json().await.ok()
    }

    pub async fn text(&self, id: &str) -> String {
        self.http.get(format!("{}/v1/documents/{id}/text", self.api)).send().await.unwrap().text().await.unwrap()
    }

    pub async fn subscribe(&self, url: &str) {
        docfleet_testkit::eventually("the webhook is subscribed", 60, || async {
            let body = serde_json::json!({ "url": url });
            let answer = self.http.post(format!("{}/v1/webhooks", self.api)).json(&body).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }
}

fn more(api: &str, directory: &Path) -> String {
    format!(
        "[api]\nlisten = '{api}'\n[blobs]\nurl = 'file://{}/blobs'\n[ocr]\nlanguages = 'eng'\nchildren = 1\n\
         [webhooks]\nallow_loopback = true\nschedule = ['0s', '200ms', '500ms', '1s', '1s', '2s', '2s', '5s', '5s', '5s']\n\
         rest = '1s'\nlease = '8s'\ntotal_timeout = '6s'\nrequest_timeout = '5s'\n\
         [retry]\ntier_delay_factor = 0.05\nbackoff_max = '2s'\n[consumer]\ncommit_interval = '200ms'\n\
         [relay]\nlease = '4s'\nhold_refused = '3s'\n",
        directory.display()
    )
}

/// A port that is free now; the API must find it again after each crash.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
