use std::{collections::VecDeque, iter::Enumerate, str::Split};

use crate::line::{NOISE_CHARS_MAX, normalized, parts};

/// As many lines as a zone has.
const WINDOW: usize = 3;
/// Lines of dust, or of print, that an engine may see between two lines of a zone.
const BETWEEN_MAX: usize = 3;

/// A line that may be one of a zone.
pub struct Line {
    /// In the text, from 0. Two may have the same: an engine took them for one.
    pub index: usize,
    pub normal: String,
    /// Too much stands between this one and the one before for both to be of one zone.
    pub is_apart: bool,
}

/// The lines of a text that may be of zones, a few at a time.
pub struct Lines<'t> {
    rest: Enumerate<Split<'t, char>>,
    ready: VecDeque<Line>,
    between: usize,
}

impl<'t> Lines<'t> {
    pub fn of(text: &'t str) -> Self {
        Self { rest: text.split('\n').enumerate(), ready: VecDeque::new(), between: 0 }
    }

    /// The next lines; fewer at the end of the text, and more where one is several.
    pub fn window(&mut self) -> &[Line] {
        while self.ready.len() < WINDOW {
            let Some((index, line)) = self.rest.next() else { break };
            let normal = normalized(line);
            if normal.len() <= NOISE_CHARS_MAX {
                self.between += usize::from(!line.trim().is_empty());
                continue;
            }
            let mut is_apart = self.between > BETWEEN_MAX;
            self.between = 0;
            for part in parts(&normal) {
                self.ready.push_back(Line { index, normal: part.to_owned(), is_apart });
                is_apart = false;
            }
        }
        let ready = self.ready.make_contiguous();
        ready.get(..WINDOW).unwrap_or(ready)
    }

    pub fn pass(&mut self, count: usize) {
        self.ready.drain(..count.min(self.ready.len()));
    }
}
