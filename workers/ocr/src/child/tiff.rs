//! The pages of a TIFF. The decoder (leptonica over libtiff, which knows every compression that scanners and fax
//! machines use) reads the first page of a file only, so each page is handed to it as the first: the same bytes with
//! another first directory.

use std::collections::HashSet;

use super::picture;
use crate::Unreadable;

const IMAGE_WIDTH: u16 = 256;
const IMAGE_LENGTH: u16 = 257;
const ENTRY_BYTES: usize = 12;

pub struct Tiff {
    bytes: Vec<u8>,
    order: Order,
    directories: Vec<u32>,
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> Result<u16, Unreadable> {
        let two = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(Unreadable::Corrupt)?;
        Ok(match self {
            Self::Little => u16::from_le_bytes(*two),
            Self::Big => u16::from_be_bytes(*two),
        })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Result<u32, Unreadable> {
        let four = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(Unreadable::Corrupt)?;
        Ok(match self {
            Self::Little => u32::from_le_bytes(*four),
            Self::Big => u32::from_be_bytes(*four),
        })
    }

    fn bytes_of(self, number: u32) -> [u8; 4] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }
}

impl Tiff {
    /// Follows the chain of directories; one page more than `pages_max` is enough to know. A chain that ends outside the
    /// file keeps the pages before it; one that comes back to itself is no document.
    pub fn open(bytes: Vec<u8>, pages_max: u32) -> Result<Self, Unreadable> {
        let order = match bytes.get(..4) {
            Some(b"II\x2a\0") => Order::Little,
            Some(b"MM\0\x2a") => Order::Big,
            // BigTIFF, for files beyond 4 GB.
            Some(b"II\x2b\0" | b"MM\0\x2b") => return Err(Unreadable::UnsupportedType),
            _ => return Err(Unreadable::Corrupt),
        };
        let (mut directories, mut seen) = (Vec::new(), HashSet::new());
        let mut next = order.u32(&bytes, 4)?;
        while next != 0 && directories.len() <= pages_max as usize {
            if !seen.insert(next) {
                return Err(Unreadable::Corrupt);
            }
            let Ok(entries) = order.u16(&bytes, next as usize) else { break };
            directories.push(next);
            let link = next as usize + 2 + usize::from(entries) * ENTRY_BYTES;
            next = order.u32(&bytes, link).unwrap_or(0);
        }
        if directories.is_empty() { Err(Unreadable::Corrupt) } else { Ok(Self { bytes, order, directories }) }
    }

    pub fn pages(&self) -> u32 {
        u32::try_from(self.directories.len()).unwrap_or(u32::MAX)
    }

    /// The file with the page, from 1, as its first.
    pub fn page(&self, number: u32, pixels_max: u64) -> Result<Vec<u8>, Unreadable> {
        let index = (number as usize).checked_sub(1).ok_or(Unreadable::Corrupt)?;
        let directory = *self.directories.get(index).ok_or(Unreadable::Corrupt)?;
        picture::check_sides(self.tag(directory, IMAGE_WIDTH)?, self.tag(directory, IMAGE_LENGTH)?, pixels_max)?;
        let mut bytes = self.bytes.clone();
        let first = bytes.get_mut(4..8).ok_or(Unreadable::Corrupt)?;
        first.copy_from_slice(&self.order.bytes_of(directory));
        Ok(bytes)
    }

    fn tag(&self, directory: u32, tag: u16) -> Result<u64, Unreadable> {
        const SHORT: u16 = 3;
        const LONG: u16 = 4;
        let (order, start) = (self.order, directory as usize);
        for entry in 0..usize::from(order.u16(&self.bytes, start)?) {
            let at = start + 2 + entry * ENTRY_BYTES;
            if order.u16(&self.bytes, at)? != tag {
                continue;
            }
            return match order.u16(&self.bytes, at + 2)? {
                SHORT => Ok(u64::from(order.u16(&self.bytes, at + 8)?)),
                LONG => Ok(u64::from(order.u32(&self.bytes, at + 8)?)),
                _ => Err(Unreadable::Corrupt),
            };
        }
        Err(Unreadable::Corrupt)
    }
}

#[cfg(test)]
mod tests;
