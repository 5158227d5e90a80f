use docfleet_page_image::LETTER_HEIGHT;

use super::{POINTS_PER_INCH, Scan, Size};
use crate::{
    OcrConfig, Unreadable,
    child::{
        Refusal,
        picture::{self, Page},
        tool::{self, Answer},
    },
};

/// Coarser than this no letter is left.
const DPI_MIN: f64 = 50.0;
/// At which a page is looked at first: its usual print has letters of the size that is read best, and two pixels of the
/// usual scan become one without a rest.
const LOOK_DPI: f64 = 150.0;
/// Fine enough for small print on paper.
const SEEN_DPI: u32 = 200;
/// Letters that are this much smaller than wanted are worth a second, finer picture.
const SMALL_PRINT: f64 = 0.85;

/// The page as a picture, in the resolution that its letters want.
pub fn page(path: &str, number: u32, size: Size, scan: Option<Scan>, config: &OcrConfig) -> Result<Page, Refusal> {
    let most = resolution(size, config)?;
    let first = look_dpi(scan).min(most);
    let page = at(path, number, first, config)?;
    match page.survey.letter_height.and_then(|letters| finer_dpi(f64::from(first), letters, scan)) {
        Some(finer) if finer.min(most) > first => at(path, number, finer.min(most), config),
        _ => Ok(page),
    }
}

/// As one sees it, for a person: not for Tesseract.
pub fn jpeg(path: &str, number: u32, size: Size, config: &OcrConfig) -> Result<Vec<u8>, Refusal> {
    let (page, dpi) = (number.to_string(), SEEN_DPI.min(resolution(size, config)?).to_string());
    let arguments = ["-jpeg", "-jpegopt", "quality=80", "-cropbox", "-r", &dpi, "-f", &page, "-l", &page, "-q", path];
    let Answer { succeeded, output, is_cut, .. } = tool::run("pdftoppm", &arguments, config.searchable_bytes_max)?;
    if is_cut {
        return Err(Unreadable::TooLargeImage.into());
    }
    if !succeeded || output.is_empty() {
        return Err(Unreadable::Corrupt.into());
    }
    Ok(output)
}

fn at(path: &str, number: u32, dpi: u32, config: &OcrConfig) -> Result<Page, Refusal> {
    let (page, resolution) = (number.to_string(), dpi.to_string());
    let arguments = ["-gray", "-cropbox", "-r", &resolution, "-f", &page, "-l", &page, "-q", path];
    // One byte a pixel, and the header.
    let bytes_max = usize::try_from(config.image_pixels_max).unwrap_or(usize::MAX).saturating_add(1_024);
    let Answer { succeeded, output, is_cut, .. } = tool::run("pdftoppm", &arguments, bytes_max)?;
    if is_cut {
        return Err(Unreadable::TooLargeImage.into());
    }
    if !succeeded || output.is_empty() {
        return Err(Unreadable::Corrupt.into());
    }
    picture::check_size(&output, config.image_pixels_max)?;
    let (grey, _) = picture::grey(&output, config.image_pixels_max).ok_or(Unreadable::Corrupt)?;
    Ok(Page { dpi: Some(dpi), ..Page::of(grey) })
}

/// A whole part of a scan's own resolution: between them the renderer leaves pixels out.
fn look_dpi(scan: Option<Scan>) -> u32 {
    whole(match scan {
        Some(Scan { dpi, .. }) if dpi >= LOOK_DPI => dpi / (dpi / LOOK_DPI).floor(),
        _ => LOOK_DPI,
    })
}

/// What small print wants; of a scan no more than there is.
fn finer_dpi(dpi: f64, letters: f64, scan: Option<Scan>) -> Option<u32> {
    if letters <= 0.0 || letters >= LETTER_HEIGHT * SMALL_PRINT {
        return None;
    }
    let wanted = dpi * LETTER_HEIGHT / letters;
    let wanted = match scan {
        Some(scan) if scan.dpi > wanted => scan.dpi / (scan.dpi / wanted).floor(),
        Some(scan) => scan.dpi,
        None => wanted,
    };
    Some(whole(wanted))
}

/// The highest resolution that the configuration allows, or what is possible of it on a page as large as a wall.
fn resolution(Size { width, height, .. }: Size, config: &OcrConfig) -> Result<u32, Unreadable> {
    const SIDE_PIXELS: f64 = 30_000.0;
    if !(width > 0.0 && height > 0.0) {
        return Err(Unreadable::Corrupt);
    }
    #[allow(clippy::cast_precision_loss)]
    let pixels = config.image_pixels_max as f64 * 0.98;
    let by_area = POINTS_PER_INCH * (pixels / (width * height)).sqrt();
    let by_side = POINTS_PER_INCH * SIDE_PIXELS / width.max(height);
    let dpi = f64::from(config.render_dpi).min(by_area).min(by_side);
    if dpi < DPI_MIN {
        return Err(Unreadable::TooLargeImage);
    }
    Ok(whole(dpi))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(dpi: f64) -> u32 {
    dpi as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(dpi: f64) -> Option<Scan> {
        Some(Scan { area: 96.7, dpi })
    }

    #[test]
    fn the_resolution_falls_with_the_size_of_the_page_down_to_a_limit() {
        let config = OcrConfig::default();
        let of = |width, height| resolution(Size { width, height, rotation: 0 }, &config);
        assert_eq!(of(595.0, 842.0), Ok(300));
        assert_eq!(of(4_000.0, 4_000.0), Ok(142));
        assert_eq!(of(14_400.0, 14_400.0), Err(Unreadable::TooLargeImage));
        assert_eq!(of(100_000.0, 1.0), Err(Unreadable::TooLargeImage));
        assert_eq!(of(0.0, 842.0), Err(Unreadable::Corrupt));
        assert_eq!(of(f64::NAN, 842.0), Err(Unreadable::Corrupt));
    }

    #[test]
    fn a_scan_is_looked_at_in_a_whole_part_of_its_own_resolution() {
        let looks = [None, scan(72.0), scan(150.0), scan(200.0), scan(300.0), scan(400.0), scan(600.0)].map(look_dpi);
        assert_eq!(looks, [150, 150, 150, 200, 150, 200, 150]);
    }

    #[test]
    fn small_print_is_rendered_finer_but_a_scan_no_finer_than_it_is() {
        assert_eq!(finer_dpi(150.0, LETTER_HEIGHT, None), None);
        assert_eq!(finer_dpi(150.0, LETTER_HEIGHT / 2.0, None), Some(300));
        assert_eq!(finer_dpi(150.0, LETTER_HEIGHT / 1.5, scan(600.0)), Some(300));
        assert_eq!(finer_dpi(150.0, LETTER_HEIGHT / 3.0, scan(300.0)), Some(300));
        assert_eq!(finer_dpi(150.0, LETTER_HEIGHT / 3.0, scan(100.0)), Some(100));
        assert_eq!(finer_dpi(150.0, 0.0, None), None);
    }
}
