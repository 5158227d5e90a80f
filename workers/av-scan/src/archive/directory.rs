//! The directory at the end of a ZIP: what another reader will find in it.

use super::{ELSEWHERE, Limits, number};
use crate::reply::Unscannable;

const END_OF_DIRECTORY: &[u8] = b"PK\x05\x06";
const END_OF_DIRECTORY_BYTES: usize = 22;
/// ZIP64's end, and what points to it.
const ZIP64_MARKS: [&[u8]; 2] = [b"PK\x06\x06", b"PK\x06\x07"];
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;
const UNREADABLE: Unscannable = Unscannable::ArchiveNotCovered;

/// What a directory, or a walk along the file, says of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Of its local header.
    pub offset: u64,
    pub method: u64,
    pub packed_bytes: u64,
    pub bytes: u64,
    pub name: u64,
}

pub struct Directory {
    /// Its place in the document.
    pub start: u64,
    /// In the order of their places.
    pub members: Vec<Member>,
}

/// The directory, checked against `limits`. `tail` ends with the document, which has
/// `size_bytes`. None when there is no directory.
///
/// # Errors
/// Why the archive can not be believed.
pub fn read(tail: &[u8], size_bytes: u64, limits: Limits) -> Result<Option<Directory>, Unscannable> {
    let Some(end) = end_of_directory(tail) else { return Ok(None) };
    let field = |offset, width| number(tail, end + offset, width).ok_or(UNREADABLE);
    let (disks, entries, size, start) = (field(4, 4)?, field(10, 2)?, field(12, 4)?, field(16, 4)?);
    let first = usize::try_from(size).ok().and_then(|size| end.checked_sub(size)).ok_or(UNREADABLE)?;
    let tail_starts_at = size_bytes.saturating_sub(tail.len() as u64);
    // Where the directory is and where it says it is must be one place: else two readers see two archives.
    if disks != 0 || field(8, 2)? != entries || tail_starts_at + first as u64 != start {
        return Err(UNREADABLE);
    }
    let mut directory = tail.get(first..end).ok_or(UNREADABLE)?;
    // A reader that prefers ZIP64, or takes another end, goes to another directory. Honest names and comments do not hold such marks.
    let another_end =
        |(at, mark): (usize, &[u8])| ZIP64_MARKS.contains(&mark) || mark == END_OF_DIRECTORY && first + at != end;
    if tail.get(first..).unwrap_or_default().windows(4).enumerate().any(another_end) {
        return Err(UNREADABLE);
    }
    let (mut members, mut total) = (Vec::new(), 0_u64);
    for _ in 0..entries {
        let (member, rest) = entry(directory, limits)?;
        total = total.saturating_add(member.bytes);
        members.push(member);
        directory = rest;
    }
    match () {
        () if !directory.is_empty() => Err(UNREADABLE),
        () if total > limits.total_bytes_max => Err(Unscannable::LimitsExceeded),
        () => {
            members.sort_by_key(|member| member.offset);
            Ok(Some(Directory { start, members }))
        }
    }
}

/// Its place in the tail. A directory is one only if its comment ends exactly with the document.
fn end_of_directory(tail: &[u8]) -> Option<usize> {
    let last = tail.len().checked_sub(END_OF_DIRECTORY_BYTES)?;
    (last.saturating_sub(usize::from(u16::MAX))..=last).rev().find(|&at| {
        tail.get(at..at + 4) == Some(END_OF_DIRECTORY)
            && number(tail, at + 20, 2).is_some_and(|comment| comment == (last - at) as u64)
    })
}

fn entry(directory: &[u8], limits: Limits) -> Result<(Member, &[u8]), Unscannable> {
    if !directory.starts_with(ENTRY) {
        return Err(UNREADABLE);
    }
    let field = |offset, width| number(directory, offset, width).ok_or(UNREADABLE);
    let length = |offset| field(offset, 2).and_then(|n| usize::try_from(n).map_err(|_| UNREADABLE));
    let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
    let member = Member {
        offset: field(42, 4)?,
        method: field(10, 2)?,
        packed_bytes: field(20, 4)?,
        bytes: field(24, 4)?,
        name: name_hash(directory.get(ENTRY_BYTES..ENTRY_BYTES + name).ok_or(UNREADABLE)?),
    };
    let rest = directory.get(ENTRY_BYTES + name + extra + comment..).ok_or(UNREADABLE)?;
    if field(8, 2)? & 1 != 0 {
        return Err(Unscannable::Encrypted);
    }
    if [member.offset, member.packed_bytes, member.bytes].contains(&ELSEWHERE) {
        return Err(UNREADABLE);
    }
    if member.bytes > limits.member_bytes_max {
        return Err(Unscannable::LimitsExceeded);
    }
    Ok((member, rest))
}

/// FNV-1a: names are compared, not kept. Two that differ and agree here would still have to agree in everything else.
pub fn name_hash(name: &[u8]) -> u64 {
    name.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
