use std::borrow::Cow;

use super::Kind;

/// Whether all bytes so far may be text: in an encoding over ASCII (UTF-8, Windows-1252, …), or in UTF-16 with its mark.
#[derive(Default)]
pub struct TextProbe {
    has_binary: bool,
    /// The first two bytes.
    mark: Vec<u8>,
    /// Half a character of UTF-16, and how many bytes came before it.
    half: Option<u8>,
}

impl TextProbe {
    pub fn observe(&mut self, chunk: &[u8]) {
        if self.has_binary {
            return;
        }
        let missing = chunk.len().min(2 - self.mark.len().min(2));
        self.mark.extend_from_slice(chunk.get(..missing).unwrap_or_default());
        self.has_binary = match utf16_unit(&self.mark) {
            // The mark itself holds no control.
            Some(unit) => chunk.iter().any(|byte| match self.half.take() {
                None => {
                    self.half = Some(*byte);
                    false
                }
                Some(first) => is_control(unit([first, *byte])),
            }),
            None => {
                // A mark that is cut in two is looked at when it is whole.
                self.half = if self.mark.len() == 1 { self.mark.first().copied() } else { None };
                chunk.iter().any(|byte| is_control((*byte).into()))
            }
        };
    }

    pub fn is_text(&self) -> bool {
        !self.has_binary
    }
}

/// Tab, line feed, form feed (page breaks of a text) and carriage return are the only controls of a text.
fn is_control(character: u16) -> bool {
    matches!(character, 0..=8 | 11 | 14..=31 | 127)
}

fn utf16_unit(bytes: &[u8]) -> Option<fn([u8; 2]) -> u16> {
    match bytes {
        [0xff, 0xfe, ..] => Some(u16::from_le_bytes),
        [0xfe, 0xff, ..] => Some(u16::from_be_bytes),
        _ => None,
    }
}

/// Of UTF-16 what is ASCII, for the words below.
fn as_ascii(head: &[u8]) -> Cow<'_, [u8]> {
    let Some(unit) = utf16_unit(head) else { return head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).into() };
    let units = head.as_chunks::<2>().0.iter().skip(1).map(|pair| u8::try_from(unit(*pair)).unwrap_or(b'?'));
    units.collect()
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
    let ascii = as_ascii(head);
    let start = ascii.trim_ascii_start();
    let begins = |with: &str| start.get(..with.len()).is_some_and(|s| s.eq_ignore_ascii_case(with.as_bytes()));
    if let Some((_, mime)) = ACTIVE.iter().find(|(with, _)| begins(with)) {
        return Kind::Other(mime);
    }
    if looks_like_csv(start) { Kind::Csv } else { Kind::Text }
}

/// Whether a browser that guesses could take the first bytes for a page.
pub fn names_markup(head: &[u8]) -> bool {
    const MARKUP: [&[u8]; 4] = [b"<html", b"<script", b"<!doctype html", b"<?php"];
    MARKUP.iter().any(|word| head.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word)))
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
