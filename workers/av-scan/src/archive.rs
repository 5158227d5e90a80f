//! Archives of which clamd's "OK" proves nothing.
//!
//! clamd (1.4.6, with `AlertExceedsMax yes`) says `OK` over a ZIP member that is larger than its `MaxFileSize`, and over
//! one whose local header gives its size in ZIP64 only; over large members of a CAB file; over all of a RAR file, as
//! Debian has no unrar; over LZMA and PPMd. The test file in any of them comes back clean. So a document that is an archive
//! is believed to be clean only when it is a ZIP, and each of its members was seen to the end here too: unpacked piece by
//! piece, held to the limits, and looked at in the same way. Office documents are such ZIPs, and have others in them.
//!
//! Nothing is written or kept of what is unpacked. This is safe Rust over bounded buffers: for each level of
//! nesting some 600 KB.

mod container;
mod directory;
mod walk;

use self::walk::Walk;
use crate::reply::Unscannable;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of one member, unpacked.
    pub member_bytes_max: u64,
    /// Over all members, those of inner archives too.
    pub total_bytes_max: u64,
}

/// A ZIP in a ZIP in a ZIP is looked into; a further one is not.
const DEPTH_MAX: u8 = 3;
/// Of the end of a document: the directory of a ZIP must lie within it. Some 3,000 members.
const TAIL_BYTES_MAX: usize = 256 * 1024;
/// Of a document, over all its nesting: about what one directory has room for. Each costs time and memory whatever its size.
const MEMBERS_MAX: u32 = 6_000;
/// From the signature of a local header to the end of the two sizes.
const SIZES_END: usize = 26;
const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
/// "See the ZIP64 extra field."
const ELSEWHERE: u64 = 0xffff_ffff;

/// Sees the bytes of a document on their way to clamd.
pub struct Sentinel {
    eye: Eye,
    allowance: Allowance,
}

/// What may still be unpacked.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    limits: Limits,
    unpacked_bytes: u64,
    members: u32,
}

impl Allowance {
    fn spend(&mut self, bytes: u64) -> Result<(), Unscannable> {
        self.unpacked_bytes = self.unpacked_bytes.saturating_add(bytes);
        if self.unpacked_bytes > self.limits.total_bytes_max { Err(Unscannable::LimitsExceeded) } else { Ok(()) }
    }

    fn begin_member(&mut self) -> Result<(), Unscannable> {
        self.members = self.members.saturating_add(1);
        if self.members > MEMBERS_MAX { Err(Unscannable::LimitsExceeded) } else { Ok(()) }
    }
}

impl Sentinel {
    pub fn new(limits: Limits) -> Self {
        Self { eye: Eye::new(0), allowance: Allowance { limits, unpacked_bytes: 0, members: 0 } }
    }

    /// In the order of the document. Of an archive it takes as long as unpacking the piece does, and what is packed in it: at
    /// worst as long as unpacking `total_bytes_max`. See [`Self::unpacks`].
    pub fn observe(&mut self, piece: &[u8]) {
        self.eye.observe(piece, &mut self.allowance);
    }

    /// Whether the next piece may be unpacked, which can take seconds; else it is only looked at.
    pub fn unpacks(&self) -> bool {
        self.eye.walk.is_some() || self.eye.seen_bytes < LOCAL_HEADER.len() as u64
    }

    pub fn seen_bytes(&self) -> u64 {
        self.eye.seen_bytes
    }

    /// After the last byte: why a clean answer is not enough.
    pub fn verdict(&self) -> Option<Unscannable> {
        self.eye.verdict(self.allowance.limits)
    }
}

/// Sees one stream: the document, or a member of an archive in it.
struct Eye {
    depth: u8,
    seen_bytes: u64,
    head: Vec<u8>,
    /// At least [`TAIL_BYTES_MAX`] of the end, twice as much at most.
    tail: Vec<u8>,
    zip64_member: bool,
    archive_as_text: bool,
    walk: Option<Box<Walk>>,
}

impl Eye {
    fn new(depth: u8) -> Self {
        Self {
            depth,
            seen_bytes: 0,
            head: Vec::new(),
            tail: Vec::new(),
            zip64_member: false,
            archive_as_text: false,
            walk: None,
        }
    }

    fn observe(&mut self, piece: &[u8], allowance: &mut Allowance) {
        // What is looked for may lie across the border of two pieces.
        let from = self.tail.len().saturating_sub(SIZES_END - 1);
        let from_start = from == 0 && self.tail.len() as u64 == self.seen_bytes;
        self.tail.extend_from_slice(piece);
        let fresh = self.tail.get(from..).unwrap_or_default();
        self.zip64_member |= fresh.windows(SIZES_END).any(is_zip64_member);
        self.archive_as_text |= container::in_base64(fresh, from_start);
        let room = container::HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend_from_slice(piece.get(..room).unwrap_or(piece));
        self.walk(piece, allowance);
        self.seen_bytes += piece.len() as u64;
        if self.tail.len() > 2 * TAIL_BYTES_MAX {
            self.tail.drain(..self.tail.len() - TAIL_BYTES_MAX);
        }
    }

    /// Goes along the members of a ZIP, from the fourth byte on, when it is known to be one.
    fn walk(&mut self, piece: &[u8], allowance: &mut Allowance) {
        if let Some(walk) = &mut self.walk {
            walk.feed(piece, allowance);
        } else if self.seen_bytes < 4 && self.head.starts_with(LOCAL_HEADER) && self.depth < DEPTH_MAX {
            let mut walk = Box::new(Walk::new(self.depth));
            // All that was seen so far: the head is longer than four bytes, the piece may be longer than the head.
            let before = usize::try_from(self.seen_bytes).unwrap_or_default();
            walk.feed(self.head.get(..before).unwrap_or_default(), allowance);
            walk.feed(piece, allowance);
            self.walk = Some(walk);
        }
    }

    fn verdict(&self, limits: Limits) -> Option<Unscannable> {
        const NOT_COVERED: Option<Unscannable> = Some(Unscannable::ArchiveNotCovered);
        if self.zip64_member || self.archive_as_text || container::is_one(&self.head) {
            return NOT_COVERED;
        }
        let directory = directory::read(&self.tail, self.seen_bytes, limits);
        match (directory, &self.walk) {
            (Ok(None), None) if !self.head.starts_with(LOCAL_HEADER) => None,
            (Err(why), _) => Some(why),
            // An archive without a member: nothing but its end.
            (Ok(Some(all)), None) if all.members.is_empty() && all.start == 0 && self.depth < DEPTH_MAX => None,
            (Ok(Some(directory)), Some(walk)) => walk.agrees_with(&directory).err(),
            (Ok(_), _) => NOT_COVERED,
        }
    }
}

fn is_zip64_member(header: &[u8]) -> bool {
    let field = |offset, width| number(header, offset, width).unwrap_or_default();
    // With a data descriptor (bit 3) clamd takes the sizes from the directory, and sees.
    header.starts_with(LOCAL_HEADER) && field(6, 2) & 8 == 0 && (field(18, 4) == ELSEWHERE || field(22, 4) == ELSEWHERE)
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
