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
    process::{Process, docfleet},
    servers::OwnServers,
};

const TWICE: [&str; 6] = ["outbox-relay", "av-scan", "dedup", "ocr", "webhook-dispatcher", "projection-builder"];

/// Two of each worker and one API, on servers of its own.
pub struct Fleet {
    // Before the servers: the processes end first.
    processes: Vec<Process>,
    pub servers: OwnServers,
    pub database: Database,
    pub topics: Topics,
    pub config: PathBuf,
    api: String,
    http: reqwest::Client,
    _directory: tempfile::TempDir,
}

impl Fleet {
    pub async fn start(state: &'static str) -> Self {
        let servers = OwnServers::up(state);
        let known = Servers::named_by(&servers.config);
        let database = Database::fresh_on(&known).await;
        let prefix = format!("{}.", unique_name());
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("docfleet.toml");
        let api = free_address();
        std::fs::write(&config, known.toml_for(&database, &prefix, &more(&api, directory.path()))).unwrap();
        let (code, said) = docfleet(&config, &["setup", "--wait", "60s", "--partitions", "6"]);
        assert_eq!(code, 0, "{said}");
        let logs = servers.config.parent().unwrap().join("logs");
        std::fs::create_dir_all(&logs).unwrap();
        let start = |name, number| {
            let log = logs.join(format!("{name}-{number}.log"));
            std::fs::remove_file(&log).ok();
            Process::start(name, &config, log)
        };
        let mut processes = vec![start("document-api", 1)];
        processes.extend(TWICE.iter().flat_map(|name| [start(name, 1), start(name, 2)]));
        eprintln!("logs: {}", logs.display());
        Self {
            processes,
            topics: Topics::on(&known.brokers(), &prefix),
            servers,
            database,
            config,
            api: format!("http://{api}"),
            http: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap(),
            _directory: directory,
        }
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
                eprintln!("{} ended by itself: {ended}", process.name);
            }
        }
    }

    pub fn kills(&self) -> u32 {
        self.processes.iter().map(|process| process.kills).sum()
    }

    /// Uploads as a careful client does: until it is told the id, always under one idempotency key.
    pub async fn upload(&self, document: &Document) -> String {
        for _ in 0..120 {
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
                    let body: Value = answer.json().await.unwrap();
                    return body["id"].as_str().unwrap().to_owned();
                }
                Ok(answer) if answer.status().is_client_error() && answer.status().as_u16() != 409 => {
                    panic!("{}: {}", answer.status(), answer.text().await.unwrap());
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
        docfleet_testkit::eventually("the webhook is subscribed", 30, || async {
            let body = serde_json::json!({ "url": url });
            let answer = self.http.post(format!("{}/v1/webhooks", self.api)).json(&body).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.database.pool()).await.unwrap()
    }
}

fn more(api: &str, directory: &Path) -> String {
    format!(
        "[api]\nlisten = '{api}'\n[blobs]\nurl = 'file://{}/blobs'\n[ocr]\nlanguages = 'eng'\nchildren = 1\n\
         [webhooks]\nallow_loopback = true\nschedule = ['0s', '200ms', '500ms', '1s', '1s', '2s', '2s', '5s', '5s', '5s']\n\
         rest = '1s'\nlease = '8s'\ntotal_timeout = '6s'\nrequest_timeout = '5s'\n\
         [retry]\ntier_delay_factor = 0.05\n[consumer]\ncommit_interval = '200ms'\n[relay]\nlease = '4s'\n",
        directory.display()
    )
}

/// A port that is free now; the API must find it again after each crash.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
