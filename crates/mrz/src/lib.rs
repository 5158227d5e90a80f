//! Machine-readable zones of passports and identity cards (ICAO Doc 9303, parts 4 to 6): TD1 (3 lines of 30), TD2 (2 of 36)
//! and TD3 (2 of 44), found in text as an OCR engine gives it.
//!
//! In the order of the flow: [`find`] → `lines` (which may be of a zone) → `line` (what an engine makes of one, back to its length) → `layout` (where the
//! fields of each format stand) → `field` (characters to what their field may hold) → `check` (the digits) → [`Date`].
//!
//! No I/O, no clock. What is a letter and what a digit is decided by the field's type alone; a field that may hold both is taken
//! as it was read, since there a "correction" that fits the check digit would be another document's number as often as
//! this one's; only the number in print on the same page (`twin`) overrules the one of the zone. Names, the nationality and the sex are covered by no check digit: they are as they were read.

mod check;
mod date;
mod field;
#[cfg(test)]
mod fuzz;
mod layout;
mod line;
mod lines;
mod twin;

use std::{fmt, ops::Range};

use self::{
    lines::{Line, Lines},
    twin::Print,
};
use serde::{Deserialize, Serialize};

pub use date::{Date, Day};
pub use line::normalized;

/// Zones of a text whose fields are read: more is no page of a document. Those behind are found all the same, without fields.
pub const ZONES_MAX: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Td1,
    Td2,
    Td3,
}

impl Format {
    const ALL: [Self; 3] = [Self::Td3, Self::Td2, Self::Td1];

    /// Lines, and characters of each.
    const fn shape(self) -> (usize, usize) {
        match self {
            Self::Td1 => (3, 30),
            Self::Td2 => (2, 36),
            Self::Td3 => (2, 44),
        }
    }
}

/// Which check digits agree. Where the standard allows a filler in place of a digit, it counts as agreeing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {
    pub document_number: bool,
    pub birth_date: bool,
    pub expiry_date: bool,
    /// True for the formats that have none.
    pub optional_data: bool,
    pub composite: bool,
}

impl Checks {
    fn agreeing(self) -> usize {
        let Self { document_number, birth_date, expiry_date, optional_data, composite } = self;
        [document_number, birth_date, expiry_date, optional_data, composite]
            .into_iter()
            .filter(|agrees| *agrees)
            .count()
    }

    fn has_both_dates(self) -> bool {
        self.birth_date && self.expiry_date
    }

    pub fn all(self) -> bool {
        self.document_number && self.birth_date && self.expiry_date && self.optional_data && self.composite
    }
}

/// What a zone says. Personal data: [`fmt::Debug`] shows none of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    pub format: Format,
    /// `P`, `I`, `ID`, …
    pub document_code: String,
    /// Three letters, or fewer, such as `D`.
    pub issuing_state: String,
    pub document_number: String,
    pub surname: String,
    pub given_names: String,
    pub nationality: String,
    /// None when it is no date, or not known at all.
    pub birth_date: Option<Date>,
    pub expiry_date: Option<Date>,
    /// `M` or `F`; none where the zone says neither.
    pub sex: Option<char>,
    /// Without what a long document number takes of it.
    pub optional_data: String,
    /// TD1 only.
    pub optional_data_2: String,
    pub checks: Checks,
    /// Whether the number stands on the page a second time, in print.
    pub number_is_printed: bool,
    /// Characters that were read as another one than their field can hold, and put right.
    pub corrected: u32,
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fields")
            .field("format", &self.format)
            .field("checks", &self.checks)
            .field("corrected", &self.corrected)
            .finish_non_exhaustive()
    }
}

/// A zone in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Of the text's lines, counted from 0, with what blanks and dust are between.
    pub lines: Range<usize>,
    /// None when it is plainly a zone, and too damaged to say which character stands where; or a line of one without the
    /// others; or one behind [`ZONES_MAX`].
    pub fields: Option<Fields>,
}

impl Zone {
    /// All check digits agree and the dates are dates.
    pub fn is_valid(&self) -> bool {
        self.fields.as_ref().is_some_and(Fields::is_valid)
    }
}

