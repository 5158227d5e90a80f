//! Machine-readable zones: found in what was read, and taken out of it.
//!
//! A zone is a passport in two lines, made to be copied by machines. Its fields lie encrypted; so that they do not lie beside
//! that in clear, its lines are blanked out of the text and of the layout, and by that of the excerpt, the search, hOCR and the
//! text behind a searchable PDF.

use std::collections::BTreeSet;

use docfleet_events::MrzOutcome;
use docfleet_mrz::{Day, Fields, ZONES_MAX, Zone, find, is_in_one, normalized};
use serde::{Deserialize, Serialize};

use crate::{layout::PageLayout, reading::Reading};

/// What stands in a text where a zone was.
pub const BLANKED: &str = "[machine-readable zone]";

/// Of a zone's line that was torn: fewer characters say nothing.
const PIECE_CHARS_MIN: usize = 4;
/// Of a piece without fillers: shorter ones stand on a page by chance.
const PLAIN_PIECE_CHARS_MIN: usize = 8;

/// A zone of a page, as it is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageZone {
    /// From 1.
    pub page: u32,
    /// None when it was too damaged to say.
    pub fields: Option<Fields>,
}

/// Takes the zones out of all pages. `today` decides their centuries. Linear in the text, which may be megabytes: not to be
/// called where others wait.
pub fn take_out(reading: &mut Reading, today: Day) -> Vec<PageZone> {
    let mut found = Vec::new();
    for (number, page) in reading.numbered_mut() {
        let of_text = find(&page.text, today);
        let laid_out = page.layout.as_ref().map(text_of).unwrap_or_default();
        let of_layout = find(&laid_out, today);
        if of_text.is_empty() && of_layout.is_empty() {
            continue;
        }
        // The two may differ in how they break lines; what is a zone's line in one is it in the other.
        let mut lines = ZoneLines::default();
        lines.add(&page.text, &of_text);
        lines.add(&laid_out, &of_layout);
        page.text = without(&page.text, &lines);
        if let Some(layout) = &mut page.layout {
            layout.lines.retain(|line| !lines.have(&line.text()));
        }
        let all_valid = |zones: &[Zone]| !zones.is_empty() && zones.iter().all(Zone::is_valid);
        let by_layout = of_text.is_empty() || (all_valid(&of_layout) && !all_valid(&of_text));
        let zones = if by_layout { of_layout } else { of_text };
        // One more than have fields says that there are too many of them.
        let zones = zones.into_iter().take(ZONES_MAX + 1);
        found.extend(zones.map(|zone| PageZone { page: number, fields: zone.fields }));
    }
    found
}

/// Valid is a document all of whose zones are.
pub fn outcome(zones: &[PageZone]) -> MrzOutcome {
    let is_valid = |zone: &PageZone| zone.fields.as_ref().is_some_and(Fields::is_valid);
    match zones {
        [] => MrzOutcome::Absent,
        all if all.iter().all(is_valid) => MrzOutcome::Valid,
        _ => MrzOutcome::Invalid,
    }
}

fn text_of(layout: &PageLayout) -> String {
    layout.lines.iter().map(crate::layout::Line::text).collect::<Vec<_>>().join("\n")
}

/// The lines of a page's zones, by which their copies and pieces are known.
#[derive(Default)]
struct ZoneLines {
    whole: BTreeSet<String>,
    /// In print they stand on the page on purpose.
    numbers: BTreeSet<String>,
    /// More zones than a page of a document has. Whatever looks like a piece is one then, without a look at each.
    are_too_many: bool,
}

impl ZoneLines {
    fn add(&mut self, text: &str, zones: &[Zone]) {
        self.are_too_many |= zones.len() > ZONES_MAX;
        self.numbers.extend(zones.iter().filter_map(|zone| Some(zone.fields.as_ref()?.document_number.clone())));
        let lines = text.split('\n').enumerate().filter(|(index, _)| is_in_one(zones, *index));
        let normal = lines.map(|(_, line)| normalized(line));
        // What stood between them may be print.
        self.whole.extend(normal.filter(|line| line.len() >= PLAIN_PIECE_CHARS_MIN || line.contains("<<")));
    }

