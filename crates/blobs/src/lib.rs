//! Document bytes and extracted texts, in a local directory or an S3 bucket.

mod key;

use std::{ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream::BoxStream};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart, path::Path};
use serde::Deserialize;

pub use key::{content_hash, content_key, document_key, layout_key, mrz_key, searchable_key, text_key};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlobsConfig {
    /// `file:///absolute/directory` or `s3://bucket/prefix`. S3's endpoint and keys come from the usual `AWS_…`
    /// environment variables.
    pub url: String,
}

impl Default for BlobsConfig {
    fn default() -> Self {
        Self { url: "file:///var/lib/docfleet/blobs".to_owned() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no such blob")]
    NotFound,
    #[error("the blob is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    /// The sender of an upload stopped or broke off; nothing was stored.
    #[error("the upload broke off: {0}")]
    BrokenUpload(String),
    #[error("blob store: {0}")]
    Unavailable(#[source] object_store::Error),
    #[error("blob store configuration: {0}")]
    Config(String),
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound,
            other => Self::Unavailable(other),
        }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    root: Path,
}

/// An open blob: its size and its bytes, in order.
pub struct BlobReader {
    pub size_bytes: u64,
    pub bytes: BoxStream<'static, Result<Bytes, Error>>,
}

impl Blobs {
    /// Creates the local directory when it is missing; a bucket must exist.
    pub fn open_store(config: &BlobsConfig) -> Result<Self, Error> {
        let url = url::Url::parse(&config.url).map_err(|e| Error::Config(format!("{}: {e}", config.url)))?;
        if url.scheme() == "file" {
            let directory =
                url.to_file_path().map_err(|()| Error::Config(format!("{} is not an absolute path", config.url)))?;
            std::fs::create_dir_all(&directory).map_err(|e| Error::Config(format!("{}: {e}", directory.display())))?;
            // Who is told that a blob is stored goes on to commit a row that names it.
            let store = object_store::local::LocalFileSystem::new_with_prefix(directory)?.with_fsync(true);
            return Ok(Self { store: Arc::new(store), root: Path::default() });
        }
        let settings =
            std::env::vars().filter(|(name, _)| name.starts_with("AWS_")).map(|(k, v)| (k.to_lowercase(), v));
        let (store, root) = object_store::parse_url_opts(&url, settings)?;
        Ok(Self { store: Arc::from(store), root })
    }

    pub async fn open(&self, key: &str) -> Result<BlobReader, Error> {
        let found = self.store.get(&self.path(key)?).await?;
        let size_bytes = found.meta.size;
        Ok(BlobReader { size_bytes, bytes: found.into_stream().map(|chunk| chunk.map_err(Error::from)).boxed() })
    }

    /// The first bytes of a blob; fewer when it is shorter.
    pub async fn head(&self, key: &str, max_bytes: u64) -> Result<Bytes, Error> {
        let path = self.path(key)?;
        let size = self.store.head(&path).await?.size;
        if size == 0 {
            return Ok(Bytes::new());
        }
        let range: Range<u64> = 0..size.min(max_bytes);
        Ok(self.store.get_range(&path, range).await?)
    }

    pub async fn read_all(&self, key: &str, max_bytes: u64) -> Result<Bytes, Error> {
        let mut reader = self.open(key).await?;
        if reader.size_bytes > max_bytes {
            return Err(Error::TooLarge { limit_bytes: max_bytes });
        }
        let mut all = BytesMut::new();
        while let Some(chunk) = reader.bytes.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all.freeze())
    }

    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        self.store.put(&self.path(key)?, PutPayload::from_bytes(bytes)).await?;
        Ok(())
    }

