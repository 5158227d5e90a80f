use std::{process::Stdio, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use docfleet_testkit::eventually;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use time::OffsetDateTime;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};
use uuid::Uuid;

use crate::{fake_api, fleet::docfleet};

/// A running receiver.
struct Listener {
    child: Child,
    url: String,
    lines: Lines<BufReader<ChildStdout>>,
    _notes: Lines<BufReader<ChildStderr>>,
}

async fn start(mut command: Command) -> Listener {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut notes = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = notes.next_line().await.unwrap().unwrap();
    let url = first
        .split([' ', ','])
        .find(|word| word.starts_with("http://"))
        .unwrap_or_else(|| panic!("{first}"))
        .to_owned();
    Listener { child, url, lines, _notes: notes }
}

const BODY: &str = r#"{"type":"document.virus_scanned","timestamp":"2026-01-01T00:00:00Z","data":{"document_id":"d1","verdict":"clean"}}"#;

impl Listener {
    async fn deliver(&mut self, id: &str, key: &[u8]) -> (u16, Value) {
        let timestamp = OffsetDateTime::now_utc().unix_timestamp().to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(format!("{id}.{timestamp}.{BODY}").as_bytes());
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        let request = reqwest::Client::builder().no_proxy().build().unwrap().post(&self.url);
        let request = request
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature);
        let status = request.body(BODY).send().await.unwrap().status().as_u16();
        let line =
            tokio::time::timeout(Duration::from_secs(5), self.lines.next_line()).await.unwrap().unwrap().unwrap();
        (status, serde_json::from_str(&line).unwrap())
    }
}

fn key() -> Vec<u8> {
    STANDARD.decode(fake_api::SECRET.strip_prefix("whsec_").unwrap()).unwrap()
}

#[tokio::test]
async fn signatures_are_checked_failures_are_played_and_repeats_are_told() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), format!("{}\n", fake_api::SECRET)).unwrap();
    let file = secret.path().to_str().unwrap();
    let mut listener =
        start(docfleet(&["listen", "--port", "0", "--secret-file", file, "--fail-first", "1", "--json"])).await;
    let (status, line) = listener.deliver("w1", b"another key").await;
    assert_eq!((status, &line["answer"], &line["verified"]), (401, &"refused".into(), &false.into()));
    for (expected, answer) in [(503, "failed-on-purpose"), (204, "accepted"), (204, "repeat")] {
        let (status, line) = listener.deliver("w1", &key()).await;
        assert_eq!((status, line["answer"].as_str()), (expected, Some(answer)));
        assert_eq!((&line["type"], &line["data"]["verdict"]), (&"document.virus_scanned".into(), &"clean".into()));
    }
}

fn register(api: &str, port: u16) -> Command {
    let mut command = docfleet(&["listen", "--register", "--event-type", "document.virus_scanned", "--json"]);
    command.args(["--port", &port.to_string()]).env("DOCFLEET__API__LISTEN", api);
    command
}

#[tokio::test]
async fn a_registered_receiver_knows_its_secret_and_leaves_no_subscription_behind() {
    let (api, seen) = fake_api::start().await;
    let mut listener = start(register(&api, 0)).await;
    let subscription = seen.lock().unwrap().subscriptions.values().last().cloned().unwrap();
    assert_eq!(subscription["url"], listener.url);
    assert_eq!(subscription["event_types"][0], "document.virus_scanned");
    assert_eq!(listener.deliver("w1", &key()).await.0, 204);
    let pid = listener.child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(10), listener.child.wait()).await.unwrap().unwrap();
    assert!(ended.success());
    eventually("the subscription is gone", 5, || async { seen.lock().unwrap().subscriptions.is_empty().then_some(()) })
        .await;
}

#[tokio::test]
async fn a_receiver_removes_what_its_killed_predecessor_left_and_nothing_of_others() {
    let (api, seen) = fake_api::start().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut killed = start(register(&api, port)).await;
    killed.child.kill().await.unwrap();
    let leftover = seen.lock().unwrap().subscriptions.values().next().cloned().unwrap();
    let description = leftover["description"].as_str().unwrap();
    let elsewhere = description.replace(" on ", " on other-");
    assert_ne!(elsewhere, description);
    // Nobody answers at any of these from here; on their own machines somebody may.
    let others = [
        (1, elsewhere.as_str(), killed.url.as_str()),
        (2, elsewhere.as_str(), "http://127.0.0.1:1/"),
        (3, "docfleet listen", killed.url.as_str()),
        (4, "partner", killed.url.as_str()),
        (5, description, "http://127.0.0.1:1/"),
    ];
    for (id, description, url) in others {
        let id = Uuid::from_u128(id);
        let subscription = json!({
            "id": id, "url": url, "event_types": [], "description": description, "created_at": "2026-01-01T00:00:00Z"
        });
        seen.lock().unwrap().subscriptions.insert(id, subscription);
    }
    let _successor = start(register(&api, port)).await;
    let ids: Vec<Uuid> = seen.lock().unwrap().subscriptions.keys().copied().collect();
    assert_eq!(ids[..5], [1, 2, 3, 4, 5].map(Uuid::from_u128), "other people's stay");
    assert_eq!(ids.len(), 6, "and its own");
    assert_ne!(leftover["id"], ids[5].to_string(), "the predecessor's is gone");
}
