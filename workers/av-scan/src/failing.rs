//! What becomes of a try that has no verdict.

use docfleet_blobs::Error as BlobError;
use docfleet_pipeline::Failure;

use crate::{Error, reply::Surprise};

/// Why a message has no finding; a closed set.
pub(crate) mod reason {
    pub const BLOB_GONE: &str = "blob-gone";
    /// Not the key of a content of the event's own tenant, or not of the one that the event names.
    pub const BLOB_KEY_INVALID: &str = "blob-key-invalid";
    /// The store holds something else than what was uploaded.
    pub const BLOB_SIZE_DIFFERS: &str = "blob-size-differs";
    pub const BLOB_STORE_REFUSES: &str = "blob-store-refuses";
    pub const REGION_FOREIGN: &str = "region-foreign";
    pub const STORE_OF_OTHER_REGION: &str = "store-of-other-region";
    pub const BLOB_STORE_UNAVAILABLE: &str = "blob-store-unavailable";
    pub const ENGINE_UNAVAILABLE: &str = "engine-unavailable";
    /// Its signatures are older than `[clamd].database_age_max`: its "OK" does not count.
    pub const ENGINE_STALE: &str = "engine-stale";
    pub const ENGINE_BUSY: &str = "engine-busy";
    pub const ENGINE_BLIND: &str = "engine-blind";
    pub const ENGINE_BROKE_OFF: &str = "engine-broke-off";
    pub const ENGINE_SILENT: &str = "engine-silent";
    pub const ENGINE_ERROR: &str = "engine-error";
    pub const ENGINE_REPLY_GARBLED: &str = "engine-reply-garbled";
}

impl Error {
    /// A metric label; the reason of the failure that it becomes.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Content(BlobError::NotFound) => reason::BLOB_GONE,
            Self::Content(BlobError::Config(_)) => reason::BLOB_KEY_INVALID,
            Self::Content(BlobError::OtherRegion { .. }) => reason::REGION_FOREIGN,
            Self::Content(BlobError::StoreOfOtherRegion { .. }) => reason::STORE_OF_OTHER_REGION,
            Self::Content(BlobError::Refused(_)) => reason::BLOB_STORE_REFUSES,
            Self::Content(_) | Self::ContentStalled(_) => reason::BLOB_STORE_UNAVAILABLE,
            Self::SizeDiffers { .. } | Self::EndedEarly => reason::BLOB_SIZE_DIFFERS,
            Self::Away(_) => reason::ENGINE_UNAVAILABLE,
            Self::Blind(_) => reason::ENGINE_BLIND,
            Self::Stale(_) => reason::ENGINE_STALE,
            Self::Busy => reason::ENGINE_BUSY,
            Self::BrokeOff(_) => reason::ENGINE_BROKE_OFF,
            Self::Silent(_) => reason::ENGINE_SILENT,
            Self::Surprise(Surprise::EngineError(_)) => reason::ENGINE_ERROR,
            Self::Premature | Self::Surprise(_) => reason::ENGINE_REPLY_GARBLED,
        }
    }

    /// An engine that is away is away for all documents, and they wait. One that fails in the middle of a document may fail
    /// because of it: it gets its tries, and ends as a dead letter if it brings the engines down each time.
    pub fn classified(self) -> Failure {
        let reason = self.reason();
        match &self {
            Self::Content(BlobError::NotFound | BlobError::Config(_) | BlobError::OtherRegion { .. })
            | Self::SizeDiffers { .. } => Failure::poison(reason, self),
            Self::Content(BlobError::StoreOfOtherRegion { .. }) => Failure::fatal(reason, self),
            Self::EndedEarly => Failure::transient(reason, self),
            _ if self.is_in_the_middle() => Failure::transient(reason, self),
            _ => Failure::unavailable(reason, self),
        }
    }
}
