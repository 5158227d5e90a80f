use super::*;
use crate::layout::{Line, Word};

fn page(source: TextSource, confidence: Option<f64>, words: u32, text: &str) -> Result<Page, Unreadable> {
    Ok(Page { source, confidence, words, text: text.to_owned(), layout: None })
}

fn reading(kind: Kind, pages: Vec<Result<Page, Unreadable>>) -> Reading {
    let mut reading = Reading::of("5.3.0", "22.12.0", kind);
    for (number, page) in (1..).zip(pages) {
        reading.add(number, page);
    }
    reading
}

#[test]
fn a_page_that_fails_does_not_lose_the_others() {
    let reading = reading(
        Kind::Pdf,
        vec![
            page(TextSource::Ocr, Some(90.0), 30, "eins"),
            Err(Unreadable::Corrupt),
            page(TextSource::Ocr, Some(60.04), 10, "drei"),
            page(TextSource::TextLayer, None, 500, "vier"),
        ],
    );
    assert_eq!(reading.reason(), None);
    assert_eq!(reading.text(), "eins\u{c}\u{c}drei\u{c}vier");
    assert_eq!(reading.pages().iter().map(|page| page.number).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!(reading.confidence(), Some(82.5), "by words, and without the text layer");
    assert_eq!(reading.engine().as_deref(), Some("tesseract 5.3.0, poppler 22.12.0"));
}

#[test]
fn the_reason_is_the_first_pages_when_none_could_be_read() {
    let all_fail = reading(Kind::Tiff, vec![Err(Unreadable::TooLargeImage), Err(Unreadable::Corrupt)]);
    assert_eq!(all_fail.reason(), Some(Unreadable::TooLargeImage));
    let blank = reading(Kind::Tiff, vec![Err(Unreadable::Corrupt), page(TextSource::Ocr, None, 0, "")]);
    assert_eq!(blank.reason(), Some(Unreadable::NoText));
    assert_eq!(blank.pages().len(), 1, "it was looked at");
    let slow = reading(Kind::Tiff, vec![page(TextSource::Ocr, None, 0, ""), Err(Unreadable::TooSlow)]);
    assert_eq!(slow.reason(), Some(Unreadable::TooSlow), "not all of it is known to be blank");
    assert_eq!(Reading::unreadable(Unreadable::Encrypted).reason(), Some(Unreadable::Encrypted));
}

#[test]
fn text_that_was_text_already_has_no_engine_and_no_confidence() {
    let reading = reading(Kind::Plain, vec![page(TextSource::TextLayer, None, 2, "a b")]);
    assert_eq!((reading.engine(), reading.confidence(), reading.used_ocr()), (None, None, false));
}

#[test]
fn an_excerpt_is_whole_words_in_one_line() {
    assert_eq!(excerpt("  Sehr\n\n geehrte\tFrau\u{0}Beispiel,\u{c} "), Some("Sehr geehrte Frau Beispiel,".to_owned()));
    let long = excerpt(&"wörter ".repeat(100)).unwrap_or_default();
    assert!(long.chars().count() <= EXCERPT_CHARS_MAX && long.ends_with("wörter"), "{long}");
    assert_eq!(excerpt(&"ü".repeat(500)), Some("ü".repeat(EXCERPT_CHARS_MAX)));
    assert_eq!(excerpt(" \n\t\u{c}"), None);
    assert_eq!(excerpt("Konto\u{202E}drawkcab\u{2069}"), Some("Kontodrawkcab".to_owned()));
}

#[test]
fn what_is_kept_of_layouts_is_bounded_in_bytes_too() {
    const WORD_BYTES: usize = 3 * 1024 * 1024;
    let word = Word { left: 0, top: 0, width: 9, height: 9, confidence: None, text: "y".repeat(WORD_BYTES) };
    let lines: Vec<Line> = Line::around(vec![word]).into_iter().collect();
    let layout = PageLayout { number: 1, width: 9, height: 9, dpi: 72, rotation: 0, skew: 0.0, language: None, lines };
    let mut reading = Reading::of("5.3.0", "22.12.0", Kind::Pdf);
    for number in 1..=9 {
        let page = Page { source: TextSource::Ocr, confidence: None, words: 1, text: "y".to_owned(), layout: None };
        reading.add(number, Ok(Page { layout: Some(layout.clone()), ..page }));
    }
    let kept: usize = reading.layouts().flat_map(PageLayout::words).map(|word| word.text.len()).sum();
    assert_eq!(kept, 2 * WORD_BYTES);
    assert_eq!(reading.pages().len(), 9, "their texts are");
}
