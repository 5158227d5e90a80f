//! A store knows whose it is: the first write leaves the region's name in it, and every process compares.
//!
//! A residency file that names the wrong bucket, or a volume mounted in the wrong place, is found by that before a byte of
//! a document is written or read there.

use object_store::{PutMode, PutPayload, path::Path};

use crate::{Blobs, Error};

/// Beside the tenants' folders; no tenant can have this name.
pub(crate) const MARK: &str = ".docfleet-region";

impl Blobs {
    /// Compares the store's region with ours, once for each process. A store without a mark has no bytes of ours yet: a
    /// write marks it, a read finds nothing anyway.
    ///
    /// # Errors
    /// [`Error::StoreOfOtherRegion`]; [`Error::Unavailable`] when the store does not say.
    pub(crate) async fn compare_region(&self, writes: bool) -> Result<(), Error> {
        if self.is_compared() {
            return Ok(());
        }
        match self.mark().await? {
            Some(mark) => self.compare(mark),
            None if !writes => Ok(()),
            None => {
                let ours = PutPayload::from(self.region().as_bytes().to_vec());
                match self.object_store().put_opts(&self.mark_path(), ours, PutMode::Create.into()).await {
                    Ok(_) => self.compare(self.region().to_owned()),
                    // Somebody else's first write; or ours, whose answer was lost.
                    Err(object_store::Error::AlreadyExists { .. }) => match self.mark().await? {
                        Some(mark) => self.compare(mark),
                        None => Err(Error::Unavailable("the region's mark comes and goes".to_owned())),
                    },
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    async fn mark(&self) -> Result<Option<String>, Error> {
        match self.object_store().get_opts(&self.mark_path(), object_store::GetOptions::default()).await {
            Ok(found) => Ok(Some(String::from_utf8_lossy(&found.bytes().await?).into_owned())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn compare(&self, theirs: String) -> Result<(), Error> {
        if theirs != self.region() {
            return Err(Error::StoreOfOtherRegion { ours: self.region().to_owned(), theirs });
        }
        self.set_compared();
        Ok(())
    }

    fn mark_path(&self) -> Path {
        self.root().clone().join(MARK)
    }
}
