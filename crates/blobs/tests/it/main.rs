//! The store of a region on a real S3 service, with a customer's key, and on one that fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bucket;
mod failing;

use bytes::Bytes;
use docfleet_blobs::{Blobs, BlobsConfig, Received};
use docfleet_telemetry::Settings;
use docfleet_testkit::Servers;

/// Larger than what goes in one request, and no multiple of a part.
const LARGE: usize = 20_000_003;

/// A place of its own in the bucket.
fn config() -> BlobsConfig {
    parsed(&Servers::running().bucket(None))
}

fn parsed(lines: &str) -> BlobsConfig {
    Settings::from_toml(&format!("[blobs]\n{lines}")).section("blobs").unwrap()
}

fn open(config: &BlobsConfig) -> Blobs {
    Blobs::open_store(config, "eu").unwrap()
}

fn large() -> Bytes {
    (0..LARGE).map(|n| u8::try_from(n % 251).unwrap()).collect::<Vec<_>>().into()
}

async fn received(blobs: &Blobs, bytes: Bytes) -> Received {
    let pieces = (0..bytes.len()).step_by(64 * 1024).map(|at| bytes.slice(at..bytes.len().min(at + 64 * 1024)));
    let pieces: Vec<_> = pieces.map(Ok::<_, String>).collect();
    blobs.receive(futures::stream::iter(pieces), u64::MAX).await.unwrap()
}
