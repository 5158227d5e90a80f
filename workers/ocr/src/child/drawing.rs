//! Pages as pictures for a searchable PDF, as they are seen: in colour, upright.

use std::io::Cursor;

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader, Limits, codecs::jpeg::JpegEncoder,
    metadata::Orientation,
};
use miniz_oxide::deflate::compress_to_vec_zlib;

use super::{Refusal, document::Document, picture};
use crate::{
    OcrConfig, Unreadable,
    layout::PageLayout,
    searchable::{Encoding, PagePicture, Writer, points},
};

const JPEG_QUALITY: u8 = 80;
const ZLIB_LEVEL: u8 = 6;
/// Four channels of 16 bits.
const PIXEL_BYTES_MAX: u64 = 8;
/// Of a page whose words have no places: as if its longer side were that of an A4 sheet.
const INCHES: f64 = 11.69;

/// The whole document. A page that can not be drawn is a fact about the document: there is no PDF with gaps.
pub fn searchable(document: &Document, layouts: &[PageLayout], config: &OcrConfig) -> Result<Vec<u8>, Refusal> {
    let mut writer = Writer::new();
    for number in 1..=document.pages() {
        let layout = layouts.iter().find(|layout| layout.number == number);
        writer.page(&document.draw(number, layout, config)?, layout);
        if writer.len() > config.searchable_bytes_max {
            return Err(Unreadable::TooLarge.into());
        }
    }
    Ok(writer.finish())
}

/// An encoded picture as a page. `points` are the page's sides as it is shown, where its file says them.
pub fn page(
    bytes: Vec<u8>,
    layout: Option<&PageLayout>,
    points_shown: Option<(f32, f32)>,
    config: &OcrConfig,
) -> Result<PagePicture, Unreadable> {
    let is_tiff = bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*");
    // The header of a TIFF's page was looked at when it was taken out of its file.
    if !is_tiff {
        picture::check_size(&bytes, config.image_pixels_max)?;
    }
    let decoded = decode(&bytes, config).ok_or(Unreadable::Corrupt)?;
    let rest = (4 + layout.map_or(0, |layout| quarters(layout.rotation)) - decoded.turned) % 4;
    let (picture, kept) = match rest {
        1 => (decoded.picture.rotate90(), false),
        2 => (decoded.picture.rotate180(), false),
        3 => (decoded.picture.rotate270(), false),
        _ => (decoded.picture, decoded.as_it_is),
    };
    let (width, height) = (picture.width(), picture.height());
    let points = match (points_shown, layout) {
        (Some((width, height)), _) if rest % 2 == 1 => (height, width),
        (Some(shown), _) => shown,
        (None, Some(layout)) => points(layout.width, layout.height, layout.dpi),
        (None, None) => points(width, height, assumed_dpi(width, height)),
    };
    let (bytes, encoding) = if kept {
        (bytes, if picture.color().has_color() { Encoding::JpegColour } else { Encoding::JpegGrey })
    } else {
        encoded(picture)?
    };
    Ok(PagePicture { bytes, width, height, encoding, points })
}

struct Decoded {
    picture: DynamicImage,
    /// Quarters clockwise that its file asked for.
    turned: u16,
    /// A JPEG that a PDF can hold as it is.
    as_it_is: bool,
}

fn decode(bytes: &[u8], config: &OcrConfig) -> Option<Decoded> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(config.image_pixels_max.saturating_mul(PIXEL_BYTES_MAX));
    reader.limits(limits);
    let format = reader.format();
    let mut decoder = reader.into_decoder().ok()?;
    let (width, height) = decoder.dimensions();
    picture::check_sides(u64::from(width), u64::from(height), config.image_pixels_max).ok()?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let plain = matches!(decoder.original_color_type(), ExtendedColorType::L8 | ExtendedColorType::Rgb8);
    let mut picture = DynamicImage::from_decoder(decoder).ok()?;
    picture.apply_orientation(orientation);
    Some(Decoded {
        picture: on_white_paper(picture),
        turned: quarters(picture::turn_of(orientation).degrees()),
        as_it_is: format == Some(ImageFormat::Jpeg) && plain && orientation == Orientation::NoTransforms,
    })
}

fn quarters(degrees: u16) -> u16 {
    degrees / 90 % 4
}

/// What is transparent shows the paper below.
fn on_white_paper(picture: DynamicImage) -> DynamicImage {
    if !picture.color().has_alpha() {
        return picture;
    }
    let mut paper = image::RgbImage::new(picture.width(), picture.height());
    for (new, old) in paper.pixels_mut().zip(picture.into_rgba8().pixels()) {
        let [red, green, blue, alpha] = old.0.map(u16::from);
        new.0 = [red, green, blue]
            .map(|shade| u8::try_from((shade * alpha + 255 * (255 - alpha)) / 255).unwrap_or(u8::MAX));
    }
    paper.into()
}

/// Black and white exactly, all else as a JPEG.
fn encoded(picture: DynamicImage) -> Result<(Vec<u8>, Encoding), Unreadable> {
    let mut jpeg = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY);
    if picture.color().has_color() {
        picture.into_rgb8().write_with_encoder(encoder).map_err(|_| Unreadable::TooLargeImage)?;
        return Ok((jpeg, Encoding::JpegColour));
    }
    let grey = picture.into_luma8();
    if grey.as_raw().iter().all(|shade| matches!(shade, 0 | 255)) {
        return Ok((bits(&grey), Encoding::Bits));
    }
    grey.write_with_encoder(encoder).map_err(|_| Unreadable::TooLargeImage)?;
    Ok((jpeg, Encoding::JpegGrey))
}

fn bits(grey: &image::GrayImage) -> Vec<u8> {
    let mut packed = Vec::with_capacity(grey.as_raw().len() / 8 + grey.height() as usize);
    for row in grey.rows() {
        let shades: Vec<bool> = row.map(|pixel| pixel.0[0] == 255).collect();
        packed.extend(shades.chunks(8).map(|eight| {
            eight.iter().enumerate().fold(0_u8, |byte, (nth, white)| byte | (u8::from(*white) << (7 - nth)))
        }));
    }
    compress_to_vec_zlib(&packed, ZLIB_LEVEL)
}

fn assumed_dpi(width: u32, height: u32) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let dpi = (f64::from(width.max(height)) / INCHES).round() as u32;
    dpi.clamp(50, 1_200)
}
