use std::io::Cursor;

use docfleet_page_image::{Grey, Survey, Turn};
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, metadata::Orientation};
use tesseract::plumbing::leptonica_plumbing::{Pix, memory::RefCountedExclusive};

use crate::Unreadable;

/// Tesseract keeps coordinates in 16 bits.
const SIDE_PIXELS_MAX: u64 = i16::MAX as u64;
/// Four channels of 16 bits.
const PIXEL_BYTES_MAX: u64 = 8;

/// A page as a picture.
pub enum Picture {
    Page(Page),
    /// Of a kind that only Tesseract's own library decodes, such as old fax; it is read as it is.
    Foreign(RefCountedExclusive<Pix>),
}

/// A page to be read.
pub struct Page {
    pub grey: Grey,
    pub survey: Survey,
    /// By which it was turned before, since its file says so.
    pub turn: Turn,
    /// Pixels an inch where the file, or who rendered it, says so.
    pub dpi: Option<u32>,
}

impl Page {
    pub fn of(grey: Grey) -> Self {
        Self { survey: Survey::of(&grey), grey, turn: Turn::None, dpi: None }
    }
}

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
pub fn decode(bytes: &[u8], pixels_max: u64) -> Result<Picture, Unreadable> {
    if let Some((grey, turn)) = grey(bytes, pixels_max) {
        return Ok(Picture::Page(Page { turn, ..Page::of(grey) }));
    }
    // It knows more kinds of TIFF, and forgives more of the others.
    Pix::read_mem(bytes).map(Picture::Foreign).map_err(|_| Unreadable::Corrupt)
}

/// Upright as far as its file says it; none when it can not be decoded here.
pub fn grey(bytes: &[u8], pixels_max: u64) -> Option<(Grey, Turn)> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(pixels_max.saturating_mul(PIXEL_BYTES_MAX));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().ok()?;
    let (width, height) = decoder.dimensions();
    check_sides(u64::from(width), u64::from(height), pixels_max).ok()?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).ok()?;
    let turn = turn_of(orientation);
    picture.apply_orientation(orientation);
    let luma = on_white_paper(picture);
    let (width, height) = luma.dimensions();
    Some((Grey::new(width, height, luma.into_raw()).ok()?, turn))
}

/// A mirrored page is made right as well; the quarters count with the others by which a page is turned.
pub fn turn_of(orientation: Orientation) -> Turn {
    match orientation {
        Orientation::NoTransforms | Orientation::FlipHorizontal => Turn::None,
        Orientation::Rotate90 | Orientation::Rotate90FlipH => Turn::Quarter,
        Orientation::Rotate180 | Orientation::FlipVertical => Turn::Half,
        Orientation::Rotate270 | Orientation::Rotate270FlipH => Turn::ThreeQuarters,
    }
}

/// What is transparent shows the paper below.
fn on_white_paper(picture: DynamicImage) -> image::GrayImage {
    if !picture.color().has_alpha() {
        return picture.into_luma8();
    }
    let mut luma = image::GrayImage::new(picture.width(), picture.height());
    for (new, old) in luma.pixels_mut().zip(picture.into_luma_alpha8().pixels()) {
        let [shade, alpha] = old.0.map(u16::from);
        new.0 = [u8::try_from((shade * alpha + 255 * (255 - alpha)) / 255).unwrap_or(u8::MAX)];
    }
    luma
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
        assert!(grey(&png, 64_000_000).is_none());
    }

    #[test]
    fn sides_are_bounded_as_well_as_the_area() {
        assert_eq!(check_sides(40_000, 1, 64_000_000), Err(Unreadable::TooLargeImage));
        assert_eq!(check_sides(0, 7, 64_000_000), Err(Unreadable::Corrupt));
        assert_eq!(check_sides(u64::from(u32::MAX), u64::from(u32::MAX), u64::MAX), Err(Unreadable::TooLargeImage));
        assert_eq!(check_sides(8_000, 8_000, 64_000_000), Ok(()));
    }

    #[test]
    fn what_is_transparent_is_paper() {
        let pixels = image::RgbaImage::from_raw(3, 1, vec![0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 51]).unwrap();
        assert_eq!(on_white_paper(pixels.into()).into_raw(), [255, 0, 204]);
    }
}