    /// Stores a stream without holding it in memory; returns its size. On any error nothing is left under the key.
    pub async fn put_stream<S, E>(&self, key: &str, mut chunks: S, max_bytes: u64) -> Result<u64, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: std::fmt::Display,
    {
        let upload = self.store.put_multipart(&self.path(key)?).await?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, 5 * 1024 * 1024);
        let mut size = 0_u64;
        while let Some(chunk) = chunks.next().await {
            let taken = match chunk {
                Ok(chunk) if size + chunk.len() as u64 > max_bytes => Err(Error::TooLarge { limit_bytes: max_bytes }),
                Ok(chunk) => {
                    size += chunk.len() as u64;
                    // Bounds what waits for the store, whatever the speed of the sender.
                    let capacity = writer.wait_for_capacity(4).await;
                    capacity.map(|()| writer.put(chunk)).map_err(Error::from)
                }
                Err(error) => Err(Error::BrokenUpload(error.to_string())),
            };
            if let Err(problem) = taken {
                // What is left behind when this fails is no blob; the caller is to hear of the problem itself.
                writer.abort().await.ok();
                return Err(problem);
            }
        }
        writer.finish().await?;
        Ok(size)
    }

    /// Deleting what is not there is a success.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        match self.store.delete(&self.path(key)?).await.map_err(Error::from) {
            Err(Error::NotFound) => Ok(()),
            other => other,
        }
    }

    fn path(&self, key: &str) -> Result<Path, Error> {
        // A store that can not have such a name would say so in the same words as one that is away.
        if key.len() > key::BYTES_MAX || key.split('/').any(|segment| segment.len() > key::SEGMENT_BYTES_MAX) {
            return Err(Error::Config(format!("blob key: {} bytes, or one of its segments, are too many", key.len())));
        }
        // `parse` refuses `..`, empty segments and control bytes, so that a key can not leave the root.
        let key = Path::parse(key).map_err(|e| Error::Config(format!("blob key: {e}")))?;
        Ok(self.root.parts().chain(key.parts()).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn store() -> (tempfile::TempDir, Blobs) {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open_store(&BlobsConfig { url: format!("file://{}", directory.path().display()) }).unwrap();
        (directory, blobs)
    }

    fn chunks(list: &[&'static str]) -> impl Stream<Item = Result<Bytes, String>> + Unpin + Send + use<> {
        let list: Vec<_> = list
            .iter()
            .map(|c| if *c == "!" { Err("reset".to_owned()) } else { Ok(Bytes::from_static(c.as_bytes())) })
            .collect();
        futures::stream::iter(list)
    }

    #[tokio::test]
    async fn what_is_put_is_read_back() {
        let (_directory, blobs) = store();
        assert_eq!(blobs.put_stream("t/a", chunks(&["ab", "cd"]), 10).await.unwrap(), 4);
        assert_eq!(blobs.read_all("t/a", 10).await.unwrap(), "abcd");
        assert_eq!(blobs.head("t/a", 3).await.unwrap(), "abc");
        assert_eq!(blobs.put_stream("t/empty", chunks(&[]), 10).await.unwrap(), 0);
        assert_eq!(blobs.head("t/empty", 3).await.unwrap(), "");
        blobs.delete("t/a").await.unwrap();
        blobs.delete("t/a").await.unwrap();
        assert!(matches!(blobs.open("t/a").await, Err(Error::NotFound)));
    }

    #[tokio::test]
    async fn an_upload_that_is_too_large_or_breaks_off_leaves_nothing() {
        let (_directory, blobs) = store();
        assert!(matches!(blobs.put_stream("k", chunks(&["abc", "def"]), 5).await, Err(Error::TooLarge { .. })));
        assert!(matches!(blobs.put_stream("k", chunks(&["abc", "!"]), 50).await, Err(Error::BrokenUpload(_))));
        assert!(matches!(blobs.open("k").await, Err(Error::NotFound)));
    }

    #[tokio::test]
    async fn a_key_can_not_leave_the_root() {
        let (_directory, blobs) = store();
        for key in ["../x", "a/../../x", "a//b", "a/\u{0}b"] {
            assert!(blobs.put(key, Bytes::new()).await.is_err(), "{key}");
        }
    }

    #[tokio::test]
    async fn a_key_that_is_too_long_for_a_store_is_wrong_and_does_not_make_it_seem_away() {
        let (_directory, blobs) = store();
        let longest = format!("t/{}", "a".repeat(key::SEGMENT_BYTES_MAX));
        blobs.put(&longest, Bytes::new()).await.unwrap();
        blobs.put_stream(&longest, chunks(&["ab"]), 10).await.unwrap();
        for key in [format!("{longest}a"), format!("{longest}a/b"), "a/".repeat(600) + "b"] {
            assert!(matches!(blobs.open(&key).await, Err(Error::Config(_))), "{key}");
            assert!(matches!(blobs.put(&key, Bytes::new()).await, Err(Error::Config(_))), "{key}");
        }
    }
}
