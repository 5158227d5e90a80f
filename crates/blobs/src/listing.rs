//! What lies in the store, for those who look for what nobody knows any more.

use std::time::SystemTime;

use futures::{Stream, StreamExt, TryStreamExt, future};
use object_store::path::Path;

use crate::{Blobs, Error, directory::INCOMING, region::MARK};

/// An object of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    pub size_bytes: u64,
    pub modified: SystemTime,
}

impl Blobs {
    /// Every object, in no order worth relying on; a page at a time is held.
    pub fn list(&self) -> impl Stream<Item = Result<Listed, Error>> + Send + '_ {
        let (prefix, root) = (self.root().clone(), self.root().parts().count());
        let prefix = (root > 0).then_some(prefix);
        self.object_store()
            .list(prefix.as_ref())
            .map_err(Error::from)
            .map_ok(move |object| Listed {
                key: object.location.parts().skip(root).collect::<Path>().to_string(),
                size_bytes: object.size,
                modified: object.last_modified.into(),
            })
            .try_filter(|listed| future::ready(listed.key != MARK && !listed.key.starts_with(INCOMING)))
            .boxed()
    }
}
