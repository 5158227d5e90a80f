//! Documents as strangers send them, each with the outcome it must have: docs/corpus.md. All are made here, the same each time.

mod forms;
mod make;
mod pictures;
mod table;

use std::fmt;

pub use table::all;

/// What must become of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The API says no: status and type of the problem.
    NotAccepted(u16, &'static str),
    /// Its text holds the words "document" or "text".
    Read,
    Infected,
    /// By the antivirus stage, with its reason.
    Unscannable(&'static str),
    /// By dedup, with its reason.
    Refused(&'static str),
    /// By ocr, with its reason.
    Unreadable(&'static str),
    /// Either is right: cut off, it may be whole enough.
    ReadOrUnreadable(&'static [&'static str]),
}

/// As docs/corpus.md says it.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAccepted(status, slug) => write!(f, "{status}: {slug}"),
            Self::Read => f.write_str("read"),
            Self::Infected => f.write_str("infected"),
            Self::Unscannable(why) => write!(f, "unscannable: {why}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Unreadable(why) => write!(f, "unreadable: {why}"),
            Self::ReadOrUnreadable(whys) => write!(f, "read, or unreadable: {}", whys.join(", ")),
        }
    }
}

/// A document of the corpus.
pub struct Case {
    pub row: &'static str,
    /// As it is sent, byte for byte; it may hold anything.
    pub file_name: Vec<u8>,
    pub mime: &'static str,
    pub content: Content,
    pub outcome: Outcome,
}

pub enum Content {
    Bytes(Vec<u8>),
    /// So many zeros, without that anybody holds them.
    Zeros(u64),
}
