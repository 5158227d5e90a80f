//! The keys, and their form.

use uuid::Uuid;

/// A file name has 255 bytes, and the local store adds its own to it while it writes.
pub(crate) const SEGMENT_BYTES_MAX: usize = 240;
/// S3's limit.
pub(crate) const BYTES_MAX: usize = 1_024;

/// The bytes of a document as they were uploaded: `{tenant}/documents/{document_id}`.
///
/// A key in an event is a claim: whoever opens it compares it with this one first, else an event of one tenant could name
/// the document of another.
pub fn document_key(tenant: &str, document_id: Uuid) -> String {
    format!("{tenant}/documents/{document_id}")
}

/// A document's text, UTF-8 with a form feed between pages: `{tenant}/texts/{document_id}.txt`.
pub fn text_key(tenant: &str, document_id: Uuid) -> String {
    format!("{tenant}/texts/{document_id}.txt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_document_of_each_tenant_has_keys_of_its_own() {
        let id = Uuid::from_u128(0xA);
        assert_eq!(document_key("acme", id), "acme/documents/00000000-0000-0000-0000-00000000000a");
        assert_eq!(text_key("acme", id), "acme/texts/00000000-0000-0000-0000-00000000000a.txt");
    }
}
