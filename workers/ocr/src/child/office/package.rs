use std::io::{BufReader, Cursor, Read};

use zip::{ZipArchive, result::ZipError};

use crate::Unreadable;

/// A long document with many pictures has some hundred.
const PARTS_MAX: usize = 4_000;
/// Of one part, and of all that are read of a document.
const PART_BYTES_MAX: u64 = 64 * 1024 * 1024;
const ALL_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// XML shrinks to a tenth, repetitive tables to a fiftieth.
const RATIO_MAX: u64 = 200;
/// Below it the ratio says nothing.
const RATIO_FREE_BYTES: u64 = 4 * 1024 * 1024;
const END_OF_DIRECTORY: &[u8] = b"PK\x05\x06";
/// With the longest comment.
const END_BYTES_MAX: usize = 22 + 65_535;

/// The ZIP of a document; it gives out its parts within bounds.
pub struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    left: u64,
}

impl<'a> Package<'a> {
    pub fn open(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        // Before the directory is taken into memory.
        if announced_parts(bytes)? > PARTS_MAX {
            return Err(Unreadable::TooLarge);
        }
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| reason(&error))?;
        if archive.len() > PARTS_MAX {
            return Err(Unreadable::TooLarge);
        }
        Ok(Self { archive, left: ALL_BYTES_MAX })
    }

    /// In the order of the directory.
    pub fn names(&self) -> Vec<String> {
        self.archive.file_names().map(str::to_owned).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.archive.index_for_name(name).is_some()
    }

    /// Calls `with` with the part; none when it is not there. Sizes are those that are read, not those that are announced.
    pub fn read<T>(
        &mut self,
        name: &str,
        with: impl FnOnce(&mut dyn std::io::BufRead) -> Result<T, Unreadable>,
    ) -> Result<Option<T>, Unreadable> {
        let file = match self.archive.by_name(name) {
            Ok(file) => file,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(reason(&error)),
        };
        let by_ratio = file.compressed_size().saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
        let bound = PART_BYTES_MAX.min(by_ratio).min(self.left);
        if file.size() > bound {
            return Err(Unreadable::TooLarge);
        }
        let mut part = BufReader::new(file.take(bound + 1));
        let result = with(&mut part);
        let taken = bound + 1 - part.get_ref().limit();
        if taken > bound {
            return Err(Unreadable::TooLarge);
        }
        self.left -= taken;
        result.map(Some)
    }
}

fn announced_parts(bytes: &[u8]) -> Result<usize, Unreadable> {
    let tail = bytes.get(bytes.len().saturating_sub(END_BYTES_MAX)..).unwrap_or(bytes);
    let start = tail.windows(4).rposition(|four| four == END_OF_DIRECTORY).ok_or(Unreadable::Corrupt)?;
    let count = tail.get(start + 10..start + 12).ok_or(Unreadable::Corrupt)?;
    Ok(count.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

fn reason(error: &ZipError) -> Unreadable {
    match error {
        ZipError::UnsupportedArchive(what) if *what == ZipError::PASSWORD_REQUIRED => Unreadable::Encrypted,
        _ => Unreadable::Corrupt,
    }
}
