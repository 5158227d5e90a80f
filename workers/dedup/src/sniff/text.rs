use super::Kind;

/// Whether all bytes so far may be text in an encoding over ASCII (UTF-8, Windows-1252, …).
#[derive(Default)]
pub struct TextProbe {
    has_binary: bool,
}

impl TextProbe {
    pub fn observe(&mut self, chunk: &[u8]) {
        // Tab, line feed, form feed (page breaks of a text) and carriage return are the only controls of a text.
        let is_binary = |byte: &u8| matches!(byte, 0..=8 | 11 | 14..=31 | 127);
        self.has_binary = self.has_binary || chunk.iter().any(is_binary);
    }

    pub fn is_text(&self) -> bool {
        !self.has_binary
    }
}

/// Texts that are programs to somebody, by how they begin; lower case.
const ACTIVE: [(&str, &str); 20] = [
    ("#!", "text/x-shellscript"),
    ("<?php", "text/x-php"),
    ("<?xml", "text/xml"),
    ("<!doctype", "text/html"),
    ("<html", "text/html"),
    ("<head", "text/html"),
    ("<body", "text/html"),
    ("<script", "text/html"),
    ("<iframe", "text/html"),
    ("<style", "text/html"),
    ("<title", "text/html"),
    ("<table", "text/html"),
    ("<div", "text/html"),
    ("<!--", "text/html"),
    ("<svg", "image/svg+xml"),
    ("%!ps", "application/postscript"),
    ("{\\rtf", "application/rtf"),
    ("@echo off", "application/x-bat"),
    ("mime-version:", "message/rfc822"),
    ("begin:vcard", "text/vcard"),
];

/// The kind of a text, from its first bytes.
pub fn kind(head: &[u8]) -> Kind {
    let start = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |with: &str| start.get(..with.len()).is_some_and(|s| s.eq_ignore_ascii_case(with.as_bytes()));
    if let Some((_, mime)) = ACTIVE.iter().find(|(with, _)| begins(with)) {
        return Kind::Other(mime);
    }
    if looks_like_csv(start) { Kind::Csv } else { Kind::Text }
}

/// The same separator, equally often and at least once, in each of the first lines.
///
/// A guess by nature: nothing is refused for it, since a CSV is a text and most texts could be a CSV.
fn looks_like_csv(head: &[u8]) -> bool {
    const LINES: usize = 10;
    // The last piece may be cut off by the end of the head.
    let Some(cut) = head.iter().rposition(|byte| *byte == b'\n') else { return false };
    let lines = head.get(..cut).unwrap_or_default().split(|byte| *byte == b'\n').take(LINES);
    let lines: Vec<&[u8]> = lines.filter(|line| !line.trim_ascii().is_empty()).collect();
    lines.len() >= 2
        && b",;\t|".iter().any(|separator| {
            let mut counts = lines.iter().map(|line| separators(line, *separator));
            counts.next().is_some_and(|first| first > 0 && counts.all(|count| count == first))
        })
}

/// Outside of quotes.
fn separators(line: &[u8], separator: u8) -> usize {
    let mut quoted = false;
    let outside = line.iter().filter(|byte| {
        quoted ^= **byte == b'"';
        !quoted && **byte == separator
    });
    outside.count()
}
