//! A PDF that looks like the document and whose text can be searched and copied: a picture of each page, and behind it
//! the words where they stand, invisible.
//!
//! Nothing foreign is parsed here: pictures come encoded, words as text.

use std::f32::consts::PI;

use miniz_oxide::deflate::compress_to_vec_zlib;
use pdf_writer::{
    Content, Filter, Finish, Name, Pdf, Rect, Ref, Str,
    types::{CidFontType, FontFlags, SystemInfo, TextRenderingMode},
};

use crate::layout::{Line, PageLayout, Word};

/// Of Tesseract's own PDFs (Apache-2.0): a font whose only glyph is empty and half as wide as high, so that every program
/// knows the place of a character and none draws it.
const GLYPHLESS: &[u8] = include_bytes!("searchable/glyphless.ttf");
const FONT: Name<'static> = Name(b"F");
const PICTURE: Name<'static> = Name(b"P");
const FONT_NAME: Name<'static> = Name(b"GlyphLessFont");
/// Thousandths of the font's size.
const GLYPH_WIDTH: f32 = 500.0;
const ZLIB_LEVEL: u8 = 6;
const POINTS_PER_INCH: f32 = 72.0;
/// The codes of the text are Unicode already.
const TO_UNICODE: &[u8] = b"/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n\
/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n/CMapName /Adobe-Identity-UCS def\n\
/CMapType 2 def\n1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n1 beginbfrange\n<0000> <FFFF> <0000>\n\
endbfrange\nendcmap\nCMapName currentdict /CMap defineresource pop\nend\nend";

/// How a picture's bytes are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    JpegColour,
    JpegGrey,
    /// A bit a pixel, rows filled up to bytes, compressed by zlib; 1 is white.
    Bits,
}

/// A page as it is seen, upright.
#[derive(Debug, Clone, PartialEq)]
pub struct PagePicture {
    pub bytes: Vec<u8>,
    /// Pixels.
    pub width: u32,
    pub height: u32,
    pub encoding: Encoding,
    /// Sides of the page in points.
    pub points: (f32, f32),
}

/// The document so far.
pub struct Writer {
    pdf: Pdf,
    next: i32,
    pages: Vec<Ref>,
}

const CATALOG: Ref = Ref::new(1);
const PAGE_TREE: Ref = Ref::new(2);
const TYPE0: Ref = Ref::new(3);
const CID: Ref = Ref::new(4);
const DESCRIPTOR: Ref = Ref::new(5);
const CMAP: Ref = Ref::new(6);
const GIDS: Ref = Ref::new(7);
const FONT_FILE: Ref = Ref::new(8);

impl Writer {
    pub fn new() -> Self {
        let mut pdf = Pdf::new();
        pdf.set_version(1, 5);
        pdf.catalog(CATALOG).pages(PAGE_TREE);
        font(&mut pdf);
        Self { pdf, next: FONT_FILE.get() + 1, pages: Vec::new() }
    }

    fn fresh(&mut self) -> Ref {
        let fresh = Ref::new(self.next);
        self.next += 1;
        fresh
    }

    /// Adds a page. Places of the words are in pixels of the layout, whatever the picture has.
    pub fn page(&mut self, picture: &PagePicture, layout: Option<&PageLayout>) {
        let [page, contents, image] = std::array::from_fn(|_| self.fresh());
        let (width, height) = picture.points;
        let mut entry = self.pdf.page(page);
        entry.parent(PAGE_TREE).media_box(Rect::new(0.0, 0.0, width, height)).contents(contents);
        let mut resources = entry.resources();
        resources.x_objects().pair(PICTURE, image);
        resources.fonts().pair(FONT, TYPE0);
        resources.finish();
        entry.finish();
        self.pages.push(page);
        let mut content = Content::new();
        content.save_state().transform([width, 0.0, 0.0, height, 0.0, 0.0]).x_object(PICTURE).restore_state();
        if let Some(layout) = layout {
            write_text(&mut content, layout, picture.points);
        }
        let content = compress_to_vec_zlib(content.finish().as_slice(), ZLIB_LEVEL);
        self.pdf.stream(contents, &content).filter(Filter::FlateDecode);
        self.image(image, picture);
    }

