//! What is kept of a document that was read, each under the key that follows from its tenant and id.

use bytes::Bytes;
use docfleet_blobs::{Blobs, layout_key, mrz_key, searchable_key, text_key};
use docfleet_events::BlobRef;
use docfleet_pipeline::{Classify, Outcome};
use docfleet_seal::{Keys, Owner};
use serde::Serialize;
use uuid::Uuid;

use crate::{handler::of_blobs, layout::DocumentLayout, reading::Reading, zone::PageZone};

/// A document's place in the store.
pub struct Shelf<'s> {
    pub blobs: &'s Blobs,
    pub tenant: &'s str,
    pub document_id: Uuid,
}

/// What a sealed blob says.
#[derive(Serialize)]
struct SealedZones<'z> {
    zones: &'z [PageZone],
}

impl Shelf<'_> {
    pub async fn text(&self, reading: &Reading) -> Outcome<BlobRef> {
        self.put(text_key(self.tenant, self.document_id), reading.text().into_bytes()).await
    }

    /// None when no word's place is known.
    pub async fn layout(&self, reading: &Reading) -> Outcome<Option<BlobRef>> {
        let pages: Vec<_> = reading.layouts().cloned().collect();
        if pages.is_empty() {
            return Ok(None);
        }
        let json =
            serde_json::to_vec(&DocumentLayout { engine: reading.engine(), pages }).poison("layout-unwritable")?;
        self.put(layout_key(self.tenant, self.document_id), json).await.map(Some)
    }

    pub async fn searchable(&self, pdf: Bytes) -> Outcome<BlobRef> {
        self.put(searchable_key(self.tenant, self.document_id), pdf).await
    }

    /// The fields, encrypted. Nobody is told where they lie: the key of the blob follows from the document's.
    pub async fn zones(&self, zones: &[PageZone], keys: &Keys) -> Outcome<()> {
        let json = serde_json::to_vec(&SealedZones { zones }).poison("zones-unwritable")?;
        let document_id = self.document_id.to_string();
        let owner = Owner { purpose: "mrz", tenant: self.tenant, document_id: &document_id };
        let sealed = keys.seal(owner, &json).transient("zones-unsealed")?;
        self.put(mrz_key(self.tenant, self.document_id), sealed).await.map(drop)
    }

    async fn put(&self, key: String, bytes: impl Into<Bytes>) -> Outcome<BlobRef> {
        let bytes = bytes.into();
        let size_bytes = i64::try_from(bytes.len()).poison("text-too-large")?;
        self.blobs.put(&key, bytes).await.map_err(of_blobs)?;
        Ok(BlobRef { key, size_bytes })
    }
}
