use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::signature::{Secret, Signed};
use crate::output;

/// Ids that are remembered; older ones are forgotten first.
const SEEN_MAX: usize = 100_000;
const VALUE_CHARS_MAX: usize = 60;

pub struct Receiver {
    secret: Option<Secret>,
    fail_first: u32,
    json: bool,
    seen: Mutex<Seen>,
}

/// What came of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Accepted,
    /// Accepted before, under the same id: the sender did not get our answer.
    Repeat,
    /// As --fail-first says.
    FailedOnPurpose,
    Refused,
}

#[derive(Serialize)]
struct Delivery<'a> {
    #[serde(with = "time::serde::rfc3339")]
    received_at: OffsetDateTime,
    webhook_id: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    answer: Answer,
    status: u16,
    /// From 1, of this id.
    delivery: u32,
    verified: bool,
    refusal: Option<&'static str>,
    data: &'a Value,
}

impl Receiver {
    pub fn new(secret: Option<Secret>, fail_first: u32, json: bool) -> Self {
        Self { secret, fail_first, json, seen: Mutex::default() }
    }

    fn take(&self, headers: &HeaderMap, body: &[u8], now: OffsetDateTime) -> StatusCode {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let id = header("webhook-id");
        let signed =
            Signed { id, timestamp: header("webhook-timestamp"), signatures: header("webhook-signature"), body };
        let refusal = match &self.secret {
            _ if id.is_empty() => Some("no webhook-id"),
            Some(secret) => secret.verify(&signed, now.unix_timestamp()).err().map(|refusal| refusal.as_str()),
            None => None,
        };
        let (answer, delivery) = match refusal {
            // A stranger's ids are not remembered.
            Some(_) => (Answer::Refused, 0),
            None => self.seen.lock().unwrap_or_else(PoisonError::into_inner).count(id, self.fail_first),
        };
        let status = match answer {
            Answer::Accepted | Answer::Repeat => StatusCode::NO_CONTENT,
            Answer::FailedOnPurpose => StatusCode::SERVICE_UNAVAILABLE,
            Answer::Refused => StatusCode::UNAUTHORIZED,
        };
        let content: Value = serde_json::from_slice(body).unwrap_or_default();
        let told = self.tell(&Delivery {
            received_at: now,
            webhook_id: id,
            event_type: content.get("type").and_then(Value::as_str).unwrap_or("?"),
            answer,
            status: status.as_u16(),
            delivery,
            verified: self.secret.is_some() && refusal.is_none(),
            refusal,
            data: content.get("data").unwrap_or(&Value::Null),
        });
        // A full disk must not make the fleet retry.
        if let Err(error) = told {
            output::complain(&error);
        }
        status
    }

    fn tell(&self, delivery: &Delivery<'_>) -> Result<(), crate::Error> {
        if self.json { output::json_line(delivery) } else { output::line(&line_of(delivery)) }
    }
}

pub async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    receiver.take(&headers, &body, OffsetDateTime::now_utc())
}

fn line_of(delivery: &Delivery<'_>) -> String {
    let what = match delivery.answer {
        Answer::Accepted if delivery.verified => "accepted".to_owned(),
        Answer::Accepted => "accepted, unverified".to_owned(),
        Answer::Repeat => "repeat".to_owned(),
        Answer::FailedOnPurpose => "failed on purpose".to_owned(),
        Answer::Refused => format!("refused: {}", delivery.refusal.unwrap_or("?")),
    };
    let mut line = format!(
        "{}  {:<24}  {} {what}  {}",
        output::instant(delivery.received_at),
        output::plain(delivery.event_type, VALUE_CHARS_MAX),
        delivery.status,
        output::plain(delivery.webhook_id, VALUE_CHARS_MAX),
    );
    if delivery.delivery > 1 {
        line.push_str(&format!("  delivery {}", delivery.delivery));
    }
    for (name, value) in delivery.data.as_object().into_iter().flatten() {
        let value = match value {
            Value::Null | Value::Array(_) | Value::Object(_) => continue,
            Value::String(text) => output::plain(text, VALUE_CHARS_MAX),
            other => other.to_string(),
        };
        line.push_str(&format!("  {}={value}", output::plain(name, VALUE_CHARS_MAX)));
    }
    line
}

/// How often each id came.
#[derive(Default)]
struct Seen {
    deliveries: HashMap<String, u32>,
    order: VecDeque<String>,
}

impl Seen {
    fn count(&mut self, id: &str, fail_first: u32) -> (Answer, u32) {
        let deliveries = match self.deliveries.get_mut(id) {
            Some(known) => {
                *known = known.saturating_add(1);
                *known
            }
            None => {
                self.remember(id);
                1
            }
        };
        let answer = match deliveries.saturating_sub(fail_first) {
            0 => Answer::FailedOnPurpose,
            1 => Answer::Accepted,
            _ => Answer::Repeat,
        };
        (answer, deliveries)
    }

    fn remember(&mut self, id: &str) {
        if self.order.len() >= SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.deliveries.remove(&oldest);
        }
        self.deliveries.insert(id.to_owned(), 1);
        self.order.push_back(id.to_owned());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(id: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers
    }

    #[test]
    fn the_first_deliveries_fail_then_one_counts_then_all_are_repeats() {
        let mut seen = Seen::default();
        let answers: Vec<_> = (0..4).map(|_| seen.count("a", 2).0).collect();
        assert_eq!(answers, [Answer::FailedOnPurpose, Answer::FailedOnPurpose, Answer::Accepted, Answer::Repeat]);
        assert_eq!(seen.count("b", 0), (Answer::Accepted, 1), "each event is counted for itself");
    }

    #[test]
    fn an_unsigned_delivery_is_refused_when_there_is_a_secret() {
        let now = OffsetDateTime::now_utc();
        let open = Receiver::new(None, 0, true);
        assert_eq!(open.take(&headers("a"), b"not json", now), StatusCode::NO_CONTENT);
        assert_eq!(open.take(&HeaderMap::new(), b"{}", now), StatusCode::UNAUTHORIZED);
        let closed = Receiver::new(Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), 0, true);
        assert_eq!(closed.take(&headers("a"), b"{}", now), StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn a_line_shows_plain_values_only() {
        let data = serde_json::json!({"document_id": "d", "outcome": "extracted\u{1b}[2J", "pages": [1], "reason": null, "version": 4});
        let line = line_of(&Delivery {
            received_at: OffsetDateTime::UNIX_EPOCH,
            webhook_id: "w",
            event_type: "document.text_extracted",
            answer: Answer::Accepted,
            status: 204,
            delivery: 1,
            verified: true,
            refusal: None,
            data: &data,
        });
        assert_eq!(
            line,
            "1970-01-01 00:00:00Z  document.text_extracted   204 accepted  w  document_id=d  outcome=extracted [2J  version=4"
        );
    }
}
