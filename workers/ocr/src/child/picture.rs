use tesseract::plumbing::leptonica_plumbing::{Pix, memory::RefCountedExclusive};

use crate::Unreadable;

/// Decoded pixels, freed when dropped.
pub type Picture = RefCountedExclusive<Pix>;

/// Tesseract keeps coordinates in 16 bits.
const SIDE_PIXELS_MAX: u64 = i16::MAX as u64;

/// Refuses a picture whose header announces more pixels than are to be decoded: a few bytes can announce gigabytes.
pub fn check_size(bytes: &[u8], pixels_max: u64) -> Result<(), Unreadable> {
    let size = imagesize::blob_size(bytes).map_err(|_| Unreadable::Corrupt)?;
    check_sides(size.width as u64, size.height as u64, pixels_max)
}

pub fn check_sides(width: u64, height: u64, pixels_max: u64) -> Result<(), Unreadable> {
    if width == 0 || height == 0 {
        return Err(Unreadable::Corrupt);
    }
    if width > SIDE_PIXELS_MAX || height > SIDE_PIXELS_MAX || width * height > pixels_max {
        return Err(Unreadable::TooLargeImage);
    }
    Ok(())
}

/// The first picture in `bytes`; its size was checked.
pub fn decode(bytes: &[u8]) -> Result<Picture, Unreadable> {
    Pix::read_mem(bytes).map_err(|_| Unreadable::Corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_bytes_that_announce_gigabytes_are_refused_by_their_header() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        png.extend_from_slice(&60_000_u32.to_be_bytes());
        png.extend_from_slice(&60_000_u32.to_be_bytes());
        png.extend_from_slice(&[8, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(check_size(&png, 64_000_000), Err(Unreadable::TooLargeImage));
        assert_eq!(check_size(&png[..12], 64_000_000), Err(Unreadable::Corrupt));
        assert_eq!(check_size(b"not a picture at all", 64_000_000), Err(Unreadable::Corrupt));
    }

    #[test]
    fn sides_are_bounded_as_well_as_the_area() {
        assert_eq!(check_sides(40_000, 1, 64_000_000), Err(Unreadable::TooLargeImage));
        assert_eq!(check_sides(0, 7, 64_000_000), Err(Unreadable::Corrupt));
        assert_eq!(check_sides(u64::from(u32::MAX), u64::from(u32::MAX), u64::MAX), Err(Unreadable::TooLargeImage));
        assert_eq!(check_sides(8_000, 8_000, 64_000_000), Ok(()));
    }
}
