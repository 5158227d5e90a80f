use std::net::IpAddr;

use serde::Deserialize;
use url::{Host, Url};

use crate::problem::{Kind, Problem};

/// The vocabulary that clients see; the dispatcher's is the same.
const EVENT_TYPES: [&str; 6] = [
    "document.uploaded",
    "document.virus_scanned",
    "document.deduplicated",
    "document.text_extracted",
    "document.erased",
    "document.infection_found",
];
const URL_BYTES_MAX: usize = 2_048;
const DESCRIPTION_CHARS_MAX: usize = 256;

/// What a client sends to subscribe.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWebhook {
    url: String,
    #[serde(default)]
    event_types: Vec<String>,
    #[serde(default)]
    description: Option<String>,
}

/// What can be stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    pub url: String,
    pub event_types: Vec<String>,
    pub description: Option<String>,
}

impl NewWebhook {
    /// Checks what can be told from the text alone. Where the URL's host leads is checked when it is dialled, each time
    /// anew, by webhook-dispatcher: an answer of today's DNS proves nothing for tomorrow.
    pub(super) fn validate(self, allow_loopback: bool) -> Result<Subscription, Problem> {
        let url = valid_url(&self.url, allow_loopback).map_err(|why| Problem::new(Kind::InvalidWebhook, why))?;
        let mut event_types = self.event_types;
        if !event_types.iter().all(|wanted| EVENT_TYPES.contains(&wanted.as_str())) {
            return Err(Problem::new(
                Kind::InvalidWebhook,
                format!("event_types are some of {}.", EVENT_TYPES.join(", ")),
            ));
        }
        event_types.sort_unstable();
        event_types.dedup();
        let unfit = |text: &String| text.chars().count() > DESCRIPTION_CHARS_MAX || text.chars().any(char::is_control);
        if self.description.as_ref().is_some_and(unfit) {
            let why = format!("description has at most {DESCRIPTION_CHARS_MAX} characters, and no control characters.");
            return Err(Problem::new(Kind::InvalidWebhook, why));
        }
        Ok(Subscription { url, event_types, description: self.description })
    }
}

fn valid_url(text: &str, allow_loopback: bool) -> Result<String, &'static str> {
    if text.len() > URL_BYTES_MAX {
        return Err("url has at most 2048 bytes.");
    }
    // The parser drops what browsers drop; what is stored must be what was sent.
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("url holds white space.");
    }
    let url = Url::parse(text).map_err(|_| "url is not an absolute URL.")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("url holds a user or a password; authenticate by the signature.");
    }
    if url.fragment().is_some() {
        return Err("url has a fragment.");
    }
    let host = url.host().ok_or("url has no host.")?;
    match url.scheme() {
        "https" => {}
        "http" if allow_loopback && is_loopback(&host) => {}
        _ => return Err("url must be https."),
    }
    if is_loopback(&host) && !allow_loopback {
        return Err("url leads to this machine.");
    }
    if url.as_str().len() > URL_BYTES_MAX {
        return Err("url has at most 2048 bytes.");
    }
    Ok(url.into())
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => match address.to_canonical() {
            IpAddr::V4(mapped) => mapped.is_loopback(),
            IpAddr::V6(address) => address.is_loopback(),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn webhook(url: &str) -> NewWebhook {
        NewWebhook { url: url.to_owned(), event_types: vec![], description: None }
    }

    #[test]
    fn only_https_without_credentials_is_accepted() {
        assert_eq!(
            webhook("https://Partner.Example/a?b=c").validate(false).unwrap().url,
            "https://partner.example/a?b=c"
        );
        let long = format!("https://a.example/{}", "x".repeat(URL_BYTES_MAX));
        let swelling = format!("https://a.example/{}", "ü".repeat(1_000));
        for bad in [
            "",
            "partner.example",
            "/hook",
            "http://partner.example/",
            "ftp://partner.example/",
            "file:///etc/passwd",
            "https://",
            "https://user@partner.example/",
            "https://:secret@partner.example/",
            "https://a.example/#part",
            "https://a.example/\nx",
            " https://a.example/",
            "https://a.example/\tx",
            "javascript:alert(1)",
            "https://localhost/",
            "https://a.localhost./",
            "https://127.0.0.1/",
            "https://0x7f.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            &long,
            &swelling,
        ] {
            assert!(webhook(bad).validate(false).is_err(), "{bad}");
        }
    }

    #[test]
    fn development_may_use_http_on_loopback_and_nowhere_else() {
        for good in
            ["http://127.0.0.1:9000/hook", "http://localhost:9000/", "http://[::1]/", "https://partner.example/"]
        {
            assert!(webhook(good).validate(true).is_ok(), "{good}");
        }
        assert!(webhook("http://partner.example/").validate(true).is_err());
        assert!(webhook("http://10.0.0.1/").validate(true).is_err());
    }

    #[test]
    fn event_types_are_known_and_each_is_kept_once() {
        let mut twice = webhook("https://a.example/");
        twice.event_types =
            vec!["document.uploaded".into(), "document.deduplicated".into(), "document.uploaded".into()];
        assert_eq!(twice.validate(false).unwrap().event_types, ["document.deduplicated", "document.uploaded"]);
        let mut unknown = webhook("https://a.example/");
        unknown.event_types = vec!["document.*".into()];
        assert!(unknown.validate(false).is_err());
    }

    #[test]
    fn a_description_is_short_and_plain() {
        for (description, good) in
            [("Zürich", true), (&"ü".repeat(256), true), (&"x".repeat(257), false), ("a\u{1b}[2J", false)]
        {
            let mut described = webhook("https://a.example/");
            described.description = Some(description.to_owned());
            assert_eq!(described.validate(false).is_ok(), good, "{description}");
        }
    }
}
