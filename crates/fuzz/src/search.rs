use std::{
    fmt::Write as _,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write as _,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::input::Inputs;

/// No reader takes a thousandth of it, also where eight of them share a processor.
const INPUT_TIME_MAX: Duration = Duration::from_secs(20);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// Tries to make an input smaller.
const SHRINKS_MAX: usize = 2_000;

pub enum End {
    Inputs(u64),
    After(Duration),
}

/// One run of a target.
pub struct Search {
    pub name: &'static str,
    /// Directory of what was found before.
    pub found: PathBuf,
    pub end: End,
}

impl Search {
    pub fn run(&self, mut inputs: Inputs, outcome: impl Fn(&[u8]) -> u64) {
        // What was found once must never come back: without the net, so that the panic shows where.
        for known in self.known() {
            outcome(&known);
        }
        for seed in inputs.seeds() {
            let came_to = self.tried(&seed, &outcome);
            inputs.came_to(seed, came_to);
        }
        let began = Instant::now();
        let (mut count, mut told) = (0_u64, began);
        while match self.end {
            End::Inputs(most) => count < most,
            End::After(time) => began.elapsed() < time,
        } {
            let input = inputs.next();
            let came_to = self.tried(&input, &outcome);
            inputs.came_to(input, came_to);
            count += 1;
            if matches!(self.end, End::After(_)) && told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                self.tell(count, began, inputs.outcomes());
            }
        }
        if matches!(self.end, End::After(_)) {
            self.tell(count, began, inputs.outcomes());
        }
    }

    /// In the order of their names. None when nothing was ever found.
    fn known(&self) -> Vec<Vec<u8>> {
        let Ok(entries) = fs::read_dir(&self.found) else { return Vec::new() };
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        paths.iter().filter_map(|path| fs::read(path).ok()).collect()
    }

    fn tried(&self, input: &[u8], outcome: &impl Fn(&[u8]) -> u64) -> u64 {
        let began = Instant::now();
        match panic::catch_unwind(AssertUnwindSafe(|| outcome(input))) {
            Ok(_) if began.elapsed() > INPUT_TIME_MAX => {
                let kept = self.keep(input);
                panic!("{}: {} takes longer than {INPUT_TIME_MAX:?}", self.name, kept.display())
            }
            Ok(came_to) => came_to,
            Err(_) => {
                let kept = self.keep(&smallest(input, outcome));
                panic!("{}: the check fails with {}", self.name, kept.display())
            }
        }
    }

    fn keep(&self, input: &[u8]) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        let path = self.found.join(format!("{:016x}", hasher.finish()));
        match fs::create_dir_all(&self.found).and_then(|()| fs::write(&path, input)) {
            Ok(()) => path,
            Err(_) => Path::new("an input that can not be written: ").join(in_hex(input)),
        }
    }

    /// Past the harness, which keeps what tests say to itself.
    fn tell(&self, count: u64, began: Instant, outcomes: usize) {
        let seconds = began.elapsed().as_secs();
        // Nobody may be there to read it.
        writeln!(std::io::stderr(), "{}: {seconds} s, {count} inputs, {outcomes} outcomes", self.name).ok();
    }
}

fn in_hex(input: &[u8]) -> String {
    input.iter().take(256).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// Leaves out parts as long as the check still fails: halves first, single bytes last.
fn smallest(input: &[u8], outcome: &impl Fn(&[u8]) -> u64) -> Vec<u8> {
    let fails = |input: &[u8]| panic::catch_unwind(AssertUnwindSafe(|| outcome(input))).is_err();
    let (mut least, mut tries) = (input.to_vec(), 0);
    let mut part = least.len() / 2;
    while part > 0 && tries < SHRINKS_MAX {
        let mut at = 0;
        while at < least.len() && tries < SHRINKS_MAX {
            let mut shorter = least.clone();
            shorter.drain(at..least.len().min(at + part));
            tries += 1;
            if fails(&shorter) { least = shorter } else { at += part }
        }
        part /= 2;
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_made_small() {
        let outcome = |input: &[u8]| {
            assert!(!input.windows(2).any(|two| two == b"PK"));
            0
        };
        let input = [&[7; 100][..], b"PK", &[8; 300]].concat();
        assert_eq!(smallest(&input, &outcome), b"PK");
    }
}
