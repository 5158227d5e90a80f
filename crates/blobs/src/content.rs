//! Contents: bytes under the name that their hash gives, written once.
//!
//! Whoever has the same bytes a second time finds them there. So a deletion may come between finding and using: the
//! transaction that takes a document in locks the content's row (`documents.hold_blob`) and then asks [`Blobs::holds`].

use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};

use crate::{Blobs, Error, key, spool::Spool, store::Backend};

/// A whole upload on this machine, hashed; in no store yet. Dropped, it is gone.
pub struct Received {
    pub sha256: [u8; 32],
    pub size_bytes: u64,
    pub(crate) spool: Spool,
}

impl Received {
    /// Lower-case hex.
    pub fn sha256_hex(&self) -> String {
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What became of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Its bytes are there because of this call.
    New,
    /// They were there.
    Known,
}

impl Blobs {
    /// Takes a stream in without holding it in memory, and hashes it on the way.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::BrokenUpload`], [`Error::Spool`]. Nothing is left then.
    pub async fn receive<S, E>(&self, mut chunks: S, max_bytes: u64) -> Result<Received, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: std::fmt::Display,
    {
        let mut filling = self.filling().await?;
        let (mut hash, mut size_bytes) = (Sha256::new(), 0_u64);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|e| Error::BrokenUpload(e.to_string()))?;
            size_bytes += chunk.len() as u64;
            if size_bytes > max_bytes {
                return Err(Error::TooLarge { limit_bytes: max_bytes });
            }
            hash.update(&chunk);
            filling.push(&chunk).await?;
        }
        Ok(Received { sha256: hash.finalize().into(), size_bytes, spool: filling.finish().await? })
    }

    /// Stores what was received under [`key::content_key`], unless it is there. Durable when it returns; may be repeated.
    ///
    /// # Errors
    /// [`Error::Differs`] when other bytes lie there; the region's; the store's.
    pub async fn keep(&self, tenant: &str, received: &Received) -> Result<Kept, Error> {
        self.compare_region(true).await?;
        let key = key::content_key(tenant, &received.sha256_hex());
        let path = self.path(&key)?;
        let kept = match (self.backend(), &received.spool) {
            (Backend::Directory(directory), Spool::Staged(file)) => directory.publish(file, &path).await?,
            (Backend::Bucket(bucket), Spool::Memory(bytes)) => bucket.put_once(&path, bytes.clone()).await?,
            (Backend::Bucket(bucket), Spool::Unlinked(file)) => {
                bucket.put_large_once(&path, file, received.size_bytes).await?
            }
            _ => return Err(Error::Config("what was received by one store is kept by another".to_owned())),
        };
        if kept == Kept::Known {
            let stored_bytes = self.object_store_head(&path).await?;
            if stored_bytes != received.size_bytes {
                return Err(Error::Differs { size_bytes: received.size_bytes, stored_bytes });
            }
        }
        Ok(kept)
    }

    /// Whether what was received is still in the store; see [`Blobs::keep`].
    ///
    /// # Errors
    /// As [`Blobs::keep`].
    pub async fn holds(&self, tenant: &str, received: &Received) -> Result<bool, Error> {
        let path = self.path(&key::content_key(tenant, &received.sha256_hex()))?;
        match self.object_store_head(&path).await {
            Ok(stored_bytes) if stored_bytes == received.size_bytes => Ok(true),
            Ok(stored_bytes) => Err(Error::Differs { size_bytes: received.size_bytes, stored_bytes }),
            Err(Error::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