    fn image(&mut self, id: Ref, picture: &PagePicture) {
        let side = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
        let mut image = self.pdf.image_xobject(id, &picture.bytes);
        image.width(side(picture.width)).height(side(picture.height));
        let (filter, bits, is_colour) = match picture.encoding {
            Encoding::JpegColour => (Filter::DctDecode, 8, true),
            Encoding::JpegGrey => (Filter::DctDecode, 8, false),
            Encoding::Bits => (Filter::FlateDecode, 1, false),
        };
        image.filter(filter);
        image.bits_per_component(bits);
        if is_colour { image.color_space().device_rgb() } else { image.color_space().device_gray() }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.pdf.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    pub fn finish(mut self) -> Vec<u8> {
        let count = i32::try_from(self.pages.len()).unwrap_or(i32::MAX);
        self.pdf.pages(PAGE_TREE).kids(self.pages).count(count);
        self.pdf.finish()
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

fn font(pdf: &mut Pdf) {
    pdf.type0_font(TYPE0)
        .base_font(FONT_NAME)
        .encoding_predefined(Name(b"Identity-H"))
        .descendant_font(CID)
        .to_unicode(CMAP);
    pdf.cid_font(CID)
        .subtype(CidFontType::Type2)
        .base_font(FONT_NAME)
        .system_info(SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 })
        .font_descriptor(DESCRIPTOR)
        .default_width(GLYPH_WIDTH)
        .cid_to_gid_map_stream(GIDS);
    pdf.font_descriptor(DESCRIPTOR)
        .name(FONT_NAME)
        .flags(FontFlags::FIXED_PITCH | FontFlags::SYMBOLIC)
        .bbox(Rect::new(0.0, 0.0, GLYPH_WIDTH, 1_000.0))
        .italic_angle(0.0)
        .ascent(1_000.0)
        .descent(-1.0)
        .cap_height(1_000.0)
        .stem_v(80.0)
        .font_file2(FONT_FILE);
    pdf.stream(CMAP, TO_UNICODE);
    // Every character has the one glyph.
    let gids = compress_to_vec_zlib(&[0, 1].repeat(1 << 16), ZLIB_LEVEL);
    pdf.stream(GIDS, &gids).filter(Filter::FlateDecode);
    pdf.stream(FONT_FILE, GLYPHLESS).pair(Name(b"Length1"), 572);
}

fn write_text(content: &mut Content, layout: &PageLayout, (width, height): (f32, f32)) {
    #[allow(clippy::cast_precision_loss)]
    let scale = (width / layout.width.max(1) as f32, height / layout.height.max(1) as f32);
    content.begin_text().set_text_rendering_mode(TextRenderingMode::Invisible);
    for line in &layout.lines {
        let hangs = Hanging::of(line, layout.skew);
        for word in &line.words {
            write_word(content, word, &hangs, scale, height);
        }
    }
    content.end_text();
}

/// The line on which words stand, which need not be level.
struct Hanging {
    /// Pixels down for each to the right.
    slope: f32,
    left: f32,
    /// Where it is at `left`.
    bottom: f32,
    /// Of its letters.
    height: f32,
    degrees: f32,
}

impl Hanging {
    #[allow(clippy::cast_precision_loss)]
    fn of(line: &Line, skew: f32) -> Self {
        let slope = (skew * PI / 180.0).tan();
        // What the box is higher for the slope alone; never all of it.
        let height = line.height as f32;
        let rise = (slope.abs() * line.width as f32).min(height * 0.7);
        let bottom = (line.top + line.height) as f32;
        let at_left = if slope > 0.0 { bottom - rise } else { bottom };
        Self { slope, left: line.left as f32, bottom: at_left, height: (height - rise).max(1.0), degrees: skew }
    }
}

#[allow(clippy::cast_precision_loss)]
fn write_word(content: &mut Content, word: &Word, line: &Hanging, scale: (f32, f32), page_height: f32) {
    // A code has two bytes: what needs more can not be told to readers.
    let units: Vec<u8> =
        word.text.chars().flat_map(|c| u16::try_from(u32::from(c)).unwrap_or(0xFFFD).to_be_bytes()).collect();
    if units.is_empty() {
        return;
    }
    let size = line.height * scale.1;
    let natural = units.len() as f32 / 2.0 * size * GLYPH_WIDTH / 1_000.0;
    let left = word.left as f32;
    let bottom = line.bottom + line.slope * (left - line.left);
    let (sin, cos) = (-line.degrees * PI / 180.0).sin_cos();
    content.set_font(FONT, size);
    content.set_horizontal_scaling(100.0 * word.width as f32 * scale.0 / natural);
    content.set_text_matrix([cos, sin, -sin, cos, left * scale.0, page_height - bottom * scale.1]);
    // The blank keeps the words apart for programs that only read the characters.
    content.show(Str(&[units.as_slice(), &[0, b' ']].concat()));
}

/// Sides of a page with these pixels.
#[allow(clippy::cast_precision_loss)]
pub fn points(width: u32, height: u32, dpi: u32) -> (f32, f32) {
    let points = |pixels: u32| pixels as f32 * POINTS_PER_INCH / dpi.max(1) as f32;
    (points(width), points(height))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn white(width: u32, height: u32) -> PagePicture {
        let row = width.div_ceil(8) as usize;
        let bytes = compress_to_vec_zlib(&vec![0xFF; row * height as usize], ZLIB_LEVEL);
        PagePicture { bytes, width, height, encoding: Encoding::Bits, points: points(width, height, 72) }
    }

    fn layout(skew: f32, words: &[(&str, u32, u32)]) -> PageLayout {
        let word = |(text, left, top): &(&str, u32, u32)| Word {
            left: *left,
            top: *top,
            width: 60,
            height: 12,
            confidence: None,
            text: (*text).to_owned(),
        };
        let lines = words.chunks(2).filter_map(|line| Line::around(line.iter().map(word).collect())).collect();
        PageLayout { number: 1, width: 300, height: 200, dpi: 72, rotation: 0, skew, language: None, lines }
    }

    /// What poppler makes of it.
    fn text(pdf: &[u8], arguments: &[&str]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("made.pdf");
        std::fs::write(&file, pdf).unwrap();
        let output = std::process::Command::new("pdftotext").args(arguments).arg(&file).arg("-").output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn words_come_back_in_their_order_and_places() {
        let mut writer = Writer::new();
        let words = [("Grüße", 20, 30), ("日本(€)", 100, 30), ("second\\line", 20, 60), ("𝒳!", 100, 60)];
        writer.page(&white(300, 200), Some(&layout(0.0, &words)));
        writer.page(&white(100, 100), None);
        let pdf = writer.finish();
        assert_eq!(
            text(&pdf, &[]).split_whitespace().collect::<Vec<_>>(),
            ["Grüße", "日本(€)", "second\\line", "\u{FFFD}!"]
        );
        let boxes = text(&pdf, &["-bbox", "-l", "1"]);
        let of_first = boxes.lines().find(|line| line.contains("Grüße")).unwrap();
        assert!(of_first.contains("xMin=\"20.0") && of_first.contains("yMin=\"30.0"), "{of_first}");
        assert!(of_first.contains("xMax=\"80.0") && of_first.contains("yMax=\"42.0"), "{of_first}");
    }

    #[test]
    fn a_line_that_hangs_is_one_line() {
        // Three degrees clockwise: 5 pixels down for each 100 to the right.
        let mut writer = Writer::new();
        writer.page(&white(300, 200), Some(&layout(3.0, &[("one", 20, 30), ("two", 180, 38)])));
        assert_eq!(text(&writer.finish(), &[]).split_whitespace().collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn hostile_words_stay_words() {
        let mut writer = Writer::new();
        writer.page(&white(300, 200), Some(&layout(0.0, &[(") Tj ET endstream", 20, 30), ("\\)(", 150, 30)])));
        let back = text(&writer.finish(), &[]);
        assert_eq!(back.split_whitespace().collect::<Vec<_>>().join(" "), ") Tj ET endstream \\)(");
    }
}
