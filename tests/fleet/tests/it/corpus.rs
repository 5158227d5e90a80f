//! Every document of the corpus through the whole fleet: each has its stated outcome, and no process minds.

use std::{collections::BTreeMap, path::Path, time::Duration};

use docfleet_testkit::{Database, Servers, eventually, unique_name};
use fleet_tests::{
    corpus::{self, Case, Content, Outcome},
    documents,
    fleet::{CONSUMERS, RELAY},
    process::{Process, docfleet},
};
use futures::StreamExt;
use serde_json::Value;

const BOUNDARY: &str = "corpus-boundary-7f3a";
/// All of them, on a busy machine; OCR is most of it.
const PATIENCE_SECONDS: u64 = 420;

struct Small {
    processes: Vec<Process>,
    api: String,
    http: reqwest::Client,
    database: Database,
    directory: tempfile::TempDir,
}

impl Small {
    async fn start() -> Self {
        let (servers, database) = (Servers::running(), Database::fresh().await);
        let directory = tempfile::tempdir().unwrap();
        let api = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let more = format!(
            "[api]\nlisten = '{api}'\n[blobs]\nurl = 'file://{}/blobs'\n[ocr]\nlanguages = 'eng'\n\
             document_time_max = '60s'\n[retry]\ntier_delay_factor = 0.05\n[erasure]\ninterval = '500ms'\nsecond_look = '5s'\n",
            directory.path().display()
        );
        let config = directory.path().join("docfleet.toml");
        std::fs::write(&config, servers.toml_for(&database, &format!("{}.", unique_name()), &more)).unwrap();
        let (code, said) = docfleet(&config, &["setup", "--partitions", "2"]).await;
        assert_eq!(code, 0, "{said}");
        let log = |name: &str| directory.path().join(format!("{name}.log"));
        let names = ["document-api", RELAY].into_iter().chain(CONSUMERS);
        let processes = names.map(|name| Process::start(name, &config, log(name))).collect();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        let small = Self { processes, api: format!("http://{api}"), http, database, directory };
        eventually("the API answers", 60, || async { small.get("/v1/documents").await }).await;
        small
    }

    fn config(&self) -> std::path::PathBuf {
        self.directory.path().join("docfleet.toml")
    }

    async fn get(&self, path: &str) -> Option<(u16, Value)> {
        let answer = self.http.get(format!("{}{path}", self.api)).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.unwrap_or_default()))
    }

    /// The form byte for byte: a client's library would make the names harmless.
    async fn upload(&self, case: &Case) -> (u16, Value) {
        let name: Vec<u8> =
            case.file_name.iter().flat_map(|b| if *b == b'\\' { vec![b'\\', b'\\'] } else { vec![*b] }).collect();
        let head = [
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"").as_bytes(),
            &name,
            format!("\"\r\nContent-Type: {}\r\n\r\n", case.mime).as_bytes(),
        ]
        .concat();
        let tail = format!("\r\n--{BOUNDARY}--\r\n").into_bytes();
        let (body, length) = match &case.content {
            Content::Bytes(bytes) => {
                let body = [head, bytes.clone(), tail].concat();
                let length = body.len() as u64;
                (reqwest::Body::from(body), length)
            }
            Content::Zeros(count) => {
                let length = head.len() as u64 + count + tail.len() as u64;
                let zeros = std::iter::repeat_n(vec![0_u8; 1 << 16], usize::try_from(*count >> 16).unwrap());
                let chunks = [head].into_iter().chain(zeros).chain([tail]).map(Ok::<_, std::io::Error>);
                (reqwest::Body::wrap_stream(futures::stream::iter(chunks)), length)
            }
        };
        let request = self
            .http
            .post(format!("{}/v1/documents", self.api))
            .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))
            .header("content-length", length)
            .body(body);
        let answer = request.send().await.unwrap_or_else(|e| panic!("{}: {e:?}", case.row));
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn finished(&self, id: &str) -> Option<Value> {
        self.get(&format!("/v1/documents/{id}"))
            .await
            .map(|(_, shown)| shown)
            .filter(|shown| shown["state"] == "finished")
    }

    fn unharmed(&mut self) {
        for process in &mut self.processes {
            assert!(process.revive().is_none(), "{} ended by itself", process.name);
        }
    }
}

