//! Is a page's text layer the page's text?

/// Beside a picture that fills the page, a few words are a stamp or a page number that some program added to a scan.
const WORDS_MIN_BESIDE_SCAN: u32 = 25;
/// Below it a page may have its text drawn as curves.
const WORDS_MIN: u32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// It is the text.
    Good,
    /// Readable, but perhaps not all of it.
    Sparse,
    /// None, or not letters.
    Useless,
}

pub fn words_of(text: &str) -> u32 {
    u32::try_from(text.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).count())
        .unwrap_or(u32::MAX)
}

pub fn judge(text: &str, beside_scan: bool) -> Layer {
    let words = words_of(text);
    let (mut visible, mut junk) = (0_usize, 0_usize);
    for c in text.chars().filter(|c| !c.is_whitespace()) {
        visible += 1;
        // What fonts without a table of characters give.
        junk += usize::from(matches!(c, '\u{FFFD}' | '\u{E000}'..='\u{F8FF}') || c.is_control());
    }
    if words == 0 || junk * 10 > visible {
        Layer::Useless
    } else if words < if beside_scan { WORDS_MIN_BESIDE_SCAN } else { WORDS_MIN } {
        Layer::Sparse
    } else {
        Layer::Good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_prose_is_good_also_under_a_scan_that_was_read_before() {
        let prose = "Der Kunde weist sich mit einem gültigen amtlichen Ausweis aus. ".repeat(4);
        assert_eq!(judge(&prose, false), Layer::Good);
        assert_eq!(judge(&prose, true), Layer::Good);
    }

    #[test]
    fn a_stamp_on_a_scan_is_not_its_text() {
        assert_eq!(judge("Eingegangen am 3. November 2026, Seite 1 von 2", true), Layer::Sparse);
        assert_eq!(judge("Eingegangen am 3. November 2026, Seite 1 von 2", false), Layer::Good);
        assert_eq!(judge("7", false), Layer::Sparse);
    }

    #[test]
    fn glyphs_without_meaning_are_no_text() {
        assert_eq!(judge("", false), Layer::Useless);
        assert_eq!(judge(" \n . - \u{2022}", false), Layer::Useless);
        assert_eq!(judge(&"a\u{F0B7}\u{F020}b ".repeat(50), false), Layer::Useless);
        assert_eq!(judge(&"\u{1}\u{2}\u{3}x ".repeat(50), false), Layer::Useless);
    }
}
