use std::collections::HashMap;

use super::{Entry, outcome::Outcome};
use crate::output;

/// One living line on a terminal; elsewhere a line for each step of each document.
pub struct Progress {
    total: usize,
    uploaded: usize,
    on_terminal: bool,
    told: HashMap<usize, &'static str>,
}

const LINE_CHARS_MAX: usize = 100;

impl Progress {
    pub fn new(total: usize) -> Self {
        Self { total, uploaded: 0, on_terminal: output::stderr_is_terminal(), told: HashMap::new() }
    }

    pub fn uploading(&mut self, name: &str) {
        self.uploaded += 1;
        let line = format!("uploading {}/{}  {}", self.uploaded, self.total, output::plain(name, 60));
        if self.on_terminal { output::progress(&line) } else { output::note(&line) }
    }

    /// `step` of each entry that is not finished, by its index.
    pub fn waiting(&mut self, entries: &[Entry], open: &[(usize, &'static str)]) {
        if self.on_terminal {
            let names = open.iter().filter_map(|(index, step)| Some(format!("{} ({step})", entries.get(*index)?.name)));
            let names: Vec<String> = names.take(3).collect();
            let line = format!("finished {}/{}  {}", self.total - open.len(), self.total, names.join(", "));
            return output::progress(&output::plain(&line, LINE_CHARS_MAX));
        }
        for (index, entry) in entries.iter().enumerate() {
            let step = open.iter().find(|(i, _)| *i == index).map_or("finished", |(_, step)| *step);
            let step = if matches!(entry.outcome, Outcome::Refused(_)) { "refused by the API" } else { step };
            if self.told.insert(index, step) != Some(step) {
                output::note(&format!("{}: {step}", output::plain(&entry.name, 60)));
            }
        }
    }

    pub fn end(&self) {
        if self.on_terminal {
            output::progress("");
        }
    }
}
