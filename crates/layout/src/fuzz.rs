#![allow(clippy::expect_used)]

use docfleet_fuzz::Target;
use quick_xml::{Reader, events::Event};

use crate::{DocumentLayout, Line, PageLayout, Word, hocr};

#[test]
fn a_claimed_layout_lies_on_its_page_and_its_hocr_is_well_formed() {
    let word = Word { left: 10, top: 10, width: 50, height: 12, confidence: Some(90.0), text: "word".to_owned() };
    let layout = PageLayout {
        number: 1,
        width: 100,
        height: 200,
        dpi: 200,
        rotation: 90,
        skew: 0.5,
        language: Some("deu+eng".to_owned()),
        lines: vec![Line { left: 10, top: 10, width: 50, height: 12, words: vec![word.clone(), word] }],
    };
    Target::new("page-layout")
        .seed(serde_json::to_vec(&layout).unwrap_or_default())
        .tokens(&[
            b"4294967295",
            b"0",
            b"-1",
            b"1e39",
            b"null",
            b"\\u0000",
            b"\"words\":[]",
            b"{}",
            b"[",
            b"\"\"",
            b"<&>]]>",
            b"\\\"",
            b"\\ufffe",
        ])
        .bytes_max(4 * 1024)
        .run(|json| {
            let claimed = PageLayout::claimed(json, 1);
            if let Ok(Some(page)) = &claimed {
                assert!(page.lines.iter().all(|line| !line.words.is_empty()));
                assert!([0, 90, 180, 270].contains(&page.rotation) && page.skew.is_finite());
                for word in page.words() {
                    assert!(u64::from(word.left) + u64::from(word.width) <= u64::from(page.width));
                    assert!(u64::from(word.top) + u64::from(word.height) <= u64::from(page.height));
                    assert!(word.confidence.is_none_or(|confidence| (0.0..=100.0).contains(&confidence)));
                }
                // What is told on is read again.
                let told = serde_json::to_vec(page).expect("numbers are finite");
                assert_eq!(PageLayout::claimed(&told, 1).as_ref(), Ok(&claimed.clone().unwrap_or_default()));
                well_formed(&hocr(&DocumentLayout { engine: None, pages: vec![page.clone()] }));
            }
            claimed.map(|page| page.map(|page| page.lines.len().min(4)))
        });
}

/// To a reader that is not ours.
fn well_formed(xml: &str) {
    // XML 1.0 has no way to write these.
    assert!(!xml.contains(|c: char| (c < ' ' && c != '\n') || matches!(c, '\u{fffe}' | '\u{ffff}')));
    let mut reader = Reader::from_str(xml);
    let mut depth = 0_i32;
    loop {
        match reader.read_event().expect("well-formed") {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0);
}
