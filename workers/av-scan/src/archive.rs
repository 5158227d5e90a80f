//! Archives of which clamd's "OK" proves nothing.
//!
//! clamd (1.4.6, with `AlertExceedsMax yes`) says `OK` over a ZIP member that is larger than its `MaxFileSize`, and over
//! one whose local header gives its size in ZIP64 only; the test file in either comes back clean. So each ZIP that passes
//! by is checked against its own directory: what could hide there makes the document unscannable.
//!
//! Nothing is unpacked here, which is the limit of this check: a directory that lies plausibly about a member's size, and
//! an archive packed into another under an innocent name, pass. Such archives are no accepted type (see dedup), but
//! office documents are archives too.

use crate::reply::Unscannable;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub member_bytes_max: u64,
    pub total_bytes_max: u64,
}

/// Of the document's end: the directory must lie within it. Some 3,000 members.
const TAIL_BYTES_MAX: usize = 256 * 1024;
const END_OF_DIRECTORY: &[u8] = b"PK\x05\x06";
const END_OF_DIRECTORY_BYTES: usize = 22;
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
const DIRECTORY_ENTRY_BYTES: usize = 46;
const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
/// From the signature to the end of the two sizes.
const LOCAL_HEADER_BYTES: usize = 26;
/// "See the ZIP64 extra field."
const ELSEWHERE: u64 = 0xffff_ffff;
const STORED: u64 = 0;
const DEFLATED: u64 = 8;
/// Archives within archives go through clamd's silence once more, where this module does not see them.
const NESTED: [&str; 12] =
    [".zip", ".jar", ".7z", ".rar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".tar", ".cab", ".iso"];

/// Sees the bytes of a document on their way to clamd. Holds [`TAIL_BYTES_MAX`] of them, twice at most.
#[derive(Default)]
pub struct Sentinel {
    seen_bytes: u64,
    starts_as_zip: bool,
    zip64_member: bool,
    tail: Vec<u8>,
}

impl Sentinel {
    pub fn observe(&mut self, chunk: &[u8]) {
        // Headers may lie across the border of two chunks.
        let from = self.tail.len().saturating_sub(LOCAL_HEADER_BYTES - 1);
        self.tail.extend_from_slice(chunk);
        let fresh = self.tail.get(from..).unwrap_or_default();
        self.zip64_member |= fresh.windows(LOCAL_HEADER_BYTES).any(is_zip64_member);
        if self.seen_bytes < 4 {
            self.starts_as_zip = self.tail.starts_with(LOCAL_HEADER);
        }
        self.seen_bytes += chunk.len() as u64;
        if self.tail.len() > 2 * TAIL_BYTES_MAX {
            self.tail.drain(..self.tail.len() - TAIL_BYTES_MAX);
        }
    }

    pub fn seen_bytes(&self) -> u64 {
        self.seen_bytes
    }

    /// After the last byte: why a clean answer is not enough.
    pub fn verdict(&self, limits: Limits) -> Option<Unscannable> {
        if self.zip64_member {
            return Some(Unscannable::ArchiveNotCovered);
        }
        match self.end_of_directory() {
            Some(end) => self.check_directory(end, limits).err(),
            None if self.starts_as_zip => Some(Unscannable::ArchiveNotCovered),
            None => None,
        }
    }

    /// Its place in the tail. A directory is one only if its comment ends exactly with the document.
    fn end_of_directory(&self) -> Option<usize> {
        let last = self.tail.len().checked_sub(END_OF_DIRECTORY_BYTES)?;
        (last.saturating_sub(usize::from(u16::MAX))..=last).rev().find(|&at| {
            self.tail.get(at..at + 4) == Some(END_OF_DIRECTORY)
                && number(&self.tail, at + 20, 2).is_some_and(|comment| comment == (last - at) as u64)
        })
    }

    fn check_directory(&self, end: usize, limits: Limits) -> Result<(), Unscannable> {
        const UNREADABLE: Unscannable = Unscannable::ArchiveNotCovered;
        let field = |offset, width| number(&self.tail, end + offset, width).ok_or(UNREADABLE);
        let (disks, entries, size, start) = (field(4, 4)?, field(10, 2)?, field(12, 4)?, field(16, 4)?);
        let first = usize::try_from(size).ok().and_then(|size| end.checked_sub(size)).ok_or(UNREADABLE)?;
        let tail_starts_at = self.seen_bytes - self.tail.len() as u64;
        // Where the directory is and where it says it is must be one place: else two readers see two archives.
        if disks != 0 || field(8, 2)? != entries || tail_starts_at + first as u64 != start {
            return Err(UNREADABLE);
        }
        let mut directory = self.tail.get(first..end).ok_or(UNREADABLE)?;
        let mut total = 0_u64;
        for _ in 0..entries {
            let (member, rest) = Member::read(directory).ok_or(UNREADABLE)?;
            total = total.saturating_add(member.check(limits)?);
            directory = rest;
        }
        match () {
            () if !directory.is_empty() => Err(UNREADABLE),
            () if total > limits.total_bytes_max => Err(Unscannable::LimitsExceeded),
            () => Ok(()),
        }
    }
}

fn is_zip64_member(header: &[u8]) -> bool {
    let field = |offset, width| number(header, offset, width).unwrap_or_default();
    // With a data descriptor (bit 3) clamd takes the sizes from the directory, and sees.
    header.starts_with(LOCAL_HEADER) && field(6, 2) & 8 == 0 && (field(18, 4) == ELSEWHERE || field(22, 4) == ELSEWHERE)
}

struct Member<'a> {
    flags: u64,
    method: u64,
    packed_bytes: u64,
    bytes: u64,
    name: &'a [u8],
}

impl<'a> Member<'a> {
    fn read(directory: &'a [u8]) -> Option<(Self, &'a [u8])> {
        if !directory.starts_with(DIRECTORY_ENTRY) {
            return None;
        }
        let field = |offset, width| number(directory, offset, width);
        let length = |offset| field(offset, 2).and_then(|n| usize::try_from(n).ok());
        let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
        let member = Self {
            flags: field(8, 2)?,
            method: field(10, 2)?,
            packed_bytes: field(20, 4)?,
            bytes: field(24, 4)?,
            name: directory.get(DIRECTORY_ENTRY_BYTES..DIRECTORY_ENTRY_BYTES + name)?,
        };
        Some((member, directory.get(DIRECTORY_ENTRY_BYTES + name + extra + comment..)?))
    }

    /// Its size, when clamd is sure to look into it.
    fn check(&self, limits: Limits) -> Result<u64, Unscannable> {
        let name = String::from_utf8_lossy(self.name).to_ascii_lowercase();
        let is_zip64 = self.packed_bytes == ELSEWHERE || self.bytes == ELSEWHERE;
        // Deflate adds at most some bytes to each 16 KiB that it can not shrink: less than was packed is a lie.
        let is_true_size = match self.method {
            STORED => self.packed_bytes == self.bytes,
            DEFLATED => self.packed_bytes <= self.bytes + self.bytes / 1_000 + 64,
            _ => false,
        };
        let is_opened = is_true_size && !NESTED.iter().any(|suffix| name.ends_with(suffix));
        if self.flags & 1 != 0 {
            Err(Unscannable::Encrypted)
        } else if is_zip64 || !is_opened {
            Err(Unscannable::ArchiveNotCovered)
        } else if self.bytes > limits.member_bytes_max {
            Err(Unscannable::LimitsExceeded)
        } else {
            Ok(self.bytes)
        }
    }
}

/// A little-endian number of `width` bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
