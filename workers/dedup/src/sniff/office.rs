use std::collections::HashSet;

use super::{Flaw, Kind, Sniffed};

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

    /// An archive near the end, also one with something behind it: most readers of archives look for it.
    pub fn holds_zip(&self) -> bool {
        let last = self.bytes.len().saturating_sub(END_OF_DIRECTORY_BYTES);
        let from = last.saturating_sub(usize::from(u16::MAX));
        (from..=last).any(|at| {
            self.bytes.get(at..at + 4) == Some(END_OF_DIRECTORY)
                && number(&self.bytes, at + 12, 4)
                    .and_then(|size| self.bytes.get(at.checked_sub(size)?..))
                    .is_some_and(|directory| directory.starts_with(DIRECTORY_ENTRY))
        })
    }

    /// Of a document that begins as a ZIP with `head` and has `size_bytes`.
    pub fn archive(&self, head: &[u8], size_bytes: u64) -> Sniffed {
        let Some(members) = self.members() else { return Kind::Other(ZIP).alone() };
        let names: HashSet<&[u8]> = members.iter().map(|member| member.name).collect();
        let kind = office_kind(&names, head);
        let flaw = if names.len() < members.len() {
            // Of two members with one name each reader takes another.
            Some(Flaw::Ambiguous)
        } else if members.iter().any(|member| member.is_encrypted) {
            Some(Flaw::Encrypted)
        } else if kind == Kind::Other(ZIP) {
            // Another archive; it is not accepted whatever is in it.
            None
        } else if names.iter().any(|name| is_macro(name)) {
            Some(Flaw::Macros)
        } else if names.iter().any(|name| NESTED.iter().any(|end| ends_with(name, end))) {
            Some(Flaw::ArchiveNested)
        } else {
            is_bomb(&members, size_bytes).then_some(Flaw::ArchiveBomb)
        };
        let kind = if flaw == Some(Flaw::Macros) { Kind::Other(MACROS) } else { kind };
        Sniffed { kind, flaw }
    }

    /// None when the directory is not one we can read: ZIP64, several disks, cut off, too long.
    fn members(&self) -> Option<Vec<Member<'_>>> {
        let end = self.end_of_directory()?;
        let entries = number(&self.bytes, end + 10, 2)?;
        let mut directory = self.bytes.get(end.checked_sub(number(&self.bytes, end + 12, 4)?)?..end)?;
        let mut members = Vec::new();
        for _ in 0..entries {
            if !directory.starts_with(DIRECTORY_ENTRY) {
                return None;
            }
            let field = |at, width| number(directory, at, width);
            let (name, extra, comment) = (field(28, 2)?, field(30, 2)?, field(32, 2)?);
            members.push(Member {
                name: directory.get(DIRECTORY_ENTRY_BYTES..DIRECTORY_ENTRY_BYTES + name)?,
                is_encrypted: field(8, 2)? & 1 != 0,
                packed_bytes: field(20, 4)? as u64,
                bytes: field(24, 4)? as u64,
            });
            directory = directory.get(DIRECTORY_ENTRY_BYTES + name + extra + comment..)?;
        }
        directory.is_empty().then_some(members)
    }

    /// A directory is one only if its comment ends exactly with the document.
    fn end_of_directory(&self) -> Option<usize> {
        let last = self.bytes.len().checked_sub(END_OF_DIRECTORY_BYTES)?;
        (last.saturating_sub(usize::from(u16::MAX))..=last).rev().find(|&at| {
            self.bytes.get(at..at + 4) == Some(END_OF_DIRECTORY) && number(&self.bytes, at + 20, 2) == Some(last - at)
        })
    }
}

struct Member<'d> {
    name: &'d [u8],
    is_encrypted: bool,
    packed_bytes: u64,
    /// As the directory says. Who unpacks it counts for himself.
    bytes: u64,
}

const ZIP: &str = "application/zip";
const MACROS: &str = "application/vnd.ms-office.macro-enabled";
/// Archives within a document: of no use to a reader, and nobody looks into them.
const NESTED: [&str; 14] =
    [".zip", ".jar", ".7z", ".rar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".tar", ".cab", ".iso", ".lzh", ".ace"];
/// Unpacked. A report of a thousand pages has some 20 MB.
const UNPACKED_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Above this a ratio is looked at: a short document of many blanks has a high one.
const UNPACKED_BYTES_FREE: u64 = 32 * 1024 * 1024;
/// XML packs to a tenth, tables of one value to a hundredth.
const RATIO_MAX: u64 = 200;

fn office_kind(names: &HashSet<&[u8]>, head: &[u8]) -> Kind {
    let has = |name: &str| names.contains(name.as_bytes());
    let is_ooxml = has("[Content_Types].xml");
    match () {
        () if is_ooxml && has("word/document.xml") => Kind::Docx,
        () if is_ooxml && has("xl/workbook.xml") => Kind::Xlsx,
        () if is_ooxml && names.iter().any(|name| is_macro(name)) => Kind::Other(MACROS),
        () if has("mimetype") && has("content.xml") && opens_as_odt(head) => Kind::Odt,
        () => Kind::Other(ZIP),
    }
}

/// A program in the clothes of a document: VBA, Excel 4 macro sheets and ActiveX controls, Basic and scripts of LibreOffice.
fn is_macro(name: &[u8]) -> bool {
    let begins = |with: &str| name.get(..with.len()).is_some_and(|n| n.eq_ignore_ascii_case(with.as_bytes()));
    ends_with(name, "vbaproject.bin")
        || ends_with(name, "vbadata.xml")
        || ["xl/macrosheets/", "word/activex/", "xl/activex/", "basic/", "scripts/"].iter().any(|with| begins(with))
}

fn ends_with(name: &[u8], end: &str) -> bool {
    let at = name.len().checked_sub(end.len());
    at.and_then(|at| name.get(at..)).is_some_and(|tail| tail.eq_ignore_ascii_case(end.as_bytes()))
}

/// Unpacks to far more than it has, or has members that lie over each other: 42 kB become petabytes that way.
fn is_bomb(members: &[Member<'_>], size_bytes: u64) -> bool {
    let sum = |of: fn(&Member<'_>) -> u64| members.iter().map(of).fold(0_u64, u64::saturating_add);
    let (packed, unpacked) = (sum(|m| m.packed_bytes), sum(|m| m.bytes));
    packed > size_bytes
        || unpacked > UNPACKED_BYTES_MAX
        || (unpacked > UNPACKED_BYTES_FREE && unpacked / size_bytes.max(1) > RATIO_MAX)
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
