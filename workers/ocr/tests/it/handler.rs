use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use docfleet_blobs::{Blobs, BlobsConfig, content_key, mrz_key};
use docfleet_events::{
    BlobRef, DedupOutcome, DocumentDeduplicated, DocumentTextExtracted, EventMeta, MrzOutcome, TextOutcome,
};
use docfleet_pipeline::{Class, Handler, Message, Outcome, WorkContext};
use docfleet_seal::{Keys, Owner};
use ocr::{Finding, Ocr, OcrConfig, engine::Engine};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    files::{fixture, sample},
    one_child, worker,
};

const TENANT: &str = "acme";
const DOCUMENT: Uuid = Uuid::from_u128(9);

/// Of some content; ocr does not hash.
const HASH: &str = "ab";

fn key() -> String {
    content_key(TENANT, &HASH.repeat(32))
}

struct Desk {
    _directory: TempDir,
    blobs: Blobs,
    ocr: Ocr,
    searchable_pdf: bool,
}

impl Desk {
    async fn new() -> Self {
        Self::with(one_child()).await
    }

    async fn with(config: OcrConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}", directory.path().display());
        let blobs = Blobs::open_store(&BlobsConfig::at(url), "local").unwrap();
        let config = OcrConfig { document_bytes_max: 1_000_000, ..config };
        let engine = Engine::start(worker(), config.clone()).await.expect("the engine starts");
        let ocr = Ocr::with(blobs.clone(), engine, config).unwrap();
        Self { _directory: directory, blobs, ocr, searchable_pdf: false }
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
            sha256: HASH.repeat(32),
            mime: mime.to_owned(),
            file_name: "brief.png".to_owned(),
            blob,
            searchable_pdf: self.searchable_pdf,
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
            Finding::Read(read) => read.fact,
            Finding::NothingToRead | Finding::Gone => panic!("a unique document is read"),
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

fn key_file(directory: &TempDir) -> std::path::PathBuf {
    let file = directory.path().join("keys");
    std::fs::write(&file, format!("2026-a {}\n", STANDARD.encode([7; 32]))).unwrap();
    file
}

#[tokio::test]
async fn a_passports_zone_is_told_of_as_valid_and_lies_only_encrypted() {
    let directory = tempfile::tempdir().unwrap();
    let file = key_file(&directory);
    let desk = Desk::with(OcrConfig { mrz_key_file: Some(file.clone()), ..one_child() }).await;
    for (document, mime, number) in [
        (sample("passport-pages.tiff"), "image/tiff", "L898902C3"),
        (fixture("td1-specimen.jpg"), "image/jpeg", "D23145890"),
        (fixture("td3-specimen.jpg"), "image/jpeg", "L898902C3"),
    ] {
        let fact = desk.fact(document, mime).await;
        assert_eq!(fact.mrz, Some(MrzOutcome::Valid), "{number}");
        let kept = [fact.text.as_ref().unwrap(), fact.layout.as_ref().unwrap()];
        for blob in kept {
            let stored = desk.blobs.read_all(&blob.key, 10_000_000).await.unwrap();
            assert!(!String::from_utf8_lossy(&stored).contains("<<"), "{} has the zone in clear", blob.key);
        }
        assert!(!format!("{fact:?}").contains("<<"), "the event has the zone in clear");
        let sealed = desk.blobs.read_all(&mrz_key(TENANT, DOCUMENT), 100_000).await.unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains(number));
        let document_id = DOCUMENT.to_string();
        let owner = Owner { purpose: "mrz", tenant: TENANT, document_id: &document_id };
        let opened: serde_json::Value =
            serde_json::from_slice(&Keys::read(&file).unwrap().open(owner, &sealed).unwrap()).unwrap();
        assert_eq!(
            (&opened["zones"][0]["page"], &opened["zones"][0]["fields"]["document_number"]),
            (&1.into(), &number.into())
        );
        let other = Owner { tenant: "b", ..owner };
        assert!(Keys::read(&file).unwrap().open(other, &sealed).is_err(), "it is not another tenant's");
    }
}

