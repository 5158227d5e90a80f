use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream::BoxStream};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart, path::Path};

use crate::{
    BlobsConfig, Error,
    bucket::{Bucket, PART_BYTES, PARTS_AT_ONCE},
    directory::Directory,
    key,
    residency::Residency,
    spool::Filling,
};

/// The store of the one region that this process serves. Cheap to clone.
#[derive(Clone)]
pub struct Blobs(Arc<Inner>);

struct Inner {
    backend: Backend,
    root: Path,
    region: String,
    /// See `region.rs`.
    compared: AtomicBool,
    residency: Residency,
}

pub(crate) enum Backend {
    Directory(Directory),
    Bucket(Bucket),
}

/// An open blob: its size and its bytes, in order.
pub struct BlobReader {
    pub size_bytes: u64,
    pub bytes: BoxStream<'static, Result<Bytes, Error>>,
}

impl Blobs {
    /// Opens the store of `region`, the process's own: `[service].region`. Creates the local directory when it is missing;
    /// a bucket must exist. Asks no service yet.
    ///
    /// # Errors
    /// [`Error::Config`]: the process should end.
    pub fn open_store(config: &BlobsConfig, region: &str) -> Result<Self, Error> {
        let mut residency = match &config.residency_file {
            Some(file) => Residency::read(file)?,
            None => Residency::default(),
        };
        let own = match &config.residency_file {
            None => config.clone(),
            // Of the other regions nothing stays, not even the place of their keys.
            Some(file) => std::mem::take(&mut residency.regions)
                .remove(region)
                .ok_or_else(|| Error::Config(format!("{} has no store for the region {region}", file.display())))?,
        };
        let url = url::Url::parse(&own.url).map_err(|e| Error::Config(format!("{}: {e}", own.url)))?;
        let (backend, root) = match url.scheme() {
            "file" => {
                let directory =
                    url.to_file_path().map_err(|()| Error::Config(format!("{url} is not an absolute path")))?;
                (Backend::Directory(Directory::open(&directory)?), Path::default())
            }
            "s3" => {
                let root = Path::from_url_path(url.path()).map_err(|e| Error::Config(format!("{url}: {e}")))?;
                (Backend::Bucket(Bucket::open(&own, &url)?), root)
            }
            _ => return Err(Error::Config(format!("{url} must begin with file:// or s3://"))),
        };
        let compared = AtomicBool::new(false);
        Ok(Self(Arc::new(Inner { backend, root, region: region.to_owned(), compared, residency })))
    }

    /// Where all that is read and written here lies.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// To be asked before a document's bytes are touched: whether they belong here.
    ///
    /// # Errors
    /// [`Error::OtherRegion`].
    pub fn admits(&self, region: &str) -> Result<(), Error> {
        if region == self.region() {
            return Ok(());
        }
        Err(Error::OtherRegion { ours: self.region().to_owned(), theirs: region.to_owned() })
    }

    /// Whether new documents of the tenant may be taken in here.
    ///
    /// # Errors
    /// [`Error::OtherRegion`] when the residency file gives the tenant another region.
    pub fn admits_tenant(&self, tenant: &str) -> Result<(), Error> {
        self.0.residency.tenants.get(tenant).map_or(Ok(()), |region| self.admits(region))
    }

    /// Asks the store whose it is, before the first document does.
    ///
    /// # Errors
    /// [`Error::StoreOfOtherRegion`]: the process should end. Others pass.
    pub async fn probe(&self) -> Result<(), Error> {
        self.compare_region(false).await
    }

    pub async fn open(&self, key: &str) -> Result<BlobReader, Error> {
        self.compare_region(false).await?;
        let found = self.object_store().get_opts(&self.path(key)?, object_store::GetOptions::default()).await?;
        let size_bytes = found.meta.size;
        Ok(BlobReader { size_bytes, bytes: found.into_stream().map(|chunk| chunk.map_err(Error::from)).boxed() })
    }

    /// How many bytes a blob has.
    pub async fn size(&self, key: &str) -> Result<u64, Error> {
        self.compare_region(false).await?;
        self.object_store_head(&self.path(key)?).await
    }

    /// The first bytes of a blob; fewer when it is shorter.
    pub async fn head(&self, key: &str, max_bytes: u64) -> Result<Bytes, Error> {
        let (size, path) = (self.size(key).await?, self.path(key)?);
        if size == 0 {
            return Ok(Bytes::new());
        }
        let range: Range<u64> = 0..size.min(max_bytes);
        Ok(self.object_store().get_range(&path, range).await?)
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

    /// For what is made of a document; replaces what is there. Contents are kept by [`Blobs::keep`].
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        self.compare_region(true).await?;
        let path = self.path(key)?;
        if bytes.len() <= PART_BYTES {
            self.object_store().put_opts(&path, PutPayload::from_bytes(bytes), Default::default()).await?;
            return Ok(());
        }
        let upload = self.object_store().put_multipart_opts(&path, Default::default()).await?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        for part in (0..bytes.len()).step_by(PART_BYTES) {
            if let Err(error) = writer.wait_for_capacity(PARTS_AT_ONCE).await {
                // What is left behind when this fails is no blob; the caller is to hear of the problem itself.
                writer.abort().await.ok();
                return Err(error.into());
            }
            writer.put(bytes.slice(part..bytes.len().min(part + PART_BYTES)));
        }
        writer.finish().await?;
        Ok(())
    }

    /// Deleting what is not there is a success.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.compare_region(true).await?;
        match self.object_store().delete(&self.path(key)?).await.map_err(Error::from) {
            Err(Error::NotFound) => Ok(()),
            other => other,
        }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.0.backend
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0.root
    }

    pub(crate) fn object_store(&self) -> &dyn ObjectStore {
        match &self.0.backend {
            Backend::Directory(directory) => &directory.store,
            Backend::Bucket(bucket) => &bucket.store,
        }
    }

    pub(crate) async fn object_store_head(&self, path: &Path) -> Result<u64, Error> {
        Ok(self.object_store().head(path).await?.size)
    }

    pub(crate) async fn filling(&self) -> Result<Filling, Error> {
        match &self.0.backend {
            Backend::Directory(directory) => Filling::staged(directory.stage().await?),
            Backend::Bucket(bucket) => Ok(Filling::in_memory(bucket.spool_directory.clone())),
        }
    }

    pub(crate) fn is_compared(&self) -> bool {
        self.0.compared.load(Ordering::Acquire)
    }

    pub(crate) fn set_compared(&self) {
        self.0.compared.store(true, Ordering::Release);
    }

    pub(crate) fn path(&self, key: &str) -> Result<Path, Error> {
        // A store that can not have such a name would say so in the same words as one that is away.
        if key.len() > key::BYTES_MAX || key.split('/').any(|segment| segment.len() > key::SEGMENT_BYTES_MAX) {
            return Err(Error::Config(format!("blob key: {} bytes, or one of its segments, are too many", key.len())));
        }
        // `parse` refuses `..`, empty segments and control bytes, so that a key can not leave the root.
        let key = Path::parse(key).map_err(|e| Error::Config(format!("blob key: {e}")))?;
        Ok(self.0.root.parts().chain(key.parts()).collect())
    }
}

#[cfg(test)]
mod tests;
