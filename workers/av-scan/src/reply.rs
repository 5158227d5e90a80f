//! What an answer of clamd to INSTREAM means.

/// A longer answer is not one: signature names end far below.
pub const REPLY_BYTES_MAX: usize = 1_024;

/// What the engine said of a document. Not [`Clean`](Self::Clean) is not clean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Clean,
    Infected { signature: String },
    Unscannable(Unscannable),
}

/// Why a document has no verdict and never will: a property of the document under the engine's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unscannable {
    /// More bytes than the engine takes.
    TooLarge,
    /// Too deep, too many, too long: a limit inside the engine.
    LimitsExceeded,
    Encrypted,
    /// The engine gave up on its structure.
    Malformed,
    /// An archive with parts that the engine passes over in silence.
    ArchiveNotCovered,
}

impl Unscannable {
    /// A metric label, and the `reason` of the event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too-large",
            Self::LimitsExceeded => "limits-exceeded",
            Self::Encrypted => "encrypted",
            Self::Malformed => "malformed",
            Self::ArchiveNotCovered => "archive-not-covered",
        }
    }
}

/// An answer that says nothing of the document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Surprise {
    #[error("an empty answer")]
    Empty,
    /// Without its final NUL: the rest may have changed its meaning.
    #[error("an answer without its end")]
    Partial,
    #[error("not an answer to INSTREAM")]
    Garbled,
    /// Its own trouble (memory, disk, database), or an error we do not know. Not a fact about the document: facts can not
    /// be taken back, a retry costs little, and the dead letter that may follow is read by somebody who can look.
    #[error("the engine reports an error: {0}")]
    EngineError(String),
}

/// Reads all that clamd sent up to the end of the connection. Only `stream: OK` and one NUL, byte for byte, is clean.
pub fn parse(raw: &[u8]) -> Result<Answer, Surprise> {
    if raw == b"stream: OK\0" {
        return Ok(Answer::Clean);
    }
    let text = match raw {
        [] => return Err(Surprise::Empty),
        _ if raw.len() > REPLY_BYTES_MAX => return Err(Surprise::Garbled),
        [text @ .., 0] => std::str::from_utf8(text).map_err(|_| Surprise::Garbled)?,
        _ => return Err(Surprise::Partial),
    };
    if text.contains(char::is_control) {
        return Err(Surprise::Garbled);
    }
    if let Some(name) = text.strip_prefix("stream: ").and_then(|rest| rest.strip_suffix(" FOUND")) {
        return of_signature(name);
    }
    match text.strip_suffix(" ERROR") {
        Some(error) => of_error(error),
        None => Err(Surprise::Garbled),
    }
}

fn of_signature(name: &str) -> Result<Answer, Surprise> {
    if name.trim().is_empty() {
        return Err(Surprise::Garbled);
    }
    // Not viruses: AlertExceedsMax and AlertEncrypted speak through the same channel.
    Ok(if name.starts_with("Heuristics.Limits.Exceeded") {
        Answer::Unscannable(Unscannable::LimitsExceeded)
    } else if name.starts_with("Heuristics.Encrypted.") {
        Answer::Unscannable(Unscannable::Encrypted)
    } else {
        Answer::Infected { signature: name.to_owned() }
    })
}

/// The texts are those of libclamav's `cl_strerror` and clamd's `scanstream`.
fn of_error(error: &str) -> Result<Answer, Surprise> {
    let reason = match error.strip_prefix("stream: ").unwrap_or(error).trim_end_matches('.') {
        "INSTREAM size limit exceeded" | "INSTREAM: Size limit reached" => Unscannable::TooLarge,
        "Exceeded time limit"
        | "Time limit reached"
        | "CL_ETIMEOUT: Time limit reached"
        | "Exceeded max recursion"
        | "Exceeded max scan size"
        | "Exceeded max scan files"
        | "CL_EMAXREC"
        | "CL_EMAXSIZE"
        | "CL_EMAXFILES" => Unscannable::LimitsExceeded,
        "Can't unpack some data"
        | "Can't parse data"
        | "Bad format or broken data"
        | "CL_EFORMAT: Bad format or broken data" => Unscannable::Malformed,
        other => return Err(Surprise::EngineError(other.to_owned())),
    };
    Ok(Answer::Unscannable(reason))
}

#[cfg(test)]
mod tests;
