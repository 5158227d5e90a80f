//! What a document is, from its bytes alone.

mod office;
mod text;
mod trace;

use office::Tail;
use text::TextProbe;
use trace::Trace;

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

    fn is_picture(self) -> bool {
        matches!(self, Self::Png | Self::Jpeg | Self::Tiff | Self::Gif | Self::Bmp | Self::Webp)
    }

    fn alone(self) -> Sniffed {
        Sniffed { kind: self, flaw: None }
    }
}

/// What is wrong with a document whatever its type and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Other readers may see another type, or other content, in the same bytes.
    Ambiguous,
    /// Nobody but its sender can read it.
    Encrypted,
    /// An office document with a program in it.
    Macros,
    /// An archive in an office document.
    ArchiveNested,
    /// An office document that unpacks to far more than it has.
    ArchiveBomb,
}

/// The result for a whole document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sniffed {
    pub kind: Kind,
    pub flaw: Option<Flaw>,
}

/// Enough for every signature we look for, and for the lines that tell CSV from prose.
const HEAD_BYTES: usize = 8 * 1024;
/// Where readers of PDF still look for its beginning (ISO 32000-1, note on Annex H.3.4.1).
const PDF_HEAD_BYTES: usize = 1_024;
const PDF: &[u8] = b"%PDF-";
/// The container of old Office documents, and of encrypted new ones.
const OLE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
const UNKNOWN: Kind = Kind::Other("application/octet-stream");

/// Sees the bytes of a document in order. Holds its head and its tail.
#[derive(Default)]
pub struct Sniffer {
    head: Vec<u8>,
    tail: Tail,
    text: TextProbe,
    trace: Trace,
    size_bytes: u64,
}

impl Sniffer {
    pub fn observe(&mut self, chunk: &[u8]) {
        let missing = HEAD_BYTES.saturating_sub(self.head.len()).min(chunk.len());
        self.head.extend_from_slice(chunk.get(..missing).unwrap_or_default());
        self.tail.observe(chunk);
        self.text.observe(chunk);
        self.trace.observe(chunk);
        self.size_bytes += chunk.len() as u64;
    }

    /// After the last byte.
    pub fn finish(&self) -> Sniffed {
        let Sniffed { kind, flaw } = self.kind();
        let flaw = if self.is_ambiguous(kind) { Some(Flaw::Ambiguous) } else { flaw };
        Sniffed { kind, flaw }
    }

    fn is_ambiguous(&self, kind: Kind) -> bool {
        let early = self.head.get(..PDF_HEAD_BYTES).unwrap_or(&self.head);
        let also_pdf = kind != Kind::Pdf && early.windows(PDF.len()).any(|window| window == PDF);
        let also_zip = !starts_as_zip(&self.head) && self.tail.ends_as_zip();
        let also_page = match kind {
            Kind::Pdf => text::names_markup(early) || self.trace.archive_behind_pdf,
            // A program that is written around a picture's first bytes: `GIF89a=1;…`, `GIF89a/*…`.
            Kind::Gif | Kind::Webp if self.text.is_text() => true,
            Kind::Gif if self.head.get(6..8) == Some(b"/*") => true,
            _ => kind.is_picture() && (self.trace.active || self.trace.archive || self.tail.holds_zip()),
        };
        also_pdf || also_zip || also_page
    }

    fn kind(&self) -> Sniffed {
        let head = self.head.as_slice();
        if head.is_empty() {
            Kind::Empty.alone()
        } else if let Some(kind) = by_signature(head) {
            kind.alone()
        } else if starts_as_zip(head) {
            self.tail.archive(head, self.size_bytes)
        } else if self.text.is_text() {
            // Before the catalogue: it takes prose for programs ("MZ", "BM") by its first two letters.
            text::kind(head).alone()
        } else if head.starts_with(OLE) && self.trace.encrypted_package {
            Sniffed { kind: Kind::Other("application/encrypted"), flaw: Some(Flaw::Encrypted) }
        } else {
            catalogued(head).alone()
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
