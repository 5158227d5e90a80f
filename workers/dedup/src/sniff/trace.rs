use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// What must not stand in a picture: a web server or a browser that is misled runs it. ASCII, any case.
const ACTIVE: [&[u8]; 5] = [b"<?php", b"<script", b"<html", b"<!doctype html", b"<iframe"];
/// Archives that are found wherever they begin.
const ARCHIVES: [&[u8]; 2] = [b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c"];
/// The stream of an encrypted Office document, as an OLE directory names it (MS-OFFCRYPTO 2.3.4.4), UTF-16.
const ENCRYPTED: &[u8] = b"E\0n\0c\0r\0y\0p\0t\0e\0d\0P\0a\0c\0k\0a\0g\0e\0";

/// Five bytes and more: in compressed data they stand by chance once in many gigabytes.
static PATTERNS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let patterns = ACTIVE.iter().chain(&ARCHIVES).copied().chain([ENCRYPTED]);
    AhoCorasick::builder().ascii_case_insensitive(true).build(patterns).ok()
});
const LONGEST: usize = ENCRYPTED.len();

/// Looks for a few words in all bytes of a document. Holds the end of the last chunk, where one may begin.
#[derive(Default)]
pub struct Trace {
    carried: Vec<u8>,
    pub active: bool,
    pub archive: bool,
    pub encrypted_package: bool,
}

impl Trace {
    pub fn observe(&mut self, chunk: &[u8]) {
        let seam = [self.carried.as_slice(), chunk.get(..LONGEST).unwrap_or(chunk)].concat();
        self.search(&seam);
        if chunk.len() > LONGEST {
            self.search(chunk);
        }
        // The seam of a small chunk holds all of it.
        let end = if chunk.len() < LONGEST { seam.as_slice() } else { chunk };
        self.carried = end.get(end.len().saturating_sub(LONGEST)..).unwrap_or_default().to_vec();
    }

    fn search(&mut self, bytes: &[u8]) {
        let Some(patterns) = PATTERNS.as_ref() else { return };
        for found in patterns.find_overlapping_iter(bytes) {
            match found.pattern().as_usize() {
                n if n < ACTIVE.len() => self.active = true,
                n if n < ACTIVE.len() + ARCHIVES.len() => self.archive = true,
                _ => self.encrypted_package = true,
            }
        }
    }
}
