use std::time::Duration;

use dedup::{Cache, Dedup, Finding, Lookup, RedisConfig, claim::Refusal, sniff::Kind};
use docfleet_blobs::{Blobs, BlobsConfig, document_key};
use docfleet_events::{BlobRef, DocumentVirusScanned, EventMeta, ScanVerdict};
use docfleet_pipeline::{Class, Handler, Message, Outcome, WorkContext};
use uuid::Uuid;

const TENANT: &str = "t";
const DOCUMENT: Uuid = Uuid::from_u128(1);

struct Bench {
    _directory: tempfile::TempDir,
    blobs: Blobs,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}", directory.path().display());
        Self { blobs: Blobs::open_store(&BlobsConfig { url }).unwrap(), _directory: directory }
    }

    async fn work(&self, event: DocumentVirusScanned) -> Outcome<Finding> {
        let away = RedisConfig { url: "redis://127.0.0.1:1/".into(), ..RedisConfig::default() };
        let context = WorkContext {
            deadline: tokio::time::Instant::now() + Duration::from_secs(20),
            shutdown: Default::default(),
        };
        Dedup::over(self.blobs.clone(), Cache::new(away).unwrap()).work(&message(event), &context).await
    }

    async fn identify(&self, name: &str, bytes: &'static [u8]) -> Outcome<Finding> {
        self.blobs.put(&document_key(TENANT, DOCUMENT), bytes.into()).await.unwrap();
        self.work(scanned(name, bytes.len())).await
    }
}

fn scanned(file_name: &str, size: usize) -> DocumentVirusScanned {
    DocumentVirusScanned {
        document_id: DOCUMENT,
        verdict: ScanVerdict::Clean,
        signature: None,
        reason: None,
        engine: "1".into(),
        database: "2".into(),
        file_name: file_name.into(),
        declared_mime: None,
        blob: BlobRef { key: document_key(TENANT, DOCUMENT), size_bytes: i64::try_from(size).unwrap() },
        searchable_pdf: true,
    }
}

fn message(event: DocumentVirusScanned) -> Message<DocumentVirusScanned> {
    let meta = EventMeta {
        event_id: Uuid::from_u128(2),
        occurred_at: time::OffsetDateTime::UNIX_EPOCH,
        aggregate_type: "document".into(),
        aggregate_id: event.document_id,
        aggregate_version: 2,
        tenant: TENANT.into(),
        region: "local".into(),
        cause: None,
        traceparent: None,
    };
    Message { meta, event, attempt: 0, traceparent: None }
}

#[tokio::test]
async fn a_clean_document_is_identified_without_redis() {
    let found = Bench::new().identify("a.txt", b"abc").await.unwrap();
    let Finding::Accepted { identity, lookup, .. } = found else { panic!("{found:?}") };
    // FIPS 180-4's first example.
    assert_eq!(identity.sha256_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!((identity.sniffed.kind, identity.size_bytes, lookup), (Kind::Text, 3, Lookup::Bypassed));
}

#[tokio::test]
async fn an_empty_file_and_a_corrupted_pdf_go_on_to_the_reader() {
    let bench = Bench::new();
    for (name, bytes, kind) in [("a.pdf", &b""[..], Kind::Empty), ("b.pdf", b"%PDF-1.7 \x00\xff garbage", Kind::Pdf)] {
        let found = bench.identify(name, bytes).await.unwrap();
        assert!(matches!(found, Finding::Accepted { identity, .. } if identity.sniffed.kind == kind), "{name}");
    }
}

#[tokio::test]
async fn a_file_that_lies_is_refused() {
    let found = Bench::new().identify("photo.png", b"MZ\x90\0\x03\0\0\0").await.unwrap();
    assert!(matches!(found, Finding::Refused { refusal: Refusal::TypeMismatch, .. }), "{found:?}");
}

#[tokio::test]
async fn what_is_not_clean_is_not_touched() {
    for verdict in [ScanVerdict::Infected, ScanVerdict::Unscannable] {
        // There is no blob to touch.
        let found = Bench::new().work(DocumentVirusScanned { verdict, ..scanned("a.pdf", 5) }).await.unwrap();
        assert!(matches!(found, Finding::NotClean));
    }
}

#[tokio::test]
async fn a_blob_that_is_gone_or_another_is_for_operators() {
    let bench = Bench::new();
    let gone = bench.work(scanned("a.pdf", 5)).await.unwrap_err();
    assert_eq!((gone.class, gone.reason), (Class::Poison, "blob-gone"));
    bench.blobs.put(&document_key(TENANT, DOCUMENT), "six by".into()).await.unwrap();
    let other = bench.work(scanned("a.txt", 5)).await.unwrap_err();
    assert_eq!((other.class, other.reason), (Class::Poison, "blob-size-differs"));
}

#[tokio::test]
async fn a_key_that_is_not_the_documents_own_is_not_opened() {
    let bench = Bench::new();
    let of_another_tenant = document_key("b", DOCUMENT);
    let of_another_document = document_key(TENANT, Uuid::from_u128(2));
    for key in [&of_another_tenant, &of_another_document] {
        bench.blobs.put(key, "5 byt".into()).await.unwrap();
    }
    let too_long = "a".repeat(300);
    for key in [&of_another_tenant, &of_another_document, "t/documents/a", "../etc/passwd", "", &too_long] {
        let blob = BlobRef { key: key.to_owned(), size_bytes: 5 };
        let invalid = bench.work(DocumentVirusScanned { blob, ..scanned("a.txt", 5) }).await.unwrap_err();
        assert_eq!((invalid.class, invalid.reason), (Class::Poison, "blob-key-invalid"), "{key}");
    }
}
