//! Problem details (RFC 9457): the only form in which this service says no.

use std::{borrow::Cow, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

macro_rules! kinds {
    ($($kind:ident, $status:literal, $slug:literal, $title:literal, $meaning:literal;)+) => {
        /// What can be wrong. Slugs are part of the contract: they are never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($kind),+ }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            const fn status_code(self) -> u16 {
                match self { $(Self::$kind => $status),+ }
            }

            pub fn slug(self) -> &'static str {
                match self { $(Self::$kind => $slug),+ }
            }

            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$kind => $title),+ }
            }

            /// A sentence on what it means and what to do; the detail of a problem that has none of its own.
            pub(crate) fn meaning(self) -> &'static str {
                match self { $(Self::$kind => $meaning),+ }
            }
        }
    };
}

kinds! {
    BadRequest, 400, "bad-request", "Bad request", "The request is malformed.";
    InvalidTenant, 400, "invalid-tenant", "Invalid tenant", "X-Tenant-Id is given once and matches ^[a-z0-9][a-z0-9-]{0,62}$.";
    InvalidPage, 400, "invalid-page", "Invalid page",
        "page is a whole number from 1, page_size one from 1 to 200, at most 1000000 rows can be skipped, and there are no other parameters.";
    InvalidSearch, 400, "invalid-search", "Invalid search",
        "q has at most 200 characters and 16 words, and a word to look for: only words that are not wanted (-word), also as one side of `or`, are not searched for.";
    InvalidIdempotencyKey, 400, "invalid-idempotency-key", "Invalid Idempotency-Key",
        "Idempotency-Key is given once and has 1 to 255 visible ASCII characters.";
    InvalidMultipart, 400, "invalid-multipart", "Invalid multipart body",
        "The body is not well-formed multipart/form-data, or it broke off.";
    MissingFile, 400, "missing-file", "No file", "The body must have exactly one part, named `file`.";
    TooManyParts, 400, "too-many-parts", "Too many parts", "The body must have exactly one part, named `file`.";
    InvalidJson, 400, "invalid-json", "Invalid JSON", "The body is not JSON of the shape that the operation takes.";
    NotFound, 404, "not-found", "Not found", "There is no such thing, or it is not this tenant's.";
    NoText, 404, "no-text", "No text", "There is no text of this document: not yet, or because there is none to be had. The document's state says which.";
    NoSuchForm, 404, "no-such-form", "No such form",
        "This form of the document does not exist: not yet, or it was not asked for, or there is nothing to make it of.";
    MethodNotAllowed, 405, "method-not-allowed", "Method not allowed", "The path exists, and not with this method; Allow names the ones it has.";
    OtherRegion, 421, "other-region", "Another region's",
        "The document, or all that this tenant has, lies in another region than the one that answers here.";
    UploadTooSlow, 408, "upload-too-slow", "The upload was too slow", "The body did not arrive in time; nothing was stored.";
    RequestInProgress, 409, "request-in-progress", "Request in progress",
        "Another request with this Idempotency-Key is being worked on. Its answer can be had by the same request a little later.";
    NotScannedYet, 409, "not-scanned-yet", "Not scanned yet",
        "The content is given out after a clean verdict and once its type is known to be an honest one; one of both is still to come.";
    NotClean, 409, "not-clean", "Not clean", "The content is given out after a clean verdict only, and the verdict was another.";
    Refused, 409, "refused", "Refused", "The content is not given out: it was refused, and the document's `content.reason` says why.";
    TooManyWebhooks, 409, "too-many-webhooks", "Too many webhooks", "The tenant has as many subscriptions as are allowed; delete one first.";
    LegalHold, 409, "legal-hold", "Legal hold", "The document must stay for now; who keeps it decides when it may be erased.";
    Erased, 410, "erased", "Erased", "The document was erased, with all that was made of it. It does not come back.";
    TooLarge, 413, "too-large", "Too large", "The body is larger than is allowed.";
    NotMultipart, 415, "not-multipart", "Not multipart/form-data", "Content-Type must be multipart/form-data with a boundary.";
    NotJson, 415, "not-json", "Not JSON", "Content-Type must be application/json.";
    IdempotencyKeyReused, 422, "idempotency-key-reused", "Idempotency-Key reused",
        "This Idempotency-Key was used for another file; take a new one.";
    InvalidWebhook, 422, "invalid-webhook", "Invalid webhook", "The subscription can not be accepted as it is.";
    Internal, 500, "internal", "Internal error", "Something is wrong on our side. The request id finds it in the logs.";
    Unavailable, 503, "unavailable", "Unavailable", "Something that the service depends on is away; try again later.";
    Busy, 503, "busy", "Busy", "As many uploads, or searches, are running as are allowed; try again a little later.";
    TimedOut, 503, "timed-out", "Timed out", "The answer took too long; try again later.";
}

/// Where the meaning of a type is served, and what its name is built from.
pub(crate) const PATH: &str = "/problems/";

impl Kind {
    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status_code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn type_reference(self) -> String {
        format!("{PATH}{}", self.slug())
    }
}

/// A refusal or a failure, as a handler returns it. Its text goes to the client: no personal data, no inner detail.
///
/// As a response it has no body yet: [`observe`](crate::observe) knows the request and writes it.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
}

impl Problem {
    pub fn of(kind: Kind) -> Self {
        Self { kind, detail: Cow::Borrowed(kind.meaning()), retry_after: None }
    }

    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None }
    }

    pub fn unavailable() -> Self {
        Self::of(Kind::Unavailable).retry_after(Duration::from_secs(5))
    }

    /// When trying again may help; in whole seconds, at least one.
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The body as it is sent.
    pub fn body<'a>(&'a self, instance: &'a str, request_id: &'a str) -> Body<'a> {
        Body {
            r#type: self.kind.type_reference(),
            title: self.kind.title(),
            status: self.kind.status_code(),
            detail: &self.detail,
            instance,
            request_id,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    request_id: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        if let Some(after) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<docfleet_blobs::Error> for Problem {
    /// For blobs whose row is there: that one is missing is our failure, not the client's.
    fn from(error: docfleet_blobs::Error) -> Self {
        match error {
            docfleet_blobs::Error::Unavailable(_)
            | docfleet_blobs::Error::Refused(_)
            | docfleet_blobs::Error::Spool(_) => {
                tracing::warn!(%error, "the blob store is away");
                Self::unavailable()
            }
            docfleet_blobs::Error::OtherRegion { ours, theirs } => Self::new(
                Kind::OtherRegion,
                format!("This is the region {ours}; what you ask for lies in the region {theirs}."),
            ),
            error => {
                tracing::error!(%error, "a blob can not be had");
                Self::of(Kind::Internal)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_unique_and_statuses_are_errors() {
        let mut slugs: Vec<_> = Kind::ALL.iter().map(|kind| kind.slug()).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|kind| kind.status().is_client_error() || kind.status().is_server_error()));
    }

    #[test]
    fn waiting_is_told_in_whole_seconds_and_never_as_zero() {
        let response = Problem::of(Kind::Busy).retry_after(Duration::from_millis(300)).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