    /// Whether this is a line of a zone, or a piece of one, or has one in it.
    fn have(&self, line: &str) -> bool {
        let normal = normalized(line);
        if normal.len() < PIECE_CHARS_MIN || self.numbers.contains(&normal) {
            return false;
        }
        let is_filled = normal.contains('<');
        let is_plain = normal.len() >= PLAIN_PIECE_CHARS_MIN && normal.bytes().any(|byte| byte.is_ascii_digit());
        // Beside a zone nothing else has such signs, which quotation marks have not.
        let is_of_any = normal.contains("<<") && line.contains('<');
        if is_of_any || self.whole.contains(&normal) {
            return true;
        }
        if !is_filled && !is_plain {
            return false;
        }
        let is_akin = |whole: &String| {
            whole.contains(&normal) || (whole.len() >= 2 * PLAIN_PIECE_CHARS_MIN && normal.contains(whole.as_str()))
        };
        self.are_too_many || self.whole.iter().any(is_akin)
    }
}

fn without(text: &str, zone_lines: &ZoneLines) -> String {
    let mut kept: Vec<&str> = Vec::new();
    // Whether the last line that is not blank stands for a zone.
    let mut is_blanked = false;
    for line in text.split('\n') {
        if !zone_lines.have(line) {
            is_blanked &= line.trim().is_empty();
            kept.push(line);
        } else if !is_blanked {
            is_blanked = true;
            kept.push(BLANKED);
        }
    }
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::string_slice)]
    use docfleet_events::TextSource;

    use super::*;
    use crate::{
        Kind,
        layout::{Line, Word},
        reading::{Page, excerpt},
    };

    const TODAY: Day = Day { year: 2026, month: 11, day: 25 };
    const FIRST: &str = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<";
    const SECOND: &str = "L898902C36UTO7408122F1204159ZE184226B<<<<<10";

    fn layout(lines: &[&str]) -> PageLayout {
        let word = |text: &str| Word { left: 1, top: 1, width: 9, height: 9, confidence: None, text: text.to_owned() };
        let lines = lines.iter().filter_map(|line| Line::around(line.split(' ').map(word).collect())).collect();
        PageLayout { number: 1, width: 10, height: 10, dpi: 72, rotation: 0, skew: 0.0, language: None, lines }
    }

    fn reading(text: &str, layout: Option<PageLayout>) -> Reading {
        let mut reading = Reading::of("5", "22", Kind::Picture);
        let page = Page { source: TextSource::Ocr, confidence: None, words: 3, text: text.to_owned(), layout };
        reading.add(1, Ok(page));
        reading
    }

    #[test]
    fn nothing_of_a_zone_is_left_in_text_layout_and_excerpt() {
        let text = format!("PASSPORT\n\n{FIRST}\n\n{SECOND}\n\nend");
        let spaced = SECOND.replace("UTO", " UT0 ");
        let mut reading = reading(&text, Some(layout(&["PASSPORT", FIRST, &spaced, "end"])));
        let zones = take_out(&mut reading, TODAY);
        assert_eq!(outcome(&zones), MrzOutcome::Valid);
        assert_eq!(zones[0].fields.as_ref().unwrap().document_number, "L898902C3");
        assert_eq!(reading.text(), format!("PASSPORT\n\n{BLANKED}\n\n\nend"));
        assert_eq!(excerpt(&reading.text()).unwrap(), format!("PASSPORT {BLANKED} end"));
        let words: Vec<&str> = reading.layouts().flat_map(PageLayout::words).map(|word| word.text.as_str()).collect();
        assert_eq!(words, ["PASSPORT", "end"]);
    }

    #[test]
    fn a_zone_that_only_the_layout_shows_in_lines_is_taken_out_too() {
        let torn = FIRST.replace("<<ANNA", "<<\nANNA");
        let mut reading = reading(&format!("{torn}\n{SECOND}"), Some(layout(&[FIRST, SECOND])));
        assert_eq!(outcome(&take_out(&mut reading, TODAY)), MrzOutcome::Valid);
        assert_eq!(reading.text(), BLANKED);
        assert_eq!(reading.layouts().flat_map(PageLayout::words).count(), 0);
    }

    #[test]
    fn a_page_of_nothing_but_zone_like_lines_is_taken_out_in_passing() {
        use std::fmt::Write;
        let mut text = String::new();
        for n in 0..30_000 {
            writeln!(text, "{FIRST}\nL{n:08}6UTO7408122F1204159ZE184226B<<<<<10").unwrap();
        }
        text.push_str(&"A<BC\n".repeat(200_000));
        text.push_str(&format!("{FIRST}\n{SECOND}\n{}\nend", &SECOND[..30]));
        let mut reading = reading(&text, None);
        let zones = take_out(&mut reading, TODAY);
        assert_eq!((zones.len(), outcome(&zones)), (ZONES_MAX + 1, MrzOutcome::Invalid));
        assert_eq!(reading.text(), format!("{BLANKED}\nend"));
    }

    #[test]
    fn a_piece_without_fillers_is_taken_out_and_the_printed_number_is_not() {
        let (one, two) = SECOND.split_at(29);
        let page = format!("Passport No.\nL898902C3\n{FIRST}\n{one}\n{two}\nTEL 0301234567\nend");
        let mut reading = reading(&page, Some(layout(&[FIRST, SECOND])));
        assert_eq!(outcome(&take_out(&mut reading, TODAY)), MrzOutcome::Valid);
        assert_eq!(reading.text(), format!("Passport No.\nL898902C3\n{BLANKED}\nTEL 0301234567\nend"));
    }

    #[test]
    fn dust_between_its_lines_leaves_nothing_of_a_zone() {
        for dust in ["|", ".", "| .\n\n-", "I", "Sehr geehrte Frau"] {
            let mut reading = reading(&format!("PASSPORT\n{FIRST}\n{dust}\n{SECOND}"), None);
            assert_eq!(outcome(&take_out(&mut reading, TODAY)), MrzOutcome::Valid, "{dust}");
            let text = reading.text();
            assert!(!text.contains('<') && !text.contains("L898902C3"), "{text}");
        }
    }

    #[test]
    fn a_line_without_the_others_is_taken_out_and_is_invalid() {
        let merged = format!("{FIRST} {SECOND}");
        for (line, expected) in [
            (FIRST, MrzOutcome::Invalid),
            (SECOND, MrzOutcome::Invalid),
            (&merged, MrzOutcome::Valid),
            (&merged[1..], MrzOutcome::Invalid),
        ] {
            let mut reading = reading(&format!("UTOPIA\n{line}\nend"), Some(layout(&["UTOPIA", line])));
            assert_eq!(outcome(&take_out(&mut reading, TODAY)), expected, "{line}");
            assert_eq!(reading.text(), format!("UTOPIA\n{BLANKED}\nend"));
            assert_eq!(reading.layouts().flat_map(PageLayout::words).count(), 1);
        }
    }

    #[test]
    fn one_zone_that_can_not_be_relied_on_makes_the_document_so() {
        let wrong = SECOND.replace("740812", "740813");
        let mut both = reading(&format!("{FIRST}\n{SECOND}\n\n{FIRST}\n{wrong}"), None);
        let zones = take_out(&mut both, TODAY);
        assert_eq!((zones.len(), outcome(&zones)), (2, MrzOutcome::Invalid));
        let mut none = reading("Sehr geehrte Frau", None);
        assert_eq!(outcome(&take_out(&mut none, TODAY)), MrzOutcome::Absent);
        assert_eq!(none.text(), "Sehr geehrte Frau");
    }
}
