use std::time::Duration;

use dedup::{Cache, Dedup, Finding, Lookup, RedisConfig, claim::Refusal, sniff::Kind};
use docfleet_blobs::{Blobs, BlobsConfig, content_key};
use docfleet_events::{BlobRef, DocumentVirusScanned, EventMeta, ScanVerdict};
use docfleet_pipeline::{Class, Handler, Message, Outcome, WorkContext};
use uuid::Uuid;

const TENANT: &str = "t";
const DOCUMENT: Uuid = Uuid::from_u128(1);

struct Bench {
    directory: tempfile::TempDir,
    blobs: Blobs,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}", directory.path().display());
        Self { blobs: Blobs::open_store(&BlobsConfig::at(url), "local").unwrap(), directory }
    }

    async fn work(&self, event: DocumentVirusScanned) -> Outcome<Finding> {
        self.work_on(message(event)).await
    }

    async fn work_on(&self, message: Message<DocumentVirusScanned>) -> Outcome<Finding> {
        let away = RedisConfig { url: "redis://127.0.0.1:1/".into(), ..RedisConfig::default() };
        let context = WorkContext {
            deadline: tokio::time::Instant::now() + Duration::from_secs(20),
            shutdown: Default::default(),
        };
        Dedup::over(self.blobs.clone(), Cache::new(away).unwrap()).work(&message, &context).await
    }

    async fn identify(&self, name: &str, bytes: &'static [u8]) -> Outcome<Finding> {
        self.blobs.put(&key_of(bytes), bytes.into()).await.unwrap();
        self.work(scanned(name, bytes)).await
    }
}

fn key_of(bytes: &[u8]) -> String {
    let hash = <sha2::Sha256 as sha2::Digest>::digest(bytes);
    content_key(TENANT, &hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn scanned(file_name: &str, bytes: &[u8]) -> DocumentVirusScanned {
    DocumentVirusScanned {
        document_id: DOCUMENT,
        verdict: ScanVerdict::Clean,
        signature: None,
        reason: None,
        engine: "1".into(),
        database: "2".into(),
        file_name: file_name.into(),
        declared_mime: None,
        blob: BlobRef { key: key_of(bytes), size_bytes: i64::try_from(bytes.len()).unwrap() },
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
        let found = Bench::new().work(DocumentVirusScanned { verdict, ..scanned("a.pdf", b"5 byt") }).await.unwrap();
        assert!(matches!(found, Finding::NotClean));
    }
}

#[tokio::test]
async fn a_blob_that_is_gone_or_another_is_for_operators() {
    let bench = Bench::new();
    // Whether it was erased is asked in the settlement, which is for operators if not.
    let gone = bench.work(scanned("a.pdf", b"5 byt")).await.unwrap();
    assert!(matches!(gone, Finding::Gone), "{gone:?}");
    for (there, reason) in [("six by", "blob-size-differs"), ("5 bYt", "blob-content-differs")] {
        bench.blobs.put(&key_of(b"5 byt"), there.into()).await.unwrap();
        let other = bench.work(scanned("a.txt", b"5 byt")).await.unwrap_err();
        assert_eq!((other.class, other.reason), (Class::Poison, reason));
    }
}

#[tokio::test]
async fn a_key_that_is_not_the_tenants_own_is_not_opened() {
    let bench = Bench::new();
    let of_another_tenant = key_of(b"5 byt").replacen(TENANT, "b", 1);
    bench.blobs.put(&of_another_tenant, "5 byt".into()).await.unwrap();
    let too_long = "a".repeat(300);
    for key in [&of_another_tenant, "t/contents/a", "../etc/passwd", "", &too_long] {
        let blob = BlobRef { key: key.to_owned(), size_bytes: 5 };
        let invalid = bench.work(DocumentVirusScanned { blob, ..scanned("a.txt", b"5 byt") }).await.unwrap_err();
        assert_eq!((invalid.class, invalid.reason), (Class::Poison, "blob-key-invalid"), "{key}");
    }
}

#[tokio::test]
async fn a_document_of_another_region_or_in_a_store_of_another_is_not_opened() {
    let bench = Bench::new();
    let mut foreign = message(scanned("a.txt", b"abc"));
    foreign.meta.region = "elsewhere".into();
    let refused = bench.work_on(foreign).await.unwrap_err();
    assert_eq!((refused.class, refused.reason), (Class::Poison, "region-foreign"));
    std::fs::write(bench.directory.path().join(".docfleet-region"), "elsewhere").unwrap();
    let refused = bench.work(scanned("a.txt", b"abc")).await.unwrap_err();
    assert_eq!((refused.class, refused.reason), (Class::Fatal, "store-of-other-region"));
}
