//! For tests: hostile bytes for whatever reads a stranger's, on the stable toolchain.
//!
//! A [`Target`] changes its seeds at random ([`mutate`]) and hands the results to a check, which panics when something is
//! wrong and otherwise says what came out. An input with an outcome that was not there before becomes a seed too, so that
//! the search follows what the reader tells apart. What makes a check panic is made as small as possible and written into
//! `found/`, from where each later run tries it first.
//!
//! In `cargo test` a target makes some thousand inputs, the same each time. `./dev fuzz` sets `DOCFLEET_FUZZ_MINUTES` and
//! looks further each time.

mod input;
mod mutate;
mod search;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    time::Duration,
};

use rand::{SeedableRng, rngs::SmallRng};

use self::{input::Inputs, search::Search};

/// For as long as a test may take on a busy machine.
const SHORT_RUN_INPUTS: u64 = 10_000;
const INPUT_BYTES_MAX: usize = 64 * 1024;

/// One reader of foreign bytes.
pub struct Target {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    tokens: Vec<Vec<u8>>,
    bytes_max: usize,
}

impl Target {
    /// The name is that of its directory in `found/`.
    pub fn new(name: &'static str) -> Self {
        Self { name, seeds: vec![Vec::new()], tokens: Vec::new(), bytes_max: INPUT_BYTES_MAX }
    }

    /// An input to start from; the better it is understood, the deeper goes the search.
    #[must_use]
    pub fn seed(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        let mut bytes = bytes.into();
        bytes.truncate(self.bytes_max);
        self.seeds.push(bytes);
        self
    }

    /// The beginning and the end of a document in `samples/`, where formats have what tells them.
    ///
    /// # Panics
    /// There is no such document.
    #[must_use]
    pub fn sample(self, name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../samples").join(name);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        let half = self.bytes_max / 2;
        if bytes.len() <= self.bytes_max {
            return self.seed(bytes);
        }
        let (head, tail) = (&bytes[..half], &bytes[bytes.len() - half..]);
        self.seed([head, tail].concat())
    }

    /// What has a meaning for the reader and would hardly come up by chance.
    #[must_use]
    pub fn tokens(mut self, tokens: &[&[u8]]) -> Self {
        self.tokens.extend(tokens.iter().map(|token| token.to_vec()));
        self
    }

    /// Bytes of an input at most.
    #[must_use]
    pub fn bytes_max(mut self, bytes_max: usize) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// Runs until the inputs or the minutes are over.
    ///
    /// # Panics
    /// When the check does; the input lies in `found/` then. And when an input takes longer than any may.
    pub fn run<O: Hash>(self, check: impl Fn(&[u8]) -> O) {
        let minutes = std::env::var("DOCFLEET_FUZZ_MINUTES").ok().and_then(|minutes| minutes.parse::<u64>().ok());
        let (random, end) = match minutes {
            Some(minutes) => (SmallRng::from_os_rng(), search::End::After(Duration::from_secs(minutes * 60))),
            None => (SmallRng::seed_from_u64(0), search::End::Inputs(SHORT_RUN_INPUTS)),
        };
        let outcome = |input: &[u8]| {
            let mut hasher = DefaultHasher::new();
            check(input).hash(&mut hasher);
            hasher.finish()
        };
        let found = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("found").join(self.name);
        let inputs = Inputs::new(self.seeds, self.tokens, self.bytes_max, random);
        Search { name: self.name, found, end }.run(inputs, outcome);
    }
}

#[cfg(test)]
mod tests;
