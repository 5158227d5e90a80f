//! Where the words of a page stand: what hOCR and a searchable PDF are made of.

#[cfg(test)]
mod fuzz;
mod hocr;

use serde::{Deserialize, Serialize};

pub use hocr::hocr;

/// JSON of one page's layout; a page of 5,000 words has half a megabyte.
pub const LAYOUT_BYTES_MAX: usize = 4 * 1024 * 1024;
const SKEW_DEGREES_MAX: f32 = 45.0;
const LANGUAGE_BYTES_MAX: usize = 40;

/// All pages' layouts as they are stored, those only of which one is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocumentLayout {
    /// What read it, with versions.
    pub engine: Option<String>,
    pub pages: Vec<PageLayout>,
}

/// The words of a page, with their places in pixels of the page as one reads it: upright, but not deskewed, the origin in
/// the upper left corner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageLayout {
    /// From 1.
    pub number: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Pixels an inch. What the file says, else a guess from the page's size; never 0.
    pub dpi: u32,
    /// Degrees clockwise by which the page was turned to be upright: 0, 90, 180 or 270.
    pub rotation: u16,
    /// Degrees clockwise by which its lines hang, after the rotation.
    pub skew: f32,
    /// Code of ISO 639-3 of the language that it is in; where that is not sure, Tesseract's codes with which it was read, or
    /// none for a text layer.
    pub language: Option<String>,
    /// In reading order; none is empty.
    pub lines: Vec<Line>,
}

/// A line of text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
    pub words: Vec<Word>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
    /// 0 to 100; none in a text layer.
    pub confidence: Option<f32>,
    pub text: String,
}

impl PageLayout {
    /// What a child claims, within its ranges: boxes lie on the page, texts are [`clean`]. None when no word is left.
    ///
    /// # Errors
    /// It is no layout at all, or that of another page.
    pub fn claimed(json: &[u8], number: u32) -> Result<Option<Self>, String> {
        if json.is_empty() {
            return Ok(None);
        }
        // Without the parser's own words: they may come from a document.
        let mut layout: Self =
            serde_json::from_slice(json).map_err(|_| "a layout that is not understood".to_owned())?;
        if layout.number != number || layout.width == 0 || layout.height == 0 || layout.dpi == 0 {
            return Err("a layout of no page".to_owned());
        }
        layout.rotation = layout.rotation / 90 % 4 * 90;
        layout.skew =
            if layout.skew.is_finite() { layout.skew.clamp(-SKEW_DEGREES_MAX, SKEW_DEGREES_MAX) } else { 0.0 };
        layout.language = layout.language.filter(|code| is_language(code));
        let (width, height) = (layout.width, layout.height);
        for line in &mut layout.lines {
            line.clip(width, height);
        }
        layout.lines.retain(|line| !line.words.is_empty());
        // Room for words that were claimed and dropped is not to be kept for the rest of the document.
        layout.lines.shrink_to_fit();
        Ok((!layout.lines.is_empty()).then_some(layout))
    }

    /// All words in reading order.
    pub fn words(&self) -> impl Iterator<Item = &Word> {
        self.lines.iter().flat_map(|line| &line.words)
    }
}

