//! What a scanned page looks like before a recognizer sees it: grey, upright, straight, and with letters of the size that
//! is both read fastest and read right.
//!
//! In the order of the flow: [`Grey`] (the pixels) → `ink` (which of them are written on) → `letters` (what of that has a
//! letter's shape) → `baseline` (which side is down, and how the lines hang) → [`Survey`] (what the page is like) →
//! [`prepare`] (the picture to be read) → [`Place`] (where its boxes are on the page).
//!
//! Pure computation: no I/O, no clock, no randomness. Time and memory grow with the pixels, which the caller bounds.

mod baseline;
mod grey;
mod ink;
mod letters;
mod place;
mod prepare;
mod rotate;
mod scale;
mod survey;

pub use grey::{Grey, Turn};
pub use place::Place;
pub use prepare::{LETTER_HEIGHT, Prepared, prepare};
pub use survey::{Contents, Survey};

/// The number of pixels is not width times height, or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the number of pixels is not width times height, or 0")]
pub struct WrongSides;
