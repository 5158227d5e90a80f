//! Texts for the search. No event carries one: they are read from their blobs, live and when the view is built anew.

use docfleet_blobs::{Blobs, Error, text_key};
use docfleet_events::{DocumentEvent, EventMeta};

/// What stands behind it is not found by searching: some 80 full pages.
pub const SEARCHED_BYTES_MAX: u64 = 256 * 1024;

/// The beginning of the text that an event tells of. None when it tells of none, of one that is erased by now, of one that is
/// not its own document's, or that lies in another region.
///
/// # Errors
/// The blob store's.
pub async fn of(blobs: &Blobs, meta: &EventMeta, event: &DocumentEvent) -> Result<Option<String>, Error> {
    let DocumentEvent::TextExtracted(read) = event else { return Ok(None) };
    let Some(text) = &read.text else { return Ok(None) };
    if text.key != text_key(&meta.tenant, read.document_id) || blobs.admits(&meta.region).is_err() {
        return Ok(None);
    }
    match blobs.head(&text.key, SEARCHED_BYTES_MAX).await {
        Ok(bytes) => Ok(Some(whole_characters(&bytes))),
        Err(Error::NotFound) => Ok(None),
        Err(other) => Err(other),
    }
}

/// The last character may be cut in the middle.
fn whole_characters(bytes: &[u8]) -> String {
    let end = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    };
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_cut_ends_with_a_whole_character() {
        assert_eq!(whole_characters("Grüße".as_bytes()), "Grüße");
        assert_eq!(whole_characters(&"Grü".as_bytes()[..3]), "Gr");
        assert_eq!(whole_characters(b"Gr\xFFe"), "Gr\u{FFFD}e");
    }
}
