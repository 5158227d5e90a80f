//! Small changes of the kind that break readers.

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};

const BYTES: [u8; 9] = [0, 1, 0x0a, b' ', b'0', 0x7f, 0x80, 0xfe, 0xff];
/// Lengths and offsets that are off by one, negative, or far beyond everything.
const NUMBERS: [u32; 12] = [0, 1, 2, 7, 0x7f, 0xff, 0x100, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_fffe, 0xffff_ffff];

/// One to eight changes of `input`, which stays within `bytes_max`.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], tokens: &[Vec<u8>], bytes_max: usize, random: &mut SmallRng) {
    for _ in 0..random.random_range(1..=8) {
        change(input, other, tokens, random);
        input.truncate(bytes_max);
    }
}

fn change(input: &mut Vec<u8>, other: &[u8], tokens: &[Vec<u8>], random: &mut SmallRng) {
    match random.random_range(0..12) {
        0 => with_byte(input, random, |byte, random| *byte ^= 1 << random.random_range(0..8)),
        1 => with_byte(input, random, |byte, random| *byte = *BYTES.choose(random).unwrap_or(&0)),
        2 => with_byte(input, random, |byte, random| *byte = random.random()),
        3 => with_byte(input, random, |byte, random| {
            *byte = byte.wrapping_add_signed(if random.random() { 1 } else { -1 });
        }),
        4 | 5 => number(input, random),
        6 => {
            let end = random.random_range(0..=input.len());
            input.truncate(end);
        }
        7 => {
            let range = range(input, random);
            input.drain(range);
        }
        8 => {
            let copy = input.get(range(input, random)).unwrap_or_default().to_vec();
            insert(input, &copy, random);
        }
        9 => {
            let part = other.get(range(other, random)).unwrap_or_default();
            insert(input, part, random);
        }
        10 => {
            let cut = random.random_range(0..=input.len());
            input.truncate(cut);
            input.extend_from_slice(other.get(random.random_range(0..=other.len())..).unwrap_or_default());
        }
        _ => {
            let Some(token) = tokens.choose(random) else { return };
            if random.random() { insert(input, token, random) } else { overwrite(input, token, random) }
        }
    }
}

fn with_byte(input: &mut [u8], random: &mut SmallRng, change: impl Fn(&mut u8, &mut SmallRng)) {
    if input.is_empty() {
        return;
    }
    let at = random.random_range(0..input.len());
    if let Some(byte) = input.get_mut(at) {
        change(byte, random);
    }
}

/// In either order of bytes, of two or four; sometimes the input's own length or near it.
fn number(input: &mut [u8], random: &mut SmallRng) {
    let length = u32::try_from(input.len()).unwrap_or(u32::MAX);
    let number = if random.random_ratio(1, 4) {
        length.wrapping_add_signed(random.random_range(-64..=64))
    } else {
        *NUMBERS.choose(random).unwrap_or(&0)
    };
    let bytes = if random.random() { number.to_be_bytes() } else { number.to_le_bytes() };
    let width = if random.random() { 2 } else { 4 };
    overwrite(input, bytes.get(..width).unwrap_or_default(), random);
}

fn range(input: &[u8], random: &mut SmallRng) -> std::ops::Range<usize> {
    let start = random.random_range(0..=input.len());
    // Mostly short: a field or a line, not half of the input.
    let longest = if random.random() { 16 } else { input.len() };
    let length = random.random_range(0..=longest);
    start..input.len().min(start + length)
}

fn insert(input: &mut Vec<u8>, part: &[u8], random: &mut SmallRng) {
    let at = random.random_range(0..=input.len());
    input.splice(at..at, part.iter().copied());
}

fn overwrite(input: &mut [u8], part: &[u8], random: &mut SmallRng) {
    if input.len() < part.len() {
        return;
    }
    let at = random.random_range(0..=input.len() - part.len());
    if let Some(place) = input.get_mut(at..at + part.len()) {
        place.copy_from_slice(part);
    }
}
