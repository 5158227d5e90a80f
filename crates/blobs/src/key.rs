//! The keys, and their form.
//!
//! A key in an event is a claim: whoever opens it compares it with the one that follows from the event's own tenant,
//! document and hash first, else an event of one tenant could name the bytes of another.

use uuid::Uuid;

/// A file name has 255 bytes, and the local store adds its own to it while it writes.
pub(crate) const SEGMENT_BYTES_MAX: usize = 240;
/// S3's limit.
pub(crate) const BYTES_MAX: usize = 1_024;

/// The bytes as they were uploaded, once for each tenant: `{tenant}/contents/{sha256}`, the hash in lower-case hex.
///
/// The tenant is part of the key so that nobody learns from a store that another tenant has the same file.
pub fn content_key(tenant: &str, sha256_hex: &str) -> String {
    format!("{tenant}/contents/{sha256_hex}")
}

/// The hash that a content's key of this tenant names; none when it is no such key.
pub fn content_hash<'k>(tenant: &str, key: &'k str) -> Option<&'k str> {
    let hash = key.strip_prefix(tenant)?.strip_prefix("/contents/")?;
    let is_hex = hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then_some(hash)
}

/// A document's text, UTF-8 with a form feed between pages: `{tenant}/texts/{document_id}.txt`.
pub fn text_key(tenant: &str, document_id: Uuid) -> String {
    format!("{tenant}/texts/{document_id}.txt")
}

/// The layout of a document's pages, with the boxes of their words: `{tenant}/layouts/{document_id}.json`.
pub fn layout_key(tenant: &str, document_id: Uuid) -> String {
    format!("{tenant}/layouts/{document_id}.json")
}

/// A PDF of the document whose text can be searched and copied: `{tenant}/searchable/{document_id}.pdf`.
pub fn searchable_key(tenant: &str, document_id: Uuid) -> String {
    format!("{tenant}/searchable/{document_id}.pdf")
}

/// The encrypted fields of a document's machine-readable zone: `{tenant}/mrz/{document_id}`.
pub fn mrz_key(tenant: &str, document_id: Uuid) -> String {
    format!("{tenant}/mrz/{document_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_key_names_the_hash_of_its_own_tenant_only() {
        let key = content_key("acme", HASH);
        assert_eq!(key, format!("acme/contents/{HASH}"));
        assert_eq!(content_hash("acme", &key), Some(HASH));
        let upper = HASH.to_uppercase();
        for foreign in [
            content_key("acme2", HASH),
            content_key("acm", HASH),
            content_key("acme", &upper),
            content_key("acme", HASH.trim_end_matches('f')),
            format!("{key}0"),
            format!("{key}/x"),
            format!("acme/contents/../{HASH}"),
            format!("acme/texts/{HASH}"),
            String::new(),
        ] {
            assert_eq!(content_hash("acme", &foreign), None, "{foreign}");
        }
    }

    #[test]
    fn what_was_made_of_a_document_has_keys_of_its_own() {
        let id = Uuid::from_u128(0xA);
        assert_eq!(text_key("acme", id), "acme/texts/00000000-0000-0000-0000-00000000000a.txt");
        assert_eq!(layout_key("acme", id), "acme/layouts/00000000-0000-0000-0000-00000000000a.json");
        assert_eq!(searchable_key("acme", id), "acme/searchable/00000000-0000-0000-0000-00000000000a.pdf");
        assert_eq!(mrz_key("acme", id), "acme/mrz/00000000-0000-0000-0000-00000000000a");
    }
}
