use std::collections::HashSet;

use rand::{rngs::SmallRng, seq::IndexedRandom};

use crate::mutate::mutate;

/// Seeds are kept up to so many; later ones take the places of others.
const SEEDS_MAX: usize = 4_096;
/// Of all seeds together.
const SEEDS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where inputs come from.
pub struct Inputs {
    seeds: Vec<Vec<u8>>,
    seeds_bytes: usize,
    tokens: Vec<Vec<u8>>,
    bytes_max: usize,
    outcomes: HashSet<u64>,
    random: SmallRng,
}

impl Inputs {
    pub fn new(seeds: Vec<Vec<u8>>, tokens: Vec<Vec<u8>>, bytes_max: usize, random: SmallRng) -> Self {
        let seeds_bytes = seeds.iter().map(Vec::len).sum();
        Self { seeds, seeds_bytes, tokens, bytes_max, outcomes: HashSet::new(), random }
    }

    pub fn seeds(&self) -> Vec<Vec<u8>> {
        self.seeds.clone()
    }

    pub fn next(&mut self) -> Vec<u8> {
        let mut input = self.seeds.choose(&mut self.random).cloned().unwrap_or_default();
        let other = self.seeds.choose(&mut self.random).map_or(&[][..], Vec::as_slice);
        mutate(&mut input, other, &self.tokens, self.bytes_max, &mut self.random);
        input
    }

    /// Keeps what led to something new.
    pub fn came_to(&mut self, input: Vec<u8>, outcome: u64) {
        let is_room = self.seeds.len() < SEEDS_MAX && self.seeds_bytes + input.len() <= SEEDS_BYTES_MAX;
        if self.outcomes.len() < SEEDS_MAX && self.outcomes.insert(outcome) && is_room {
            self.seeds_bytes += input.len();
            self.seeds.push(input);
        }
    }

    pub fn outcomes(&self) -> usize {
        self.outcomes.len()
    }
}