/// What became of a document, in the words of the table.
async fn judged(small: &Small, id: &str, shown: &Value, outcome: Outcome) -> Result<(), String> {
    let said = |path: &str| shown.pointer(path).and_then(Value::as_str).unwrap_or("-").to_owned();
    let (verdict, content, text) = (said("/scan/verdict"), said("/content/outcome"), said("/text/outcome"));
    let reason = [said("/scan/reason"), said("/content/reason"), said("/text/reason")];
    let is = match outcome {
        Outcome::NotAccepted(..) => false,
        Outcome::Infected => verdict == "infected",
        Outcome::Unscannable(why) => verdict == "unscannable" && reason[0] == why,
        Outcome::Refused(why) => content == "refused" && reason[1] == why,
        Outcome::Unreadable(why) => text == "unreadable" && reason[2] == why,
        Outcome::ReadOrUnreadable(whys) => {
            text == "extracted" || (text == "unreadable" && whys.contains(&reason[2].as_str()))
        }
        Outcome::Read => text == "extracted",
    };
    let opened = matches!(outcome, Outcome::Read | Outcome::ReadOrUnreadable(_) | Outcome::Unreadable(_));
    let (status, _) = small.get(&format!("/v1/documents/{id}/content")).await.unwrap();
    if !is || (status == 200) != opened {
        return Err(format!(
            "{outcome:?}, but scan {verdict}, content {content}, text {text}, {reason:?}, download {status}"
        ));
    }
    if outcome == Outcome::Read {
        let text =
            small.http.get(format!("{}/v1/documents/{id}/text", small.api)).send().await.unwrap().text().await.unwrap();
        if !text.contains("document") && !text.contains("text") {
            return Err(format!("read, but as {text:?}"));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_document_of_the_corpus_has_its_outcome_and_is_erased_without_a_rest() {
    let mut small = Small::start().await;
    let (mut accepted, mut wrong) = (BTreeMap::new(), Vec::new());
    for case in corpus::all() {
        let (status, said) = small.upload(&case).await;
        match (case.outcome, status) {
            (Outcome::NotAccepted(expected, slug), _) => {
                if status != expected || said["type"] != format!("/problems/{slug}") {
                    wrong.push(format!("{}: {status} {said}", case.row));
                }
            }
            (_, 201) => drop(accepted.insert(said["id"].as_str().unwrap().to_owned(), case)),
            _ => wrong.push(format!("{}: {status} {said}", case.row)),
        }
    }
    for (id, case) in &accepted {
        let shown = eventually(case.row, PATIENCE_SECONDS, || small.finished(id)).await;
        let name = shown["file_name"].as_str().unwrap();
        if name.contains(['/', '\\', '\u{202e}']) || name.len() > 255 || name.chars().any(char::is_control) {
            wrong.push(format!("{}: the name {name:?} is not harmless", case.row));
        }
        if let Err(why) = judged(&small, id, &shown, case.outcome).await {
            wrong.push(format!("{}: {why}", case.row));
        }
    }
    small.unharmed();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), accepted.len(), wrong.join("\n"));
    let dead: i64 = sqlx::query_scalar("SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead'")
        .fetch_one(&small.database.pool())
        .await
        .unwrap();
    assert_eq!(dead, 0, "a bad document is a fact, not a bad message");
    audit_is_green(&small).await;
    erase_all(&mut small, accepted.keys()).await;
}

async fn audit_is_green(small: &Small) {
    let config = small.config();
    eventually("the audit is green", 60, || async {
        let (code, said) = docfleet(&config, &["audit"]).await;
        if code != 0 {
            eprintln!("{said}");
        }
        (code == 0).then_some(())
    })
    .await;
}

async fn erase_all(small: &mut Small, ids: impl Iterator<Item = &String>) {
    let ids: Vec<&str> = ids.map(String::as_str).collect();
    let erase = [&["documents", "erase", "--reason", "test", "--yes"], &ids[..]].concat();
    let (code, said) = docfleet(&small.config(), &erase).await;
    assert_eq!(code, 0, "{said}");
    for id in &ids {
        assert_eq!(small.get(&format!("/v1/documents/{id}")).await.unwrap().0, 410);
    }
    eventually("the store is empty", 60, || async {
        files_below(&small.directory.path().join("blobs")).is_empty().then_some(())
    })
    .await;
    eventually("the view holds nothing of them", 60, || async {
        let left: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM views.document_view WHERE erased_at IS NULL OR file_name IS NOT NULL",
        )
        .fetch_one(&small.database.pool())
        .await
        .unwrap();
        (left == 0).then_some(())
    })
    .await;
    audit_is_green(small).await;
    small.unharmed();
}

