//! What a document is, from its bytes alone.

mod office;
mod text;

use office::Tail;
use text::TextProbe;

/// A type of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No bytes: neither a type nor a lie.
    Empty,
    Pdf,
    Png,
    Jpeg,
    Tiff,
    Gif,
    Bmp,
    Webp,
    Docx,
    Xlsx,
    Odt,
    Text,
    Csv,
    /// A type that is not accepted, by its MIME name.
    Other(&'static str),
}

impl Kind {
    pub fn mime(self) -> &'static str {
        match self {
            Self::Empty => "application/x-empty",
            Self::Pdf => "application/pdf",
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Tiff => "image/tiff",
            Self::Gif => "image/gif",
            Self::Bmp => "image/bmp",
            Self::Webp => "image/webp",
            Self::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Odt => "application/vnd.oasis.opendocument.text",
            Self::Text => "text/plain",
            Self::Csv => "text/csv",
            Self::Other(mime) => mime,
        }
    }

    pub fn is_accepted(self) -> bool {
        !matches!(self, Self::Other(_))
    }

    pub fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Csv)
    }
}

/// The result for a whole document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sniffed {
    pub kind: Kind,
    /// Other readers may see another type in the same bytes.
    pub is_ambiguous: bool,
}

/// Enough for every signature we look for, and for the lines that tell CSV from prose.
const HEAD_BYTES: usize = 8 * 1024;
/// Where readers of PDF still look for its beginning (ISO 32000-1, note on Annex H.3.4.1).
const PDF_HEAD_BYTES: usize = 1_024;
const PDF: &[u8] = b"%PDF-";
const UNKNOWN: Kind = Kind::Other("application/octet-stream");

/// Sees the bytes of a document in order. Holds its head and its tail.
#[derive(Default)]
pub struct Sniffer {
    head: Vec<u8>,
    tail: Tail,
    text: TextProbe,
}

impl Sniffer {
    pub fn observe(&mut self, chunk: &[u8]) {
        let missing = HEAD_BYTES.saturating_sub(self.head.len()).min(chunk.len());
        self.head.extend_from_slice(chunk.get(..missing).unwrap_or_default());
        self.tail.observe(chunk);
        self.text.observe(chunk);
    }

    /// After the last byte.
    pub fn finish(&self) -> Sniffed {
        let kind = self.kind();
        let early = self.head.get(..PDF_HEAD_BYTES.min(self.head.len())).unwrap_or_default();
        let also_pdf = kind != Kind::Pdf && early.windows(PDF.len()).any(|window| window == PDF);
        let also_zip = !starts_as_zip(&self.head) && self.tail.ends_as_zip();
        Sniffed { kind, is_ambiguous: also_pdf || also_zip }
    }

    fn kind(&self) -> Kind {
        let head = self.head.as_slice();
        if head.is_empty() {
            Kind::Empty
        } else if let Some(kind) = by_signature(head) {
            kind
        } else if starts_as_zip(head) {
            self.tail.office_kind(head).unwrap_or(Kind::Other("application/zip"))
        } else if self.text.is_text() {
            // Before the catalogue: it takes prose for programs ("MZ", "BM") by its first two letters.
            text::kind(head)
        } else {
            catalogued(head)
        }
    }
}

fn by_signature(head: &[u8]) -> Option<Kind> {
    Some(match head {
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Kind::Png,
        [0xff, 0xd8, 0xff, ..] => Kind::Jpeg,
        // A camera's raw picture is a TIFF only by its first four bytes.
        [b'I', b'I', 42, 0, _, _, _, _, b'C', b'R', ..] => Kind::Other("image/x-canon-cr2"),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Kind::Tiff,
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Kind::Gif,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Kind::Webp,
        // "BM" alone begins many a text: the reserved field is 0, and the second header's length is one of few.
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, _, _, _, _, 12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0, ..] => Kind::Bmp,
        _ if without_blank_start(head).starts_with(PDF) => Kind::Pdf,
        // Cut off within its first line: still nothing else.
        b"%PDF" => Kind::Pdf,
        _ => return None,
    })
}

/// Some scanners write a byte order mark or line ends before `%PDF-`.
fn without_blank_start(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start()
}

fn starts_as_zip(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06")
}

/// What it is, of the many things that we do not accept.
fn catalogued(head: &[u8]) -> Kind {
    match infer::get(head) {
        // The signatures above are stricter: what failed them is not one of these.
        Some(found)
            if ["image/bmp", "image/png", "image/jpeg", "image/tiff", "image/gif", "image/webp", "application/pdf"]
                .contains(&found.mime_type()) =>
        {
            UNKNOWN
        }
        Some(found) => Kind::Other(found.mime_type()),
        None => UNKNOWN,
    }
}

#[cfg(test)]
mod tests;
