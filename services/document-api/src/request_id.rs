use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const CHARS_MAX: usize = 128;

/// The name of one request, in its answer and in every line of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(String);

impl RequestId {
    /// The client's, when it is harmless in a log and in a header; otherwise a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(HEADER).iter();
        let harmless = |value: &&HeaderValue| {
            (1..=CHARS_MAX).contains(&value.len())
                && value.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
        };
        match (given.next().filter(harmless).and_then(|v| v.to_str().ok()), given.next()) {
            (Some(id), None) => Self(id.to_owned()),
            _ => Self(Uuid::new_v4().to_string()),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn header_value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn given(values: &[&[u8]]) -> HeaderMap {
        values.iter().map(|value| (HEADER, HeaderValue::from_bytes(value).unwrap())).collect()
    }

    #[test]
    fn a_harmless_id_is_taken_over() {
        assert_eq!(RequestId::of(&given(&[b"Ab-1._z"])).as_str(), "Ab-1._z");
    }

    #[test]
    fn anything_else_is_replaced() {
        let long = [b'a'; CHARS_MAX + 1];
        for bad in [&[b"".as_slice()] as &[&[u8]], &[], &[b"a b"], &[b"a\"b"], &[b"\xff"], &[&long], &[b"one", b"two"]]
        {
            let id = RequestId::of(&given(bad));
            assert!(Uuid::parse_str(id.as_str()).is_ok(), "{bad:?} became {id}");
        }
    }
}
