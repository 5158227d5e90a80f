use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// What must not stand in a picture: a web server or a browser that is misled runs it. ASCII, any case.
const ACTIVE: [&[u8]; 5] = [b"<?php", b"<script", b"<html", b"<!doctype html", b"<iframe"];
/// Archives that are found wherever they begin.
const ARCHIVES: [&[u8]; 2] = [b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c"];
/// The stream of an encrypted Office document, as an OLE directory names it (MS-OFFCRYPTO 2.3.4.4), UTF-16.
const ENCRYPTED: &[u8] = b"E\0n\0c\0r\0y\0p\0t\0e\0d\0P\0a\0c\0k\0a\0g\0e\0";
/// So short that it is believed only behind the end of a PDF, where nothing should be.
const ZIP: &[u8] = b"PK\x03\x04";
/// Ends a PDF, or one of its updates. What comes after an update begins with an object.
const PDF_END: &[u8] = b"%%EOF";
const PDF_OBJECT: &[u8] = b" obj";

#[derive(Clone, Copy)]
enum Mark {
    Active,
    Archive,
    Encrypted,
    Zip,
    PdfEnd,
    PdfObject,
}

/// Those that count by themselves have five bytes and more: in compressed data they stand by chance once in many gigabytes.
static PATTERNS: LazyLock<(Option<AhoCorasick>, Vec<Mark>)> = LazyLock::new(|| {
    let all = ACTIVE.map(|word| (word, Mark::Active)).into_iter().chain(ARCHIVES.map(|mark| (mark, Mark::Archive)));
    let all = all.chain([
        (ENCRYPTED, Mark::Encrypted),
        (ZIP, Mark::Zip),
        (PDF_END, Mark::PdfEnd),
        (PDF_OBJECT, Mark::PdfObject),
    ]);
    let (patterns, marks): (Vec<&[u8]>, Vec<Mark>) = all.unzip();
    (AhoCorasick::builder().ascii_case_insensitive(true).build(patterns).ok(), marks)
});
const LONGEST: usize = ENCRYPTED.len();

/// Looks for a few words in all bytes of a document. Holds the end of the last chunk, where one may begin.
#[derive(Default)]
pub struct Trace {
    carried: Vec<u8>,
    /// Of the document: behind the carried bytes.
    seen_bytes: u64,
    /// Marks that end before or here are known.
    known_to: u64,
    behind_pdf: bool,
    pub active: bool,
    pub archive: bool,
    pub encrypted_package: bool,
    /// An archive behind an end of a PDF, and no object between them.
    pub archive_behind_pdf: bool,
}

impl Trace {
    pub fn observe(&mut self, chunk: &[u8]) {
        let seam = [self.carried.as_slice(), chunk.get(..LONGEST).unwrap_or(chunk)].concat();
        self.search(&seam, self.seen_bytes - self.carried.len() as u64);
        if chunk.len() > LONGEST {
            self.search(chunk, self.seen_bytes);
        }
        // The seam of a small chunk holds all of it.
        let end = if chunk.len() < LONGEST { seam.as_slice() } else { chunk };
        self.carried = end.get(end.len().saturating_sub(LONGEST)..).unwrap_or_default().to_vec();
        self.seen_bytes += chunk.len() as u64;
    }

    /// `bytes` begin at `place` of the document. Each mark is met once, in the order of their ends.
    fn search(&mut self, bytes: &[u8], place: u64) {
        let (Some(patterns), marks) = &*PATTERNS else { return };
        for found in patterns.find_overlapping_iter(bytes) {
            if place + found.end() as u64 > self.known_to
                && let Some(mark) = marks.get(found.pattern().as_usize())
            {
                self.note(*mark);
            }
        }
        self.known_to = self.known_to.max(place + bytes.len() as u64);
    }

    fn note(&mut self, mark: Mark) {
        match mark {
            Mark::Active => self.active = true,
            Mark::Archive => {
                self.archive = true;
                self.archive_behind_pdf |= self.behind_pdf;
            }
            Mark::Encrypted => self.encrypted_package = true,
            Mark::Zip => self.archive_behind_pdf |= self.behind_pdf,
            Mark::PdfEnd => self.behind_pdf = true,
            Mark::PdfObject => self.behind_pdf = false,
        }
    }
}
