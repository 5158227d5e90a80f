use std::{sync::Arc, time::Duration};

use reqwest::{
    Client, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
    redirect, retry,
};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::{
    Answer, Lost, SigningKey, WebhooksConfig,
    deliveries::Claimed,
    egress::{GuardedResolver, Lookup, Rules},
    retry_after,
};

const USER_AGENT: &str = concat!("docfleet-webhooks/", env!("CARGO_PKG_VERSION"));
/// Nothing in an answer's body is of interest; so much is taken for the sake of endpoints that mind a cut connection.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Carries a delivery to its endpoint, once. Cheap to clone.
#[derive(Clone)]
pub struct Courier {
    client: Client,
    rules: Rules,
    request_timeout: Duration,
    total_timeout: Duration,
}

impl Courier {
    /// # Errors
    /// When TLS can not be set up: most often the host has no trusted certificates (Debian's `ca-certificates`).
    pub fn new(config: &WebhooksConfig, lookup: Lookup) -> Result<Self, reqwest::Error> {
        let rules = Rules::from(config);
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .dns_resolver(Arc::new(GuardedResolver::new(lookup, rules.clone())))
            .redirect(redirect::Policy::none())
            // A proxy from the environment would dial in our place, unchecked.
            .no_proxy()
            // Each attempt resolves and dials anew; a kept connection would also be tried twice when it is stale.
            .pool_max_idle_per_host(0)
            .retry(retry::never())
            .http1_only()
            .referer(false)
            // Other crates may switch these on for the whole build: a small body could become a large one.
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .connect_timeout(config.connect_timeout)
            .build()?;
        Ok(Self { client, rules, request_timeout: config.request_timeout, total_timeout: config.total_timeout })
    }

    /// One attempt. Ends within the total timeout; soon after `shutdown`, once the answer's head is there.
    pub async fn carry(&self, delivery: &Claimed, traceparent: Option<&str>, shutdown: &CancellationToken) -> Answer {
        let deadline = Instant::now() + self.total_timeout;
        let url = match self.rules.check(&delivery.url) {
            Ok(url) => url,
            Err(refusal) => return Answer::Refused(refusal),
        };
        let now = OffsetDateTime::now_utc();
        let (id, at) = (delivery.id.to_string(), now.unix_timestamp());
        let signed = SigningKey::parse(&delivery.secret).and_then(|key| key.sign(&id, at, delivery.body.as_bytes()));
        let signature = match signed {
            Ok(signature) => signature,
            Err(error) => return Answer::Unsigned(error),
        };
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", at)
            .header("webhook-signature", signature)
            .body(delivery.body.clone());
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        let response = match timeout(self.request_timeout, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Answer::of_failure(&error),
            Err(_) => return Answer::Lost(Lost::Timeout),
        };
        let answer = judge(response.status(), response.headers(), now);
        tokio::select! {
            // The status is the answer; how the body ends changes nothing.
            _ = timeout_at(deadline, drain(response)) => {}
            () = shutdown.cancelled() => {}
        }
        answer
    }
}

fn judge(status: StatusCode, headers: &HeaderMap, now: OffsetDateTime) -> Answer {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let aborts = text("webhook-delivery").is_some_and(|value| value.trim().eq_ignore_ascii_case("abort-message"));
    let code = status.as_u16();
    if status.is_success() {
        Answer::Accepted { status: code }
    } else if status == StatusCode::GONE || aborts {
        Answer::Aborted { status: code }
    } else {
        let retry_after = text(RETRY_AFTER.as_str()).and_then(|value| retry_after::parse(value, now));
        Answer::Declined { status: code, retry_after }
    }
}

async fn drain(mut response: Response) {
    let mut left = BODY_BYTES_MAX;
    while let Ok(Some(chunk)) = response.chunk().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn judged(status: u16, header: Option<(&'static str, &'static str)>) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        judge(StatusCode::from_u16(status).expect("a status"), &headers, OffsetDateTime::UNIX_EPOCH)
    }

    #[test]
    fn only_2xx_is_success() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(status, None), Answer::Accepted { status });
        }
        for status in [301, 302, 307, 308, 304, 400, 401, 404, 429, 500, 503, 599] {
            assert_eq!(judged(status, None), Answer::Declined { status, retry_after: None });
        }
    }

    #[test]
    fn gone_and_the_abort_header_end_a_message_and_nothing_else_does() {
        assert_eq!(judged(410, None), Answer::Aborted { status: 410 });
        assert_eq!(judged(500, Some(("webhook-delivery", "Abort-Message "))), Answer::Aborted { status: 500 });
        assert_eq!(judged(200, Some(("webhook-delivery", "abort-message"))), Answer::Accepted { status: 200 });
        assert_eq!(
            judged(500, Some(("webhook-delivery", "later"))),
            Answer::Declined { status: 500, retry_after: None }
        );
    }

    #[test]
    fn a_wish_for_patience_is_read() {
        let wish = |value| match judged(429, Some(("retry-after", value))) {
            Answer::Declined { retry_after, .. } => retry_after,
            other => panic!("{other:?}"),
        };
        assert_eq!(wish("7"), Some(Duration::from_secs(7)));
        assert_eq!(wish("never"), None);
    }
}