impl Fields {
    pub fn is_valid(&self) -> bool {
        self.checks.all()
    }
}

/// The zones in a text. `today` decides centuries.
///
/// Of lines that could be read in several ways the valid way counts; no line belongs to two zones. Linear in the text. All
/// are found, and of the first [`ZONES_MAX`] the fields.
pub fn find(text: &str, today: Day) -> Vec<Zone> {
    let mut zones: Vec<Zone> = Vec::new();
    let mut lines = Lines::of(text);
    loop {
        let window = lines.window();
        if window.is_empty() {
            break;
        }
        let mut taken = 1;
        if let Some((mut zone, count)) = zone_at(window, today) {
            if zones.len() >= ZONES_MAX {
                zone.fields = None;
            }
            taken = count;
            match zones.last_mut() {
                // Parts of a line that was several belong to one zone, and no one can say which.
                Some(last) if zone.lines.start < last.lines.end => {
                    *last = Zone { lines: last.lines.start..zone.lines.end, fields: None };
                }
                _ => zones.push(zone),
            }
        }
        lines.pass(taken);
    }
    compare_with_print(&mut zones, text);
    zones
}

/// Whether the text's line lies in one of the zones, which come in order.
pub fn is_in_one(zones: &[Zone], line: usize) -> bool {
    zones.get(zones.partition_point(|zone| zone.lines.end <= line)).is_some_and(|zone| zone.lines.contains(&line))
}

fn compare_with_print(zones: &mut [Zone], text: &str) {
    if zones.is_empty() {
        return;
    }
    let printed = text.split('\n').enumerate().filter(|(index, _)| !is_in_one(zones, *index));
    let print = Print::of(printed.map(|(_, line)| line));
    for fields in zones.iter_mut().filter_map(|zone| zone.fields.as_mut()) {
        if let (true, Some(meant)) = (fields.is_valid(), print.meant(&fields.document_number)) {
            fields.document_number = meant;
            fields.corrected += 1;
        }
        fields.number_is_printed = print.has(&fields.document_number);
    }
}

/// The zone that begins with the first line, and how many lines it takes.
fn zone_at(lines: &[Line], today: Day) -> Option<(Zone, usize)> {
    let texts = |count: usize| -> Option<Vec<&str>> {
        let lines = lines.get(..count)?;
        let are_together = lines.iter().skip(1).all(|line| !line.is_apart);
        are_together.then(|| lines.iter().map(|line| line.normal.as_str()).collect())
    };
    let zone = |count: usize, fields| {
        let (first, last) = (lines.first()?.index, lines.get(count - 1)?.index);
        Some((Zone { lines: first..last + 1, fields }, count))
    };
    let readings = |is_exact: bool| {
        Format::ALL.into_iter().filter_map(move |format| {
            let (count, width) = format.shape();
            let lines = texts(count)?;
            if is_exact && lines.iter().any(|line| line.len() != width) {
                return None;
            }
            let fields = layout::read(format, &line::fitted(&lines, format, width)?, today)?;
            // Capitals that happen to be as long as a zone.
            let is_one = lines.iter().any(|line| line.contains('<')) || fields.checks.has_both_dates();
            is_one.then_some((count, fields))
        })
    };
    // Lines of the right length are never stretched to another format, where their digits might agree by chance.
    let exact = readings(true).next();
    let stretched = || readings(false).max_by_key(|(_, fields)| fields.checks.agreeing());
    if let Some((count, fields)) = exact.or_else(stretched) {
        return zone(count, Some(fields));
    }
    // Damaged: adjacent lines that nothing else looks like, or one such line alone.
    let first = lines.first()?;
    let others = lines.iter().skip(1).take_while(|line| !line.is_apart && line::is_beside_one(&line.normal)).count();
    if line::is_of_a_zone(&first.normal) && others >= 1 {
        return zone(1 + others, None);
    }
    if line::is_surely_of_one(&first.normal) { zone(1, None) } else { None }
}

#[cfg(test)]
mod tests;
