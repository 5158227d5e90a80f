//! PDF through poppler's tools, each a process of its own: `pdfinfo` (pages and their sizes), `pdftotext` (the text
//! layer), `pdfimages` (is the page a scan?), `pdftoppm` (the page as a picture).
//!
//! A scan is rendered, not taken out of the file: the renderer knows rotation, masks and what else lies on the page, and
//! costs a twentieth of the OCR that follows.

mod boxes;
mod render;

use std::{fs::File, io::Write, os::fd::AsRawFd};

use super::{
    Error, PageText, Refusal,
    recognizer::Recognizer,
    text_layer::{self, Layer},
    tool::{self, Answer},
};
use crate::{
    OcrConfig, Unreadable,
    layout::{LAYOUT_BYTES_MAX, PageLayout},
};
use docfleet_events::TextSource;

/// A line or two for each page and image.
const LISTING_BYTES_MAX: usize = 1024 * 1024;
const POINTS_PER_INCH: f64 = 72.0;

/// In points, before the rotation with which the page is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Size {
    width: f64,
    height: f64,
    /// Degrees clockwise.
    rotation: u32,
}

impl Size {
    /// Width and height as one sees them.
    fn shown(self) -> (f64, f64) {
        if self.rotation.is_multiple_of(180) { (self.width, self.height) } else { (self.height, self.width) }
    }
}

/// A picture on a page.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scan {
    /// Square inches of the page.
    area: f64,
    /// Its pixels an inch.
    dpi: f64,
}

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

    /// The page in colours as a JPEG, and its sides in points as it is shown.
    pub fn draw(&self, number: u32, config: &OcrConfig) -> Result<(Vec<u8>, (f32, f32)), Refusal> {
        let index = (number as usize).checked_sub(1);
        let size = *index.and_then(|index| self.sizes.get(index)).ok_or(Unreadable::Corrupt)?;
        let jpeg = render::jpeg(&self.file.path, number, size, config)?;
        #[allow(clippy::cast_possible_truncation)]
        let points = |(width, height): (f64, f64)| (width as f32, height as f32);
        Ok((jpeg, points(size.shown())))
    }

    pub fn read(&self, number: u32, config: &OcrConfig, recognizer: &mut Recognizer) -> Result<PageText, Refusal> {
        let path = &self.file.path;
        let index = (number as usize).checked_sub(1);
        let size = *index.and_then(|index| self.sizes.get(index)).ok_or(Unreadable::Corrupt)?;
        let text = text_of(path, number, config)?;
        let scan = scan_of(path, number, size)?;
        let layer = text_layer::judge(&text, scan.is_some());
        let words = text_layer::words_of(&text);
        let of_layer = |text| {
            let layout = boxes_of(path, number, size)?;
            Ok(PageText { source: TextSource::TextLayer, confidence: None, words, text, layout })
        };
        if layer == Layer::Good {
            return of_layer(text);
        }
        let page = render::page(path, number, size, scan, config);
        match page.and_then(|page| Ok(recognizer.read_page(number, page)?)) {
            Ok(read) if layer == Layer::Useless || read.words > words => Ok(read),
            Err(Refusal::Fact(reason)) if layer == Layer::Useless => Err(reason.into()),
            Err(Refusal::Crash(error)) => Err(error.into()),
            Ok(_) | Err(Refusal::Fact(_)) => of_layer(text),
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
    let mut sizes: Vec<Size> = Vec::new();
    for line in facts.lines() {
        if let Some(size) = size_in(line) {
            sizes.push(size);
        } else if let (Some(size), Some(rotation)) = (sizes.last_mut(), rotation_in(line)) {
            size.rotation = rotation;
        }
    }
    Some((pages, sizes))
}

/// From a line such as `Page    1 rot:  90`, which follows that of the page's size.
fn rotation_in(line: &str) -> Option<u32> {
    let (_, degrees) = line.strip_prefix("Page ")?.split_once(" rot:")?;
    degrees.trim().parse::<i32>().ok().map(|degrees| degrees.rem_euclid(360).unsigned_abs())
}

/// From a line such as `Page    1 size: 595.276 x 841.89 pts (A4)`.
fn size_in(line: &str) -> Option<Size> {
    let (_, size) = line.strip_prefix("Page ")?.split_once(" size:")?;
    let mut words = size.split_whitespace();
    let width = words.next()?.parse().ok()?;
    let height = words.nth(1)?.parse().ok()?;
    Some(Size { width, height, rotation: 0 })
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

/// The picture that covers most of the page.
fn scan_of(path: &str, number: u32, size: Size) -> Result<Option<Scan>, Refusal> {
    let page = number.to_string();
    let Answer { output, .. } = tool::run("pdfimages", &["-list", "-f", &page, "-l", &page, path], LISTING_BYTES_MAX)?;
    let page_area = size.width * size.height / (POINTS_PER_INCH * POINTS_PER_INCH);
    let listing = String::from_utf8_lossy(&output);
    let pictures = listing.lines().filter_map(drawn).filter(|picture| picture.area >= page_area / 2.0);
    Ok(pictures.max_by(|one, other| one.area.total_cmp(&other.area)))
}

/// A picture on its page, from a row of `pdfimages -list`:
/// page, num, type, width, height, color, comp, bpc, enc, interp, object, ID, x-ppi, y-ppi, size, ratio.
fn drawn(row: &str) -> Option<Scan> {
    let columns: Vec<&str> = row.split_whitespace().collect();
    if !matches!(*columns.get(2)?, "image" | "mask" | "stencil") {
        return None;
    }
    // An inline picture has one word in the place of object and ID, so the resolution is counted from the end.
    let at = |index: usize| columns.get(index)?.parse::<f64>().ok();
    let end = columns.len();
    let (x_ppi, y_ppi) = (at(end.checked_sub(4)?)?, at(end.checked_sub(3)?)?);
    let area = at(3)? / x_ppi * (at(4)? / y_ppi);
    (x_ppi > 0.0 && y_ppi > 0.0).then_some(Scan { area, dpi: x_ppi.min(y_ppi) })
}

/// Where the words of the text layer stand; the text is good without it.
fn boxes_of(path: &str, number: u32, size: Size) -> Result<Option<PageLayout>, Refusal> {
    let page = number.to_string();
    let arguments = ["-bbox-layout", "-cropbox", "-f", &page, "-l", &page, "-enc", "UTF-8", "-q", path, "-"];
    let Answer { succeeded, output, is_cut, .. } = tool::run("pdftotext", &arguments, LAYOUT_BYTES_MAX)?;
    Ok(if succeeded && !is_cut { boxes::layout(number, size, &output) } else { None })
}

#[cfg(test)]
mod tests;
