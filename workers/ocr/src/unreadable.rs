use serde::{Deserialize, Serialize};

/// Why a document, or a page of it, has no text: a fact about the document, not a failure of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unreadable {
    /// 0 bytes, or no page at all.
    #[error("empty")]
    Empty,
    /// Damaged, cut off, or not what its type says.
    #[error("corrupt")]
    Corrupt,
    /// Opens only with a password.
    #[error("encrypted")]
    Encrypted,
    #[error("too-many-pages")]
    TooManyPages,
    /// More bytes or more text than is read.
    #[error("too-large")]
    TooLarge,
    #[error("too-large-image")]
    TooLargeImage,
    #[error("unsupported-type")]
    UnsupportedType,
    /// Every page was read and none has a word: blank, or a photo.
    #[error("no-text")]
    NoText,
    /// More time than a page, or the whole document, is given.
    #[error("too-slow")]
    TooSlow,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_in_events_is_the_one_on_the_wire() {
        for reason in [
            Unreadable::Empty,
            Unreadable::Corrupt,
            Unreadable::Encrypted,
            Unreadable::TooManyPages,
            Unreadable::TooLarge,
            Unreadable::TooLargeImage,
            Unreadable::UnsupportedType,
            Unreadable::NoText,
            Unreadable::TooSlow,
        ] {
            assert_eq!(serde_json::to_value(reason).ok(), Some(serde_json::Value::String(reason.to_string())));
        }
    }
}
