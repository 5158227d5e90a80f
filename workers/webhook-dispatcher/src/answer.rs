use std::{error::Error as StdError, io, time::Duration};

use crate::{
    InvalidSecret,
    egress::{NotPublic, Refusal},
};

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 2xx.
    Accepted { status: u16 },
    /// Any other status. Redirects are not followed: their target was not subscribed.
    Declined { status: u16, retry_after: Option<Duration> },
    /// 410, or the header `webhook-delivery: abort-message`: the endpoint does not want this message, now or later.
    Aborted { status: u16 },
    /// No answer; the endpoint may have got the message all the same.
    Lost(Lost),
    /// The host resolves to no public address. Names change, so it is tried again.
    Inside,
    /// The URL itself is refused; it can not change.
    Refused(Refusal),
    /// The subscription's secret is no key.
    Unsigned(InvalidSecret),
}

/// Why there is no answer, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    #[error("no answer in time")]
    Timeout,
    #[error("the host name could not be resolved")]
    Unresolved,
    #[error("the endpoint's certificate was not accepted, or TLS failed")]
    Tls,
    #[error("no connection to the endpoint")]
    Unreachable,
    #[error("the connection broke before the answer was complete, or the answer is not HTTP")]
    Broken,
}

impl Answer {
    /// A label of a metric.
    pub fn result(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "delivered",
            Self::Declined { .. } => "declined",
            Self::Aborted { .. } => "aborted",
            Self::Lost(Lost::Timeout) => "timeout",
            Self::Lost(_) => "unreachable",
            Self::Inside | Self::Refused(_) => "refused",
            Self::Unsigned(_) => "unsigned",
        }
    }

    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Accepted { status } | Self::Declined { status, .. } | Self::Aborted { status } => Some(*status),
            Self::Lost(_) | Self::Inside | Self::Refused(_) | Self::Unsigned(_) => None,
        }
    }

    /// What went wrong, in words for the subscriber; holds nothing of the answer, the URL or our network.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::Accepted { .. } => None,
            Self::Declined { status: status @ 300..=399, .. } => {
                Some(format!("answered {status}; redirects are not followed"))
            }
            Self::Declined { status, .. } => Some(format!("answered {status}")),
            Self::Aborted { status } => Some(format!("answered {status} and wants no further attempt")),
            Self::Lost(lost) => Some(lost.to_string()),
            Self::Inside => Some(format!("refused: {NotPublic}")),
            Self::Refused(refusal) => Some(format!("refused: {refusal}")),
            Self::Unsigned(error) => Some(error.to_string()),
        }
    }

    /// Whether the endpoint is to blame for the failure, and may need a rest.
    pub fn is_strain(&self) -> bool {
        matches!(self, Self::Declined { .. } | Self::Lost(_) | Self::Inside)
    }

    /// The answer that a failed exchange stands for. The client's error is read by its causes, as its text holds the URL.
    pub(crate) fn of_failure(error: &reqwest::Error) -> Self {
        let (mut resolving, mut tls) = (false, false);
        let mut cause = error.source();
        while let Some(current) = cause {
            if current.is::<NotPublic>() {
                return Self::Inside;
            }
            resolving |= current.to_string() == "dns error";
            let io = current.downcast_ref::<io::Error>();
            // rustls speaks through `io::Error`s of this kind.
            tls |= io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData);
            // The source of an `io::Error` is that of the error in it, which would be passed over.
            cause = match io.and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => current.source(),
            };
        }
        Self::Lost(match () {
            () if error.is_timeout() => Lost::Timeout,
            () if resolving => Lost::Unresolved,
            () if tls && error.is_connect() => Lost::Tls,
            () if error.is_connect() => Lost::Unreachable,
            () => Lost::Broken,
        })
    }
}
