//! PDF through poppler's tools, each a process of its own: `pdfinfo` (pages and their sizes), `pdftotext` (the text
//! layer), `pdfimages` (is the page a scan?), `pdftoppm` (the page as a picture).
//!
//! A scan is rendered, not taken out of the file: the renderer knows rotation, masks and what else lies on the page, and
//! costs a tenth of the OCR that follows.

use std::{fs::File, io::Write, os::fd::AsRawFd};

use super::{
    Error, PageText, Refusal, picture,
    recognizer::Recognizer,
    text_layer::{self, Layer},
    tool::{self, Answer},
};
use crate::{OcrConfig, Unreadable};
use docfleet_events::TextSource;

/// A line or two for each page and image.
const LISTING_BYTES_MAX: usize = 1024 * 1024;
/// Coarser than this no letter is left.
const DPI_MIN: f64 = 50.0;
const POINTS_PER_INCH: f64 = 72.0;

/// Width and height in points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size(f64, f64);

/// An open PDF.
pub struct Pdf {
    file: Bytes,
    pages: u32,
    /// Of the pages that may be read, in their order.
    sizes: Vec<Size>,
}

/// The bytes where the tools find them.
struct Bytes {
    /// Its path holds as long as it is open, in us and in what we start.
    _open: File,
    path: String,
}

impl Bytes {
    fn of(bytes: &[u8]) -> Result<Self, Error> {
        let mut file = tool::file_in_memory()?;
        file.write_all(bytes).map_err(Error::Memory)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(Self { _open: file, path })
    }
}

pub fn version() -> Result<String, Error> {
    for name in ["pdftotext", "pdfimages", "pdftoppm"] {
        tool::run(name, &["-v"], LISTING_BYTES_MAX)?;
    }
    let said = tool::run("pdfinfo", &["-v"], LISTING_BYTES_MAX)?.messages;
    let number = said.lines().next().and_then(|line| line.strip_prefix("pdfinfo version "));
    Ok(number.unwrap_or("unknown").trim().to_owned())
}

impl Pdf {
    pub fn open(bytes: &[u8], config: &OcrConfig) -> Result<Self, Refusal> {
        let file = Bytes::of(bytes)?;
        let last = config.pages_max.to_string();
        let answer = tool::run("pdfinfo", &["-enc", "UTF-8", "-f", "1", "-l", &last, &file.path], LISTING_BYTES_MAX)?;
        if !answer.succeeded {
            return Err(refusal(&answer.messages).into());
        }
        let (pages, sizes) = described(&String::from_utf8_lossy(&answer.output)).ok_or(Unreadable::Corrupt)?;
        Ok(Self { file, pages, sizes })
    }

    pub fn pages(&self) -> u32 {
        self.pages
    }

    pub fn read(&self, number: u32, config: &OcrConfig, recognizer: &mut Recognizer) -> Result<PageText, Refusal> {
        let path = &self.file.path;
        let index = (number as usize).checked_sub(1);
        let size = *index.and_then(|index| self.sizes.get(index)).ok_or(Unreadable::Corrupt)?;
        let text = text_of(path, number, config)?;
        let layer = text_layer::judge(&text, is_scan(path, number, size)?);
        let words = text_layer::words_of(&text);
        let layer_text = PageText { source: TextSource::TextLayer, confidence: None, words, text, layout: None };
        if layer == Layer::Good {
            return Ok(layer_text);
        }
        match ocr_of(path, number, size, config, recognizer) {
            Ok(read) if layer == Layer::Useless || read.words > words => Ok(read),
            Err(Refusal::Fact(reason)) if layer == Layer::Useless => Err(reason.into()),
            Err(Refusal::Crash(error)) => Err(error.into()),
            Ok(_) | Err(Refusal::Fact(_)) => Ok(layer_text),
        }
    }
}

fn refusal(messages: &str) -> Unreadable {
    if messages.contains("Incorrect password") {
        Unreadable::Encrypted
    } else if messages.contains("can not be after the last page (0)") {
        Unreadable::Empty
    } else {
        Unreadable::Corrupt
    }
}

/// From what `pdfinfo` says. The document's own title and subject stand before the number of pages and may pretend to be
/// it, so the last one counts.
fn described(listing: &str) -> Option<(u32, Vec<Size>)> {
    let facts = listing.rsplit_once("\nPages:").map(|(_, rest)| rest).or_else(|| listing.strip_prefix("Pages:"))?;
    let pages = facts.lines().next()?.trim().parse().ok()?;
    let sizes = facts.lines().filter_map(size_in).collect();
    Some((pages, sizes))
}

/// From a line such as `Page    1 size: 595.276 x 841.89 pts (A4)`.
fn size_in(line: &str) -> Option<Size> {
    let (_, size) = line.strip_prefix("Page ")?.split_once(" size:")?;
    let mut words = size.split_whitespace();
    let width = words.next()?.parse().ok()?;
    let height = words.nth(1)?.parse().ok()?;
    Some(Size(width, height))
}

fn text_of(path: &str, number: u32, config: &OcrConfig) -> Result<String, Refusal> {
    let page = number.to_string();
    let arguments = ["-f", &page, "-l", &page, "-enc", "UTF-8", "-nopgbrk", "-q", path, "-"];
    let Answer { succeeded, output, is_cut, .. } = tool::run("pdftotext", &arguments, config.text_bytes_max)?;
    if is_cut {
        return Err(Unreadable::TooLarge.into());
    }
    // A page whose text can not be taken may still be rendered.
    Ok(if succeeded { String::from_utf8_lossy(&output).into_owned() } else { String::new() })
}

/// Whether a picture covers most of the page.
fn is_scan(path: &str, number: u32, size: Size) -> Result<bool, Refusal> {
    let page = number.to_string();
    let Answer { output, .. } = tool::run("pdfimages", &["-list", "-f", &page, "-l", &page, path], LISTING_BYTES_MAX)?;
    let page_area = size.0 * size.1 / (POINTS_PER_INCH * POINTS_PER_INCH);
    Ok(String::from_utf8_lossy(&output).lines().filter_map(drawn_area).any(|area| area >= page_area / 2.0))
}

/// Square inches of a picture on its page, from a row of `pdfimages -list`:
/// page, num, type, width, height, color, comp, bpc, enc, interp, object, ID, x-ppi, y-ppi, size, ratio.
fn drawn_area(row: &str) -> Option<f64> {
    let columns: Vec<&str> = row.split_whitespace().collect();
    if !matches!(*columns.get(2)?, "image" | "mask" | "stencil") {
        return None;
    }
    // An inline picture has one word in the place of object and ID, so the resolution is counted from the end.
    let at = |index: usize| columns.get(index)?.parse::<f64>().ok();
    let end = columns.len();
    let (x_ppi, y_ppi) = (at(end.checked_sub(4)?)?, at(end.checked_sub(3)?)?);
    (x_ppi > 0.0 && y_ppi > 0.0).then_some(at(3)? / x_ppi * (at(4)? / y_ppi))
}

fn ocr_of(
    path: &str,
    number: u32,
    size: Size,
    config: &OcrConfig,
    recognizer: &mut Recognizer,
) -> Result<PageText, Refusal> {
    let dpi = resolution(size, config)?;
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
    Ok(recognizer.read(number, &picture::decode(&output)?, Some(dpi))?)
}

/// The wanted resolution, or what is possible of it on a page as large as a wall.
fn resolution(Size(width, height): Size, config: &OcrConfig) -> Result<u32, Unreadable> {
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
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(dpi as u32)
}

#[cfg(test)]
mod tests;