/// The race of the erasure with every stage: documents go while they are scanned, identified, read and shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_are_erased_while_they_are_worked_on_leave_nothing_and_no_dead_letter() {
    let mut small = Small::start().await;
    let erasures = (0..40_u32).map(|number| {
        let small = &small;
        async move {
            // Some of them share a content, which must outlive the first and go with the last.
            let kind = if number % 4 == 0 { 5 } else { number as usize % 5 };
            let document = documents::document(kind + 10 * (number as usize));
            let case = Case {
                row: "a document that goes",
                file_name: document.name.clone().into_bytes(),
                mime: document.mime,
                content: Content::Bytes(document.bytes),
                outcome: Outcome::Read,
            };
            // A content that is being deleted just now is put anew; a busy machine may say 503 before.
            let said = eventually("the upload is accepted", 60, || async {
                let (status, said) = small.upload(&case).await;
                assert!(matches!(status, 201 | 503), "{status} {said}");
                (status == 201).then_some(said)
            })
            .await;
            let id = said["id"].as_str().unwrap().to_owned();
            // Each at another moment of its way; the moments are what is tested.
            tokio::time::sleep(Duration::from_millis(u64::from(number) * 97 % 3_000)).await;
            let answer = small.http.delete(format!("{}/v1/documents/{id}", small.api)).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 204);
            id
        }
    });
    // Fewer than uploads that may run at once.
    let ids: Vec<String> = futures::stream::iter(erasures).buffer_unordered(16).collect().await;
    eventually("all is settled, and every erasure is through", 120, || async {
        let left: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM pipeline.outbox_unpublished)
                  + (SELECT count(*) FROM documents.erasures WHERE finished_at IS NULL)
                  + (SELECT count(*) FROM views.document_view WHERE erased_at IS NULL)
                  + (SELECT count(*) FROM documents.contents) + (SELECT count(*) FROM documents.scans)
                  + (SELECT count(*) FROM documents.duplicates)",
        )
        .fetch_one(&small.database.pool())
        .await
        .unwrap();
        (left == 0).then_some(())
    })
    .await;
    // Of each, the erasure is the last word.
    let after: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pipeline.outbox_events e JOIN pipeline.outbox_events o USING (aggregate_id)
          WHERE e.event_type = 'DocumentErased' AND o.kind = 'event' AND o.aggregate_version > e.aggregate_version",
    )
    .fetch_one(&small.database.pool())
    .await
    .unwrap();
    let dead: i64 = sqlx::query_scalar("SELECT count(*) FROM pipeline.inbox WHERE outcome IN ('dead', 'discarded')")
        .fetch_one(&small.database.pool())
        .await
        .unwrap();
    assert_eq!((after, dead), (0, 0));
    erase_all(&mut small, ids.iter()).await;
}

/// But the mark of the region.
fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    let below = entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] });
    below.filter(|path| path.file_name().is_some_and(|name| name != ".docfleet-region")).collect()
}
