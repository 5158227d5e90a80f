use std::time::Duration;

use bytes::Bytes;
use docfleet_blobs::{Blobs, BlobsConfig};
use docfleet_events::{BlobRef, DedupOutcome, DocumentDeduplicated, DocumentTextExtracted, EventMeta, TextOutcome};
use docfleet_pipeline::{Class, Handler, Message, Outcome, WorkContext};
use ocr::{Finding, Ocr, OcrConfig};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{engine, files::sample, one_child};

const DOCUMENT: Uuid = Uuid::from_u128(9);

struct Desk {
    _directory: TempDir,
    blobs: Blobs,
    ocr: Ocr,
}

impl Desk {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_store(&BlobsConfig { url: format!("file://{}", directory.path().display()) }).unwrap();
        let config = OcrConfig { document_bytes_max: 1_000_000, ..one_child() };
        let ocr = Ocr::with(blobs.clone(), engine().await, config);
        Self { _directory: directory, blobs, ocr }
    }

    async fn work(&self, outcome: DedupOutcome, mime: &str, size_bytes: i64) -> Outcome<Finding> {
        let event = DocumentDeduplicated {
            document_id: DOCUMENT,
            outcome,
            duplicate_of: None,
            reason: None,
            sha256: "0".repeat(64),
            mime: mime.to_owned(),
            file_name: "brief.png".to_owned(),
            blob: BlobRef { key: "acme/documents/9".to_owned(), size_bytes },
        };
        let meta = EventMeta {
            event_id: Uuid::from_u128(7),
            occurred_at: OffsetDateTime::UNIX_EPOCH,
            aggregate_type: "document".into(),
            aggregate_id: DOCUMENT,
            aggregate_version: 3,
            tenant: "acme".into(),
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
        self.blobs.put("acme/documents/9", document.into()).await.unwrap();
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
    assert_eq!((fact.language.as_deref(), fact.pages.len()), (Some("deu+eng"), 1));
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
        (vec![1], "application/vnd.oasis.opendocument.text", "unsupported-type"),
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
