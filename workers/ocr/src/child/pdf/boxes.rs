//! Where the words of a text layer stand, from `pdftotext -bbox-layout`: XHTML with a box in points for each word.

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};

use super::{POINTS_PER_INCH, Size};
use crate::{
    child::xml::character,
    layout::{Line, PageLayout, Word},
};

/// Of the grid in which the boxes are given; a text layer has no pixels of its own.
const GRID_DPI: u32 = 300;

/// None when there is no word, or the tool has written something else.
pub fn layout(number: u32, size: Size, xhtml: &[u8]) -> Option<PageLayout> {
    let (mut lines, mut words, mut open) = (Vec::new(), Vec::new(), None);
    let mut reader = Reader::from_reader(xhtml);
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) if tag.name().as_ref() == b"word" => open = Some(word(&tag)?),
            Event::Text(text) => {
                if let Some(word) = &mut open {
                    word.text.push_str(&text.decode().ok()?);
                }
            }
            Event::GeneralRef(reference) => {
                if let Some(word) = &mut open {
                    word.text.push_str(&character(&reference)?);
                }
            }
            Event::End(tag) => match tag.name().as_ref() {
                b"word" => words.extend(open.take()),
                b"line" => lines.extend(Line::around(std::mem::take(&mut words))),
                _ => {}
            },
            Event::Eof => break,
            _ => {}
        }
    }
    let (width, height) = size.shown();
    let layout = PageLayout {
        number,
        width: on_grid(width).max(1),
        height: on_grid(height).max(1),
        dpi: GRID_DPI,
        rotation: 0,
        skew: 0.0,
        language: None,
        lines,
    };
    (!layout.lines.is_empty()).then_some(layout)
}

fn word(tag: &BytesStart<'_>) -> Option<Word> {
    let side = |name: &str| -> Option<f64> {
        let attribute = tag.try_get_attribute(name).ok()??;
        std::str::from_utf8(&attribute.value).ok()?.parse().ok()
    };
    let (left, top, right, bottom) = (side("xMin")?, side("yMin")?, side("xMax")?, side("yMax")?);
    let (left, top, right, bottom) = (on_grid(left), on_grid(top), on_grid(right), on_grid(bottom));
    let (width, height) = (right.saturating_sub(left), bottom.saturating_sub(top));
    Some(Word { left, top, width, height, confidence: None, text: String::new() })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn on_grid(points: f64) -> u32 {
    (points * f64::from(GRID_DPI) / POINTS_PER_INCH).round() as u32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A4: Size = Size { width: 595.0, height: 842.0, rotation: 0 };

    #[test]
    fn words_are_taken_with_their_boxes_and_lines() {
        let xhtml = br#"<!DOCTYPE html PUBLIC "x" "y"><html><body><doc><page width="595" height="842"><flow><block>
            <line xMin="72" yMin="36" xMax="200" yMax="48"><word xMin="72" yMin="36" xMax="144" yMax="48">A&amp;B</word>
            <word xMin="150" yMin="36" xMax="200" yMax="48">&#x20AC;5</word></line></block></flow></page></doc></body></html>"#;
        let layout = layout(2, A4, xhtml).unwrap();
        assert_eq!((layout.number, layout.width, layout.height, layout.dpi), (2, 2_479, 3_508, 300));
        let [line] = layout.lines.as_slice() else { panic!("{layout:?}") };
        assert_eq!((line.left, line.top, line.width, line.height), (300, 150, 533, 50));
        assert_eq!(line.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>(), ["A&B", "€5"]);
    }

    #[test]
    fn a_page_that_is_shown_lying_has_the_sides_that_are_seen() {
        let xhtml = br#"<line><word xMin="1" yMin="1" xMax="2" yMax="2">x</word></line>"#;
        let layout = layout(1, Size { rotation: 90, ..A4 }, xhtml).unwrap();
        assert_eq!((layout.width, layout.height), (3_508, 2_479));
    }

    #[test]
    fn what_is_no_list_of_words_gives_none() {
        for xhtml in [
            &b""[..],
            b"<doc></doc>",
            b"<line><word>x</word></line>",
            b"<line><word xMin=\"a\" yMin=\"1\" xMax=\"2\" yMax=\"2\">x</word></line>",
            b"<line><word xMin=\"1\" yMin=\"1\" xMax=\"2\" yMax=\"2\">&bomb;</word></line>",
            b"<line></word></line>",
        ] {
            assert_eq!(layout(1, A4, xhtml), None, "{}", String::from_utf8_lossy(xhtml));
        }
    }
}
