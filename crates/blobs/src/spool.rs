//! Where an upload waits until its last byte is hashed and its name is known: never the memory of the process, but for
//! what is small.

use std::{fs::File, os::unix::fs::FileExt, path::PathBuf, sync::Arc};

use bytes::{Bytes, BytesMut};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;

use crate::Error;

/// Smaller uploads to a bucket see no disk. S3's smallest part, too.
pub(crate) const IN_MEMORY_BYTES_MAX: usize = 5 * 1024 * 1024;

/// A whole upload.
pub(crate) enum Spool {
    Memory(Bytes),
    /// Has no name: it ends with the process.
    Unlinked(Arc<File>),
    /// In the local store's own directory, so that it gets its final name without being copied.
    Staged(Arc<NamedTempFile>),
}

pub(crate) enum Filling {
    Memory(BytesMut, PathBuf),
    Unlinked(tokio::fs::File),
    Staged(tokio::fs::File, NamedTempFile),
}

impl Filling {
    /// For a bucket; what outgrows the memory goes into a file of `directory`.
    pub fn in_memory(directory: PathBuf) -> Self {
        Self::Memory(BytesMut::new(), directory)
    }

    pub fn staged(file: NamedTempFile) -> Result<Self, Error> {
        let handle = file.as_file().try_clone().map_err(Error::Spool)?;
        Ok(Self::Staged(tokio::fs::File::from_std(handle), file))
    }

    pub async fn push(&mut self, chunk: &[u8]) -> Result<(), Error> {
        match self {
            Self::Memory(bytes, _) if bytes.len() + chunk.len() <= IN_MEMORY_BYTES_MAX => {
                bytes.extend_from_slice(chunk);
                Ok(())
            }
            Self::Memory(bytes, directory) => {
                let mut file = unlinked(directory.clone()).await?;
                file.write_all(bytes).await.map_err(Error::Spool)?;
                file.write_all(chunk).await.map_err(Error::Spool)?;
                *self = Self::Unlinked(file);
                Ok(())
            }
            Self::Unlinked(file) | Self::Staged(file, _) => file.write_all(chunk).await.map_err(Error::Spool),
        }
    }

    pub async fn finish(self) -> Result<Spool, Error> {
        match self {
            Self::Memory(bytes, _) => Ok(Spool::Memory(bytes.freeze())),
            // Dropped without a flush, Tokio's file forgets its last write and that one's error.
            Self::Unlinked(mut file) => {
                file.flush().await.map_err(Error::Spool)?;
                Ok(Spool::Unlinked(Arc::new(file.into_std().await)))
            }
            Self::Staged(mut file, named) => {
                file.flush().await.map_err(Error::Spool)?;
                Ok(Spool::Staged(Arc::new(named)))
            }
        }
    }
}

async fn unlinked(directory: PathBuf) -> Result<tokio::fs::File, Error> {
    let file = blocking(move || tempfile::tempfile_in(directory)).await.map_err(Error::Spool)?;
    Ok(tokio::fs::File::from_std(file))
}

/// `len` bytes from `offset`.
pub(crate) async fn read_part(file: &Arc<File>, offset: u64, len: usize) -> Result<Bytes, Error> {
    let file = Arc::clone(file);
    let read = move || {
        let mut part = vec![0; len];
        file.read_exact_at(&mut part, offset).map(|()| part)
    };
    blocking(read).await.map(Bytes::from).map_err(Error::Spool)
}

/// Runs `work` where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    // It ends by itself, or the runtime ends.
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|ended| Err(std::io::Error::other(ended)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_is_small_sees_no_disk_and_what_is_large_is_not_held_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        let fill = async |bytes: usize| {
            let mut filling = Filling::in_memory(directory.path().to_owned());
            for piece in vec![7; bytes].chunks(100_000) {
                filling.push(piece).await.unwrap();
            }
            filling.finish().await.unwrap()
        };
        let Spool::Memory(small) = fill(IN_MEMORY_BYTES_MAX).await else { panic!("small is on disk") };
        assert_eq!(small.len(), IN_MEMORY_BYTES_MAX);
        let Spool::Unlinked(large) = fill(IN_MEMORY_BYTES_MAX + 1).await else { panic!("large is in memory") };
        assert_eq!(large.metadata().unwrap().len(), IN_MEMORY_BYTES_MAX as u64 + 1);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "it has no name");
        assert_eq!(read_part(&large, IN_MEMORY_BYTES_MAX as u64, 1).await.unwrap(), [7][..]);
        assert!(read_part(&large, IN_MEMORY_BYTES_MAX as u64, 2).await.is_err(), "beyond its end");
    }

    #[tokio::test]
    async fn a_spool_that_is_not_there_is_said_to_be_so() {
        let mut filling = Filling::in_memory("/nowhere/at/all".into());
        assert!(matches!(filling.push(&vec![0; IN_MEMORY_BYTES_MAX + 1]).await, Err(Error::Spool(_))));
    }
}
