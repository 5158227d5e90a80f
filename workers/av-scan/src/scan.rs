//! One document through one engine, or through a second when the first fails.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use docfleet_blobs::Blobs;
use futures::TryStreamExt;
use tokio::time::Instant;

use crate::{
    Engines, Error, Version,
    archive::{Limits, Sentinel},
    engines::Purpose,
    reply::Answer,
};

/// A document that brought so many engines down in one try is fed to no further one.
const ENGINES_MAX: usize = 2;
/// In one go, where nothing is unpacked.
const OBSERVED_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub answer: Answer,
    pub version: Version,
}

/// What it takes to scan. Cheap to clone.
#[derive(Clone)]
pub struct Scanner {
    pub blobs: Blobs,
    pub engines: Arc<Engines>,
    pub limits: Limits,
}

impl Scanner {
    /// Streams the blob through an engine; through further ones while these are away, and through one more when the first
    /// failed in the middle. Each time the blob is opened anew.
    ///
    /// # Errors
    /// There is no verdict. [`Error::SizeDiffers`] when the store holds another size than `size_bytes`.
    pub async fn scan(&self, key: &str, size_bytes: i64, purpose: Purpose, by: Instant) -> Result<Finding, Error> {
        let (mut tried, mut brought_down, mut last) = (Vec::new(), 0, None);
        loop {
            let Some(lease) = self.engines.lease(&tried, purpose, by).await? else {
                return Err(last.unwrap_or_else(|| Error::Away("no host is well".to_owned())));
            };
            tried.push(lease.host());
            let scanned = self.through(&lease, key, size_bytes, by).await;
            lease.judge(&scanned);
            match scanned {
                Err(error) if error.is_engines() => {
                    brought_down += usize::from(error.is_in_the_middle());
                    if brought_down >= ENGINES_MAX || error.is_in_the_middle() && Instant::now() >= by {
                        return Err(error);
                    }
                    last = Some(worse(last, error));
                }
                done => return done,
            }
        }
    }

    async fn through(&self, engine: &crate::Engine, key: &str, size_bytes: i64, by: Instant) -> Result<Finding, Error> {
        let blob = self.blobs.open(key).await.map_err(Error::Content)?;
        if i64::try_from(blob.size_bytes) != Ok(size_bytes) {
            return Err(Error::SizeDiffers { stated: size_bytes, found: blob.size_bytes });
        }
        let sentinel = Arc::new(Mutex::new(Sentinel::new(self.limits)));
        let watching = Arc::clone(&sentinel);
        let content = blob.bytes.and_then(move |chunk| observed(Arc::clone(&watching), chunk));
        let (mut answer, version) = engine.scan(Box::pin(content), by).await?;
        let sentinel = sentinel.lock().unwrap_or_else(PoisonError::into_inner);
        if answer == Answer::Clean {
            if sentinel.seen_bytes() != blob.size_bytes {
                return Err(Error::EndedEarly);
            }
            if let Some(uncovered) = sentinel.verdict() {
                answer = Answer::Unscannable(uncovered);
            }
        }
        Ok(Finding { answer, version })
    }
}

/// Other documents use the same threads, so unpacking is done on others: archives in archives make seconds of a few bytes.
async fn observed(sentinel: Arc<Mutex<Sentinel>>, chunk: Bytes) -> Result<Bytes, docfleet_blobs::Error> {
    if sentinel.lock().unwrap_or_else(PoisonError::into_inner).unpacks() {
        let work = move || {
            sentinel.lock().unwrap_or_else(PoisonError::into_inner).observe(&chunk);
            chunk
        };
        let ended = |error: tokio::task::JoinError| docfleet_blobs::Error::Spool(std::io::Error::other(error));
        return tokio::task::spawn_blocking(work).await.map_err(ended);
    }
    for piece in chunk.chunks(OBSERVED_BYTES) {
        sentinel.lock().unwrap_or_else(PoisonError::into_inner).observe(piece);
        if piece.len() == OBSERVED_BYTES {
            tokio::task::yield_now().await;
        }
    }
    Ok(chunk)
}

/// Which of two failures is told: one that had the document in hand says most, one that is stale
/// more than one that is away.
fn worse(last: Option<Error>, error: Error) -> Error {
    match last {
        Some(last @ Error::Stale(_)) if !error.is_in_the_middle() => last,
        Some(last) if last.is_in_the_middle() => last,
        _ => error,
    }
}