impl Line {
    /// Its words with a blank between them.
    pub fn text(&self) -> String {
        self.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Around its words; none when there is no word.
    pub fn around(words: Vec<Word>) -> Option<Self> {
        let left = words.iter().map(|word| word.left).min()?;
        let top = words.iter().map(|word| word.top).min()?;
        let right = words.iter().map(|word| word.left.saturating_add(word.width)).max()?;
        let bottom = words.iter().map(|word| word.top.saturating_add(word.height)).max()?;
        Some(Self { left, top, width: right - left, height: bottom - top, words })
    }

    fn clip(&mut self, width: u32, height: u32) {
        (self.left, self.width) = within(self.left, self.width, width);
        (self.top, self.height) = within(self.top, self.height, height);
        for word in &mut self.words {
            (word.left, word.width) = within(word.left, word.width, width);
            (word.top, word.height) = within(word.top, word.height, height);
            word.text = clean(&word.text);
            word.confidence = word.confidence.filter(|c| c.is_finite()).map(|c| c.clamp(0.0, 100.0));
        }
        self.words.retain(|word| !word.text.trim().is_empty());
        self.words.shrink_to_fit();
    }
}

/// Text for storing: without control characters but line ends and tabs, which PostgreSQL, terminals and browsers take
/// for something else, and without blank ends.
pub fn clean(text: &str) -> String {
    let kept: String = text.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect();
    kept.trim_end().to_owned()
}

/// Start and length on an axis of `end` pixels; at least one pixel is left.
fn within(start: u32, length: u32, end: u32) -> (u32, u32) {
    let start = start.min(end - 1);
    (start, length.clamp(1, end - start))
}

fn is_language(code: &str) -> bool {
    (1..=LANGUAGE_BYTES_MAX).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'+'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_stored_has_no_control_characters() {
        assert_eq!(clean("Grüße\0 aus\u{7}\u{1b}[31m\tdem\r\nBüro\u{c}\n\n "), "Grüße aus[31m\tdem\nBüro");
    }

    fn word(left: u32, top: u32, text: &str) -> Word {
        Word { left, top, width: 40, height: 10, confidence: Some(90.0), text: text.to_owned() }
    }

    fn page(words: Vec<Word>) -> PageLayout {
        PageLayout {
            number: 3,
            width: 100,
            height: 50,
            dpi: 72,
            rotation: 0,
            skew: 0.0,
            language: Some("deu+eng".to_owned()),
            lines: Line::around(words).into_iter().collect(),
        }
    }

    fn claimed(layout: &PageLayout) -> Option<PageLayout> {
        PageLayout::claimed(&serde_json::to_vec(layout).unwrap(), 3).unwrap()
    }

    #[test]
    fn an_honest_layout_passes_as_it_is() {
        let honest = page(vec![word(1, 2, "Konto"), word(50, 3, "4711")]);
        assert_eq!(claimed(&honest), Some(honest.clone()));
        let line = &honest.lines[0];
        assert_eq!((line.left, line.top, line.width, line.height), (1, 2, 89, 11));
        assert_eq!(honest.words().map(|word| word.text.as_str()).collect::<Vec<_>>(), ["Konto", "4711"]);
    }

    #[test]
    fn a_claim_is_brought_onto_the_page() {
        let far = Word { left: u32::MAX, top: 49, width: u32::MAX, height: 0, ..word(0, 0, "a\0b") };
        let liar = PageLayout {
            rotation: 455,
            skew: 1e30,
            language: Some("../etc".to_owned()),
            ..page(vec![Word { confidence: Some(1e30), ..far }, word(0, 0, " \u{7}")])
        };
        let layout = claimed(&liar).unwrap();
        assert_eq!((layout.rotation, layout.skew, layout.language.as_deref()), (90, 45.0, None));
        let [only] = layout.lines[0].words.as_slice() else { panic!("{layout:?}") };
        assert_eq!((only.left, only.width, only.top, only.height), (99, 1, 49, 1));
        assert_eq!((only.text.as_str(), only.confidence), ("ab", Some(100.0)));
    }

    #[test]
    fn a_layout_without_a_word_is_none() {
        assert_eq!(claimed(&page(vec![word(0, 0, "\u{1}")])), None);
        assert_eq!(claimed(&page(vec![])), None);
        assert_eq!(PageLayout::claimed(b"", 1), Ok(None));
    }

    #[test]
    fn what_is_no_layout_is_an_error_without_its_words() {
        let empty = PageLayout { width: 0, ..page(vec![]) };
        for json in [&b"{"[..], b"null", b"[[[[", &serde_json::to_vec(&empty).unwrap()] {
            assert!(PageLayout::claimed(json, 3).is_err());
        }
        let other = serde_json::to_vec(&page(vec![word(0, 0, "secret")])).unwrap();
        assert!(PageLayout::claimed(&other, 4).is_err_and(|why| !why.contains("secret")));
    }
}
