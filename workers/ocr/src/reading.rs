//! What came out of a document.

use docfleet_events::{PageText, TextSource};

use crate::{Kind, Unreadable, language, layout::PageLayout};

const EXCERPT_CHARS_MAX: usize = 120;
/// Words with their places that are kept of one document; pages beyond it have their text only.
const LAYOUT_WORDS_MAX: usize = 200_000;
/// Of those words' own bytes: a child that was taken over may claim a few words of megabytes.
const LAYOUT_TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;
pub const PAGE_BREAK: char = '\u{c}';

/// A page that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub source: TextSource,
    pub confidence: Option<f64>,
    pub words: u32,
    /// [`clean`].
    pub text: String,
    /// None where the words' places are not known: plain text, or too many of them.
    pub layout: Option<PageLayout>,
}

/// A document that was read, or why it was not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// At index n page n + 1.
    pages: Vec<Result<Page, Unreadable>>,
    refused: Option<Unreadable>,
    text_bytes: usize,
    layout_words: usize,
    layout_text_bytes: usize,
    ocr_engine: String,
    layer_engine: Option<String>,
}

impl Reading {
    pub fn unreadable(reason: Unreadable) -> Self {
        Self { refused: Some(reason), ..Self::default() }
    }

    /// Nothing yet.
    pub fn of(tesseract: &str, poppler: &str, kind: Kind) -> Self {
        let layer_engine = (kind == Kind::Pdf).then(|| format!("poppler {poppler}"));
        Self { ocr_engine: format!("tesseract {tesseract}"), layer_engine, ..Self::default() }
    }

    /// Pages come in order, from 1. One that could not be read does not lose the others.
    pub fn add(&mut self, number: u32, mut page: Result<Page, Unreadable>) {
        debug_assert_eq!(self.pages.len() + 1, number as usize);
        self.text_bytes += 1 + page.as_ref().map_or(0, |page| page.text.len());
        if let Ok(Page { layout, .. }) = &mut page {
            self.layout_words += layout.as_ref().map_or(0, |layout| layout.words().count());
            let bytes = |layout: &PageLayout| layout.words().map(|word| word.text.len()).sum::<usize>();
            self.layout_text_bytes += layout.as_ref().map_or(0, bytes);
            if self.layout_words > LAYOUT_WORDS_MAX || self.layout_text_bytes > LAYOUT_TEXT_BYTES_MAX {
                *layout = None;
            }
        }
        self.pages.push(page);
    }

    /// Where the words stand, of the pages of which it is known.
    pub fn layouts(&self) -> impl Iterator<Item = &PageLayout> {
        self.pages.iter().flatten().filter_map(|page| page.layout.as_ref())
    }

    /// The pages that were read, with their numbers.
    pub fn numbered_mut(&mut self) -> impl Iterator<Item = (u32, &mut Page)> {
        (1..).zip(&mut self.pages).filter_map(|(number, page)| Some((number, page.as_mut().ok()?)))
    }

    /// The pages that could not be read, from 1, and why.
    pub fn unread(&self) -> Vec<(u32, Unreadable)> {
        (1..).zip(&self.pages).filter_map(|(number, page)| Some((number, *page.as_ref().err()?))).collect()
    }

    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Why there is no text; none when there is some.
    pub fn reason(&self) -> Option<Unreadable> {
        if self.refused.is_some() {
            return self.refused;
        }
        let read = || self.pages.iter().flatten();
        if read().any(|page| page.words > 0) {
            None
        } else if self.pages.contains(&Err(Unreadable::TooSlow)) {
            // Blank pages before it say nothing of what was not looked at.
            Some(Unreadable::TooSlow)
        } else if read().next().is_some() {
            Some(Unreadable::NoText)
        } else {
            // Not one page: the first says why.
            self.pages.iter().find_map(|page| page.as_ref().err().copied()).or(Some(Unreadable::Empty))
        }
    }

    /// The pages that were read, with their numbers; a gap is a page that could not be.
    pub fn pages(&self) -> Vec<PageText> {
        let numbered = (1..).zip(&self.pages).filter_map(|(number, page)| Some((number, page.as_ref().ok()?)));
        numbered
            .map(|(number, page)| PageText {
                number,
                source: page.source,
                confidence: page.confidence.map(rounded),
                words: i32::try_from(page.words).unwrap_or(i32::MAX),
            })
            .collect()
    }

    /// All pages, also those that could not be read, between page breaks.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.text_bytes);
        for (index, page) in self.pages.iter().enumerate() {
            if index > 0 {
                text.push(PAGE_BREAK);
            }
            text.push_str(page.as_ref().map_or("", |page| &page.text));
        }
        text
    }

    /// The mean of the pages read by OCR, weighted by their words.
    pub fn confidence(&self) -> Option<f64> {
        let (mut words, mut sum) = (0.0, 0.0);
        for page in self.pages.iter().flatten() {
            if let Some(confidence) = page.confidence {
                words += f64::from(page.words);
                sum += confidence * f64::from(page.words);
            }
        }
        (words > 0.0).then(|| rounded(sum / words))
    }

    /// Code of ISO 639-3 of the language that most of it is in, where that is sure.
    pub fn language(&self) -> Option<&'static str> {
        language::of(&self.text())
    }

    pub fn used_ocr(&self) -> bool {
        self.pages.iter().flatten().any(|page| page.source == TextSource::Ocr)
    }

    /// What read it, with versions; none for a document that was text already.
    pub fn engine(&self) -> Option<String> {
        let layer = self.pages.iter().flatten().any(|page| page.source == TextSource::TextLayer);
        let parts = [self.used_ocr().then_some(&self.ocr_engine), self.layer_engine.as_ref().filter(|_| layer)];
        let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

fn rounded(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

/// The first words, at most 120 characters in one line.
pub fn excerpt(text: &str) -> Option<String> {
    let mut excerpt = String::new();
    let mut chars = 0;
    let visible: String = text
        .chars()
        .take(EXCERPT_CHARS_MAX * 50)
        .map(|c| if c.is_control() { ' ' } else { c })
        .filter(|c| !is_directive(*c))
        .collect();
    for word in visible.split_whitespace() {
        let length = word.chars().count();
        let gap = usize::from(chars > 0);
        if chars + gap + length > EXCERPT_CHARS_MAX {
            if chars == 0 {
                excerpt = word.chars().take(EXCERPT_CHARS_MAX).collect();
            }
            break;
        }
        if gap == 1 {
            excerpt.push(' ');
        }
        excerpt.push_str(word);
        chars += gap + length;
    }
    (!excerpt.is_empty()).then_some(excerpt)
}

/// Invisible characters that turn the writing around or hide in a word.
fn is_directive(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests;