/// The words of a PDF, as poppler finds them.
async fn words_of(desk: &Desk, blob: &BlobRef) -> String {
    let pdf = desk.blobs.read_all(&blob.key, 10_000_000).await.unwrap();
    assert_eq!(i64::try_from(pdf.len()).unwrap(), blob.size_bytes);
    let file = desk._directory.path().join("searchable.pdf");
    std::fs::write(&file, &pdf).unwrap();
    if let Ok(kept) = std::env::var("DOCFLEET_KEEP_PDF") {
        std::fs::write(format!("{kept}/{}.pdf", pdf.len()), &pdf).unwrap();
    }
    let output = std::process::Command::new("pdftotext").arg(&file).arg("-").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_searchable_pdf_is_made_of_every_kind_where_it_was_asked_for() {
    let desk = Desk { searchable_pdf: true, ..Desk::new().await };
    for (name, mime, words) in [
        ("letter.png", "image/png", vec!["Jahresabrechnung 2026 und Ihr neuer Abschlag", "Mit freundlichen Grüßen"]),
        (
            "statement-scan.pdf",
            "application/pdf",
            vec!["Statement of Account", "Closing balance on 31 October 2026: 2,057.08"],
        ),
        ("passport-pages.tiff", "image/tiff", vec!["REPUBLIC OF UTOPIA", "Kingdom of Ruritania", "3 Anyder Quay"]),
        ("contract.pdf", "application/pdf", vec!["§ 2 Feststellung der Identität"]),
    ] {
        let fact = desk.fact(sample(name), mime).await;
        let blob = fact.searchable.unwrap_or_else(|| panic!("{name} has none"));
        assert_eq!(blob.key, docfleet_blobs::searchable_key(TENANT, DOCUMENT));
        let found = words_of(&desk, &blob).await;
        for phrase in words {
            assert!(found.contains(phrase), "{name}: {phrase:?} is not in {found:?}");
        }
        assert!(!found.contains("<<"), "{name}: the zone is behind the picture: {found}");
    }
    let original = desk.blobs.read_all(&docfleet_blobs::searchable_key(TENANT, DOCUMENT), 10_000_000).await.unwrap();
    assert_eq!(original, sample("contract.pdf"), "a PDF that is text already stays as it is");
    for (document, mime) in [(b"only text".to_vec(), "text/plain"), (sample("broken.pdf"), "application/pdf")] {
        assert_eq!(desk.fact(document, mime).await.searchable, None, "{mime}");
    }
}

#[tokio::test]
async fn a_searchable_pdf_that_would_be_too_large_is_not_made_and_the_text_stays() {
    let config = OcrConfig { searchable_bytes_max: 10_000, ..one_child() };
    let desk = Desk { searchable_pdf: true, ..Desk::with(config).await };
    let fact = desk.fact(sample("letter.png"), "image/png").await;
    assert_eq!((fact.searchable, fact.text.is_some()), (None, true));
}

#[tokio::test]
async fn without_a_key_the_outcome_is_told_and_the_fields_are_not_kept() {
    let desk = Desk::new().await;
    let text = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10\nend of it";
    for (text, outcome) in [
        (text.to_owned(), MrzOutcome::Valid),
        (text.replace("7408122", "7408123"), MrzOutcome::Invalid),
        ("Dear all".to_owned(), MrzOutcome::Absent),
    ] {
        let fact = desk.fact(text.into_bytes(), "text/plain").await;
        assert_eq!(fact.mrz, Some(outcome));
        let stored = desk.blobs.read_all(&fact.text.unwrap().key, 1_000).await.unwrap();
        assert!(!String::from_utf8_lossy(&stored).contains("L898902C3"));
    }
    assert!(desk.blobs.open(&mrz_key(TENANT, DOCUMENT)).await.is_err());
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
        assert_eq!((fact.layout, fact.mrz), (None, None), "nothing was looked at");
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
async fn whether_a_document_that_is_gone_was_erased_is_left_to_the_settlement() {
    let gone = Desk::new().await.work(DedupOutcome::Unique, "image/png", 1).await;
    assert!(matches!(gone, Ok(Finding::Gone)));
}

#[tokio::test]
async fn a_key_that_is_not_the_documents_own_is_not_opened() {
    let desk = Desk::new().await;
    let of_another_tenant = content_key("b", &HASH.repeat(32));
    let of_another_content = content_key(TENANT, &"cd".repeat(32));
    for key in [&of_another_tenant, &of_another_content] {
        desk.blobs.put(key, "text".into()).await.unwrap();
    }
    let too_long = "a".repeat(300);
    for key in [&of_another_tenant, &of_another_content, "acme/contents/9", "../etc/passwd", "", &too_long] {
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
