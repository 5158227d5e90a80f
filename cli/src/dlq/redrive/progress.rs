use std::time::{Duration, Instant};

use super::{pace::Rate, watch::Counts};
use crate::output::{self, age, grouped};

/// A living line on a terminal; elsewhere a line from time to time.
pub struct Progress {
    redrive: i64,
    told_at: Option<Instant>,
}

const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(10);

impl Progress {
    pub fn new(redrive: i64) -> Self {
        Self { redrive, told_at: None }
    }

    pub fn tell(&mut self, counts: &Counts, rate: Rate, doing: &str) {
        let every = if output::stderr_is_terminal() { ON_TERMINAL } else { ELSEWHERE };
        if self.told_at.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        self.told_at = Some(Instant::now());
        let line = format!(
            "redrive {}: {doing}, {} of {} sent, {} worked, {} died again, {} on their way, {} to go",
            self.redrive,
            grouped(counts.sent()),
            grouped(counts.sent() + counts.to_send),
            grouped(counts.worked),
            grouped(counts.died_again),
            grouped(counts.on_their_way),
            age(rate.seconds_for(counts.to_send))
        );
        if output::stderr_is_terminal() { output::progress(&line) } else { output::note(&line) }
    }

    pub fn end(&self) {
        if output::stderr_is_terminal() {
            output::progress("");
        }
    }
}
