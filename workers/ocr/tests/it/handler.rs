use std::time::Duration;

use bytes::Bytes;
use docfleet_blobs::{Blobs, BlobsConfig, document_key};
use docfleet_events::{BlobRef, DedupOutcome, DocumentDeduplicated, DocumentTextExtracted, EventMeta, TextOutcome};
use docfleet_pipeline::{Class, Handler, Message, Outcome, WorkContext};
use ocr::{Finding, Ocr, OcrConfig, engine::Engine};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{files::sample, one_child, worker};

const TENANT: &str = "acme";
const DOCUMENT: Uuid = Uuid::from_u128(9);

fn key() -> String {
    document_key(TENANT, DOCUMENT)
}

struct Desk {
    _directory: TempDir,
    blobs: Blobs,
    ocr: Ocr,
}

impl Desk {
    async fn new() -> Self {
        Self::with(one_child()).await
    }

    async fn with(config: OcrConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_store(&BlobsConfig { url: format!("file://{}", directory.path().display()) }).unwrap();
        let config = OcrConfig { document_bytes_max: 1_000_000, ..config };
        let engine = Engine::start(worker(), config.clone()).await.expect("the engine starts");
        let ocr = Ocr::with(blobs.clone(), engine, config);
        Self { _directory: directory, blobs, ocr }
    }

    async fn work(&self, outcome: DedupOutcome, mime: &str, size_bytes: i64) -> Outcome<Finding> {
        self.work_on(BlobRef { key: key(), size_bytes }, outcome, mime).await
    }

    async fn work_on(&self, blob: BlobRef, outcome: DedupOutcome, mime: &str) -> Outcome<Finding> {
        let event = DocumentDeduplicated {
            document_id: DOCUMENT,
            outcome,
            duplicate_of: None,
            reason: None,
            sha256: "0".repeat(64),
            mime: mime.to_owned(),
            file_name: "brief.png".to_owned(),
            blob,
        };
        let meta = EventMeta {
            event_id: Uuid::from_u128(7),
            occurred_at: OffsetDateTime::UNIX_EPOCH,
            aggregate_type: "document".into(),
            aggregate_id: DOCUMENT,
            aggregate_version: 3,
            tenant: TENANT.into(),
            region: "local".into(),
            cause: None,
            traceparent: None,
        };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(3_600);
        let context = WorkContext { deadline, shutdown: CancellationToken::new() };
        self.ocr.work(&Message { meta, event, attempt: 0, traceparent: None }, &context).await
    }

    async fn fact(&self, document: Vec<u8>, mime: &str) -> DocumentTextExtracted {
        let size_bytes = i64::try_from(document.len()).unwrap();
        self.blobs.put(&key(), document.into()).await.unwrap();
        match self.work(DedupOutcome::Unique, mime, size_bytes).await.unwrap() {
            Finding::Read(fact) => fact,
            Finding::NothingToRead => panic!("a unique document is read"),
        }
    }
}

#[tokio::test]
async fn the_text_of_a_unique_document_is_stored_and_announced() {
    let desk = Desk::new().await;
    let fact = desk.fact(sample("letter.png"), "image/png").await;
    assert_eq!((fact.document_id, fact.outcome, fact.reason.as_deref()), (DOCUMENT, TextOutcome::Extracted, None));
    assert_eq!((fact.language.as_deref(), fact.pages.len()), (Some("deu"), 1));
    assert!(
        fact.excerpt.as_ref().is_some_and(|words| words.starts_with("Stadtwerke Lindenfurt")),
        "{:?}",
        fact.excerpt
    );
    let text = fact.text.clone().expect("there is a text");
    assert_eq!(text.key, format!("acme/texts/{DOCUMENT}.txt"));
    let stored: Bytes = desk.blobs.read_all(&text.key, 1_000_000).await.unwrap();
    assert_eq!(i64::try_from(stored.len()).unwrap(), text.size_bytes);
    assert!(std::str::from_utf8(&stored).unwrap().contains("Mit freundlichen Grüßen"));
    assert_eq!(desk.fact(sample("letter.png"), "image/png").await, fact, "work that is repeated finds the same");
}

#[tokio::test]
async fn a_document_without_text_is_a_fact_with_a_reason_and_no_text() {
    let desk = Desk::new().await;
    for (document, mime, reason) in [
        (sample("broken.pdf"), "application/pdf", "corrupt"),
        (vec![], "application/x-empty", "empty"),
        (vec![1], "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "unsupported-type"),
        (vec![0; 1_000_001], "application/pdf", "too-large"),
    ] {
        let fact = desk.fact(document, mime).await;
        assert_eq!((fact.outcome, fact.reason.as_deref()), (TextOutcome::Unreadable, Some(reason)));
        assert_eq!((fact.text, fact.excerpt, fact.language, fact.confidence), (None, None, None, None));
    }
}

#[tokio::test]
async fn duplicates_and_refused_files_are_not_read() {
    let desk = Desk::new().await;
    for outcome in [DedupOutcome::Duplicate, DedupOutcome::Refused] {
        assert!(matches!(desk.work(outcome, "image/png", 1).await, Ok(Finding::NothingToRead)));
    }
}

#[tokio::test]
async fn a_document_that_is_gone_is_poison() {
    let failure = Desk::new().await.work(DedupOutcome::Unique, "image/png", 1).await.err().expect("there is no blob");
    assert_eq!((failure.class, failure.reason), (Class::Poison, "blob-gone"));
}

#[tokio::test]
async fn a_key_that_is_not_the_documents_own_is_not_opened() {
    let desk = Desk::new().await;
    let of_another_tenant = document_key("b", DOCUMENT);
    let of_another_document = document_key(TENANT, Uuid::from_u128(2));
    for key in [&of_another_tenant, &of_another_document] {
        desk.blobs.put(key, "text".into()).await.unwrap();
    }
    let too_long = "a".repeat(300);
    for key in [&of_another_tenant, &of_another_document, "acme/documents/9", "../etc/passwd", "", &too_long] {
        for size_bytes in [0, 4] {
            let blob = BlobRef { key: key.to_owned(), size_bytes };
            let failure = desk.work_on(blob, DedupOutcome::Unique, "text/plain").await.err().expect(key);
            assert_eq!((failure.class, failure.reason), (Class::Poison, "blob-key-invalid"), "{key}");
        }
    }
}

#[tokio::test]
async fn a_document_that_takes_too_long_is_a_fact_and_not_a_failed_try() {
    for config in [
        OcrConfig { open_time_max: Duration::from_millis(1), ..one_child() },
        OcrConfig { page_time_max: Duration::from_millis(1), ..one_child() },
        OcrConfig { document_time_max: Duration::from_millis(1), ..one_child() },
    ] {
        let desk = Desk::with(config).await;
        let fact = desk.fact(sample("statement-scan.pdf"), "application/pdf").await;
        assert_eq!((fact.outcome, fact.reason.as_deref()), (TextOutcome::Unreadable, Some("too-slow")));
        assert_eq!((fact.text, fact.pages.len()), (None, 0));
    }
}
