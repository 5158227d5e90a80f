//! Events that an operator feeds to a consumer again (`docfleet replay`, docs/adr/0037).

use std::borrow::Cow;

use crate::{Failure, Record, header, policy::Again};

/// Longest name of a logical version.
const VERSION_CHARS_MAX: usize = 32;

/// The logical version under which a message is worked on again. Its outcome stands in the inbox beside the first one, under
/// `consumer@version`, so that each version has its effect once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replay {
    version: String,
    emits: bool,
}

impl Record {
    /// Nothing for an ordinary message. Only of the consumer's own retry topics, as [`distrust`](Self::distrust) sees to: there
    /// only `docfleet replay` writes these headers.
    pub(crate) fn replay(&self) -> Option<Replay> {
        let version = self.header(header::REPLAY).filter(|version| is_version(version))?.to_owned();
        Some(Replay { version, emits: self.header(header::REPLAY_EMITS) == Some("new") })
    }
}

impl Replay {
    /// Whether what follows becomes events, which are new ones: their ids are derived from [`consumer`](Self::consumer).
    pub fn emits(&self) -> bool {
        self.emits
    }

    pub fn consumer(&self, name: &str) -> String {
        format!("{name}@{}", self.version)
    }

    /// As a failed message carries it on.
    pub fn headers(&self) -> [(&'static str, String); 2] {
        let emits = if self.emits { "new" } else { "none" };
        [(header::REPLAY, self.version.clone()), (header::REPLAY_EMITS, emits.to_owned())]
    }
}

/// Under which name the consumer called `name` keeps its outcome.
pub(crate) fn logical<'a>(replay: Option<&Replay>, name: &'a str) -> Cow<'a, str> {
    replay.map_or(Cow::Borrowed(name), |replay| Cow::Owned(replay.consumer(name)))
}

/// The command asks the consumer's declaration as well; another version of the consumer may have been at work then.
pub(crate) fn refuse(replay: Option<&Replay>, again: Again) -> Result<(), Failure> {
    match (replay, again) {
        (Some(_), Again::Refused(why)) => Err(Failure::poison("replay-refused", why)),
        (Some(replay), Again::WithEvents(effect)) if !replay.emits => Err(Failure::poison("replay-refused", effect)),
        _ => Ok(()),
    }
}

/// Lower-case letters, digits, dots and dashes; the command checks the same.
fn is_version(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    !text.is_empty() && text.len() <= VERSION_CHARS_MAX && text.chars().all(allowed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::message::TopicPartition;

    fn record(headers: &[(&str, &str)]) -> Record {
        Record {
            source: TopicPartition { topic: "ocr.retry.10s".into(), partition: 0 },
            offset: 0,
            timestamp_ms: 0,
            key: None,
            payload: None,
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            headers_unreadable: false,
        }
    }

    #[test]
    fn a_version_that_is_none_makes_no_replay_and_a_stranger_can_not_ask_for_one() {
        for bad in ["", "V2", "a b", "a@b", "a'b", &"x".repeat(33)] {
            assert_eq!(record(&[(header::REPLAY, bad)]).replay(), None, "{bad}");
        }
        let mut foreign = record(&[(header::REPLAY, "v2")]);
        assert!(foreign.replay().is_some());
        foreign.distrust();
        assert_eq!(foreign.replay(), None);
    }

    #[test]
    fn a_replay_has_an_inbox_of_its_own_and_says_nothing_unless_told_to() {
        let silent = record(&[(header::REPLAY, "engine-5.1")]).replay().unwrap();
        assert_eq!((silent.consumer("ocr"), silent.emits()), ("ocr@engine-5.1".to_owned(), false));
        assert_eq!((logical(Some(&silent), "ocr"), logical(None, "ocr")), ("ocr@engine-5.1".into(), "ocr".into()));
        let carried: Vec<(&str, &str)> = vec![(header::REPLAY, "v2"), (header::REPLAY_EMITS, "new")];
        let replay = record(&carried).replay().unwrap();
        assert!(replay.emits());
        assert_eq!(
            replay.headers().map(|(name, value)| (name, value)).to_vec(),
            [(header::REPLAY, "v2".to_owned()), (header::REPLAY_EMITS, "new".to_owned())]
        );
    }

    #[test]
    fn who_has_not_declared_it_refuses() {
        let replay = record(&[(header::REPLAY, "v2")]).replay();
        assert!(refuse(replay.as_ref(), Again::Repeatable("")).is_ok() && refuse(None, Again::Refused("why")).is_ok());
        assert!(refuse(replay.as_ref(), Again::WithEvents("")).is_err(), "it is silent");
        let loud = record(&[(header::REPLAY, "v2"), (header::REPLAY_EMITS, "new")]).replay();
        assert!(refuse(loud.as_ref(), Again::WithEvents("")).is_ok());
        assert!(
            refuse(replay.as_ref(), Again::Refused("why")).is_err_and(|failure| failure.reason == "replay-refused")
        );
    }
}
