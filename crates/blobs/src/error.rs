use std::fmt::Write as _;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no such blob")]
    NotFound,
    #[error("the blob is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    /// The sender of an upload stopped or broke off; nothing was stored.
    #[error("the upload broke off: {0}")]
    BrokenUpload(String),
    /// Trying again may help.
    #[error("blob store: {0}")]
    Unavailable(String),
    /// The store is there and does not let us: credentials, customer key or policy. Somebody must put it right.
    #[error("the blob store refuses: {0}")]
    Refused(String),
    /// What an upload passes through on its way, a file on this machine, fails: no space, no permission.
    #[error("spool: {0}")]
    Spool(#[source] std::io::Error),
    #[error("blob store configuration: {0}")]
    Config(String),
    /// The bytes belong into another region than the one of this process.
    #[error("this process serves the region {ours}, and the document is of {theirs}")]
    OtherRegion { ours: String, theirs: String },
    /// The store says of itself that it is another region's: the configuration is wrong.
    #[error("this process serves the region {ours}, and its blob store is the one of {theirs}")]
    StoreOfOtherRegion { ours: String, theirs: String },
    /// Under the name of a content lie other bytes: the store is damaged.
    #[error("{stored_bytes} bytes lie under the name of a content of {size_bytes}")]
    Differs { size_bytes: u64, stored_bytes: u64 },
}

impl Error {
    /// Whether the store said no, or was not asked: what was wanted of it is not on its way there any more.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Config(_) | Self::OtherRegion { .. } | Self::StoreOfOtherRegion { .. })
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound,
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Self::Refused(redacted(&error))
            }
            _ => Self::Unavailable(redacted(&error)),
        }
    }
}

/// What an error says, without a server's answer but for its code: S3 answers a bad signature with the whole request,
/// and the customer's key is a header of it.
fn redacted(error: &object_store::Error) -> String {
    let text = error.to_string();
    let Some((said, answer)) = text.split_once('<') else { return text };
    let mut said = said.trim_end_matches([' ', ':']).to_owned();
    let code = answer.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
    if let Some(code) = code.filter(|code| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric())) {
        // Writing into a String does not fail.
        write!(said, " ({code})").ok();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_still_be_on_its_way_was_not_refused() {
        assert!(Error::Refused("403".into()).is_refusal());
        assert!(!Error::Unavailable("no answer".into()).is_refusal());
    }

    #[test]
    fn a_servers_answer_is_not_repeated_because_it_may_hold_the_customers_key() {
        let answer = "403 Forbidden: <?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><CanonicalRequest>\
                      x-amz-server-side-encryption-customer-key:c2VjcmV0</CanonicalRequest></Error>";
        let error = object_store::Error::Generic { store: "S3", source: answer.into() };
        let said = Error::from(error).to_string();
        assert!(said.ends_with("403 Forbidden (SignatureDoesNotMatch)"), "{said}");
        assert!(!said.contains("c2VjcmV0"), "{said}");
    }
}
