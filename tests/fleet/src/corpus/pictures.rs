//! One line of a letter in every form of picture, made from one PNG.

use crate::documents::crc32;

/// ImageMagick made both from `line.png`.
pub const JPEG: &[u8] = include_bytes!("line.jpg");
pub const WEBP: &[u8] = include_bytes!("line.webp");
pub const GIF: &[u8] = include_bytes!("line.gif");
pub const BMP: &[u8] = include_bytes!("line.bmp");
pub const TIFF: &[u8] = include_bytes!("line.tiff");

/// A PNG that says it has so many pixels (PNG, 2nd edition, §11.2.2), and has a few bytes.
pub fn flood(side: u32) -> Vec<u8> {
    let chunk = |kind: &[u8], data: &[u8]| {
        let body = [kind, data].concat();
        [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], &body, &crc32(&body).to_be_bytes()].concat()
    };
    let header = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let data = miniz_oxide::deflate::compress_to_vec_zlib(&[0; 100_000], 9);
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunk(b"IDAT", &data), chunk(b"IEND", b"")].concat()
}
