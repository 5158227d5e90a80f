use std::collections::HashSet;

use super::Kind;

/// A directory that lies farther from the document's end is not read: some 3,000 members.
const TAIL_BYTES_MAX: usize = 256 * 1024;
const END_OF_DIRECTORY: &[u8] = b"PK\x05\x06";
const END_OF_DIRECTORY_BYTES: usize = 22;
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
const DIRECTORY_ENTRY_BYTES: usize = 46;

/// The end of a document, where a ZIP has its directory. The names in it tell an office document from other archives;
/// nothing is unpacked.
#[derive(Default)]
pub struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    pub fn observe(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        if self.bytes.len() > 2 * TAIL_BYTES_MAX {
            self.bytes.drain(..self.bytes.len() - TAIL_BYTES_MAX);
        }
    }

    pub fn ends_as_zip(&self) -> bool {
        self.end_of_directory().is_some()
    }

    /// Of a document that begins as a ZIP with `head`.
    pub fn office_kind(&self, head: &[u8]) -> Option<Kind> {
        let names = self.names()?;
        let has = |name: &str| names.contains(name.as_bytes());
        let is_ooxml = has("[Content_Types].xml");
        let macros = names.iter().any(|name| name.ends_with(b"vbaProject.bin"));
        match () {
            // A program in the clothes of a document.
            () if is_ooxml && macros => Some(Kind::Other("application/vnd.ms-office.macro-enabled")),
            () if is_ooxml && has("word/document.xml") => Some(Kind::Docx),
            () if is_ooxml && has("xl/workbook.xml") => Some(Kind::Xlsx),
            () if has("mimetype") && has("content.xml") && opens_as_odt(head) => Some(Kind::Odt),
            () => None,
        }
    }

    /// None when the directory is not one we can read: ZIP64, several disks, cut off, too long.
    fn names(&self) -> Option<HashSet<&[u8]>> {
        let end = self.end_of_directory()?;
        let entries = number(&self.bytes, end + 10, 2)?;
        let mut directory = self.bytes.get(end.checked_sub(number(&self.bytes, end + 12, 4)?)?..end)?;
        let mut names = HashSet::new();
        for _ in 0..entries {
            if !directory.starts_with(DIRECTORY_ENTRY) {
                return None;
            }
            let length = |at| number(directory, at, 2);
            let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
            names.insert(directory.get(DIRECTORY_ENTRY_BYTES..DIRECTORY_ENTRY_BYTES + name)?);
            directory = directory.get(DIRECTORY_ENTRY_BYTES + name + extra + comment..)?;
        }
        directory.is_empty().then_some(names)
    }

    /// A directory is one only if its comment ends exactly with the document.
    fn end_of_directory(&self) -> Option<usize> {
        let last = self.bytes.len().checked_sub(END_OF_DIRECTORY_BYTES)?;
        (last.saturating_sub(usize::from(u16::MAX))..=last).rev().find(|&at| {
            self.bytes.get(at..at + 4) == Some(END_OF_DIRECTORY) && number(&self.bytes, at + 20, 2) == Some(last - at)
        })
    }
}

/// OpenDocument states its type in its first member, `mimetype`, stored as it is (OpenDocument 1.3, part 2, §3.3).
fn opens_as_odt(head: &[u8]) -> bool {
    const LOCAL_HEADER_BYTES: usize = 30;
    let Some(extra) = number(head, 28, 2) else { return false };
    let Some(name) = head.get(LOCAL_HEADER_BYTES..) else { return false };
    let stated = name.strip_prefix(b"mimetype").and_then(|rest| rest.get(extra..));
    // What follows is the next member or this one's data descriptor: a longer type, such as a template's, is another.
    stated
        .and_then(|stated| stated.strip_prefix(Kind::Odt.mime().as_bytes()))
        .is_some_and(|rest| rest.starts_with(b"PK"))
}

/// A little-endian number of `width` bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte)))
}
