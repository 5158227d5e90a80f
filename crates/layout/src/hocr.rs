//! hOCR 1.2: the words and their boxes as an XHTML page that other programs know.

use std::fmt::Write;

use crate::{DocumentLayout, Line, PageLayout, Word};

/// Well-formed XML whatever the words are.
pub fn hocr(document: &DocumentLayout) -> String {
    let mut page = Page(String::with_capacity(256 + document.pages.iter().map(weight).sum::<usize>()));
    page.put(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
<head>
<title></title>
<meta http-equiv="Content-Type" content="text/html; charset=utf-8"/>
<meta name="ocr-system" content=""#,
    );
    page.escaped(document.engine.as_deref().unwrap_or("docfleet"));
    page.put(
        r#""/>
<meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_line ocrx_word ocrp_wconf ocrp_lang"/>
<meta name="ocr-number-of-pages" content=""#,
    );
    page.put(&document.pages.len().to_string());
    page.put("\"/>\n</head>\n<body>\n");
    for layout in &document.pages {
        page.page(layout);
    }
    page.put("</body>\n</html>\n");
    page.0
}

/// Bytes that a page takes, roughly.
fn weight(layout: &PageLayout) -> usize {
    200 + layout.words().count() * 120
}

struct Page(String);

impl Page {
    fn put(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string can not fail.
        self.0.write_fmt(text).ok();
    }

    fn page(&mut self, layout: &PageLayout) {
        let PageLayout { number, width, height, dpi, .. } = layout;
        self.write(format_args!(
            "<div class=\"ocr_page\" id=\"page_{number}\" title=\"bbox 0 0 {width} {height}; ppageno {}; scan_res {dpi} {dpi}\"",
            number.saturating_sub(1)
        ));
        if let Some(language) = &layout.language {
            self.put(" lang=\"");
            self.escaped(language);
            self.put("\"");
        }
        self.put(">\n");
        self.write(format_args!(
            "<div class=\"ocr_carea\" id=\"block_{number}_1\" title=\"bbox 0 0 {width} {height}\">\n"
        ));
        let mut words = 0;
        for (index, line) in (1..).zip(&layout.lines) {
            self.line(*number, index, line, &mut words);
        }
        self.put("</div>\n</div>\n");
    }

    fn line(&mut self, page: u32, index: u32, line: &Line, words: &mut u32) {
        let right = line.left.saturating_add(line.width);
        let bottom = line.top.saturating_add(line.height);
        self.write(format_args!(
            "<span class=\"ocr_line\" id=\"line_{page}_{index}\" title=\"bbox {} {} {right} {bottom}\">",
            line.left, line.top
        ));
        for (nth, word) in line.words.iter().enumerate() {
            if nth > 0 {
                self.put(" ");
            }
            *words += 1;
            self.word(page, *words, word);
        }
        self.put("</span>\n");
    }

    fn word(&mut self, page: u32, index: u32, word: &Word) {
        let right = word.left.saturating_add(word.width);
        let bottom = word.top.saturating_add(word.height);
        self.write(format_args!(
            "<span class=\"ocrx_word\" id=\"word_{page}_{index}\" title=\"bbox {} {} {right} {bottom}",
            word.left, word.top
        ));
        if let Some(confidence) = word.confidence {
            self.write(format_args!("; x_wconf {confidence:.0}"));
        }
        self.put("\">");
        self.escaped(&word.text);
        self.put("</span>");
    }

    /// For text and for attributes. What XML can not hold at all becomes U+FFFD.
    fn escaped(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.put("&amp;"),
                '<' => self.put("&lt;"),
                '>' => self.put("&gt;"),
                '"' => self.put("&quot;"),
                '\'' => self.put("&#39;"),
                '\t' | '\n' => self.put(" "),
                c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => self.put("\u{FFFD}"),
                c => self.0.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(words: Vec<Word>, engine: &str) -> DocumentLayout {
        let page = PageLayout {
            number: 2,
            width: 1_000,
            height: 1_400,
            dpi: 150,
            rotation: 0,
            skew: 0.0,
            language: Some("deu+eng".to_owned()),
            lines: Line::around(words).into_iter().collect(),
        };
        DocumentLayout { engine: Some(engine.to_owned()), pages: vec![page] }
    }

    fn word(text: &str, confidence: Option<f32>) -> Word {
        Word { left: 10, top: 20, width: 30, height: 12, confidence, text: text.to_owned() }
    }

    #[test]
    fn a_page_has_its_lines_and_words_with_their_boxes() {
        let html = hocr(&document(vec![word("Müller", Some(91.4)), word("& Söhne", None)], "tesseract 5.3.0"));
        for part in [
            r#"<meta name="ocr-system" content="tesseract 5.3.0"/>"#,
            r#"<div class="ocr_page" id="page_2" title="bbox 0 0 1000 1400; ppageno 1; scan_res 150 150" lang="deu+eng">"#,
            r#"<span class="ocr_line" id="line_2_1" title="bbox 10 20 40 32">"#,
            r#"<span class="ocrx_word" id="word_2_1" title="bbox 10 20 40 32; x_wconf 91">Müller</span>"#,
            r#"<span class="ocrx_word" id="word_2_2" title="bbox 10 20 40 32">&amp; Söhne</span>"#,
        ] {
            assert!(html.contains(part), "{part} is not in {html}");
        }
    }

    proptest! {
        /// A document writes into nothing but the text of its words.
        #[test]
        fn no_text_breaks_out_of_its_place(text in any::<String>(), engine in any::<String>()) {
            let hostile = hocr(&document(vec![word(&text, None)], &engine));
            let harmless = hocr(&document(vec![word("x", None)], "x"));
            let tags = |html: &str| html.matches(['<', '>', '"']).count();
            prop_assert_eq!(tags(&hostile), tags(&harmless));
            prop_assert!(!hostile.chars().any(|c| c.is_control() && c != '\n'));
        }
    }
}
