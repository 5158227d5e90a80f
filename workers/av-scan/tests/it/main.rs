//! av-scan against the real clamd, against one of its own that has small limits and can be ended, and against servers that
//! only pretend to be clamd.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod archives;
mod away;
mod corpus;
mod dated;
mod hostile;
mod hosts;
mod midstream;
mod own_clamd;
mod rescan;
#[path = "../../src/archive/sample.rs"]
mod sample;
mod verdicts;

use std::time::Duration;

use av_scan::{AgeLimit, AvScan, ClamdConfig, Finding};
use bytes::Bytes;
use docfleet_blobs::{Blobs, BlobsConfig, content_key};
use docfleet_events::{BlobRef, DocumentUploaded, EventMeta};
use docfleet_pipeline::{Handler, Message, Outcome, WorkContext};
use uuid::Uuid;

const TENANT: &str = "t";
const DOCUMENT: Uuid = Uuid::from_u128(1);

/// A blob store of its own for one test.
struct Store {
    _directory: tempfile::TempDir,
    blobs: Blobs,
}

impl Store {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}", directory.path().display());
        Self { blobs: Blobs::open_store(&BlobsConfig::at(url), "local").unwrap(), _directory: directory }
    }

    /// Puts `content` and lets the handler work on it.
    async fn scan(&self, config: &ClamdConfig, content: impl Into<Bytes>) -> Outcome<Finding> {
        let content = content.into();
        let size_bytes = i64::try_from(content.len()).unwrap();
        let key = key();
        self.blobs.put(&key, content).await.unwrap();
        self.work(config, &key, size_bytes).await
    }

    async fn work(&self, config: &ClamdConfig, key: &str, size_bytes: i64) -> Outcome<Finding> {
        let worked = AvScan::over(self.blobs.clone(), config).work(&message(key, size_bytes), &context()).await;
        worked.map(|finding| finding.expect("its bytes are there"))
    }
}

/// Some content's; av-scan does not hash.
fn key() -> String {
    content_key(TENANT, &"ab".repeat(32))
}

fn message(key: &str, size_bytes: i64) -> Message<DocumentUploaded> {
    Message {
        meta: EventMeta {
            event_id: Uuid::from_u128(2),
            occurred_at: time::OffsetDateTime::UNIX_EPOCH,
            aggregate_type: "document".into(),
            aggregate_id: DOCUMENT,
            aggregate_version: 1,
            tenant: TENANT.into(),
            region: "local".into(),
            cause: None,
            traceparent: None,
        },
        event: DocumentUploaded {
            document_id: DOCUMENT,
            file_name: "letter.pdf".into(),
            declared_mime: None,
            blob: BlobRef { key: key.into(), size_bytes },
            searchable_pdf: true,
            sha256: Some("ab".repeat(32)),
        },
        attempt: 0,
        traceparent: None,
    }
}

fn context() -> WorkContext {
    WorkContext { deadline: tokio::time::Instant::now() + Duration::from_secs(60), shutdown: Default::default() }
}

/// Short timeouts, so that a test of silence takes no time.
fn config(address: impl Into<String>) -> ClamdConfig {
    let short = Duration::from_millis(500);
    ClamdConfig {
        addresses: vec![address.into()],
        connect_timeout: short,
        stall_timeout: short,
        answer_timeout: short,
        database_age_max: AgeLimit::Unlimited,
        ..ClamdConfig::default()
    }
}

/// The test file of every scanner, made from the signature that knows it; no source file holds it.
fn eicar() -> Vec<u8> {
    let database = include_str!("../../../../deploy/clamav/docfleet.ndb");
    let hex = database.trim().rsplit(':').next().unwrap().as_bytes();
    hex.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
