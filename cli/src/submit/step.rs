use crate::api::{Document, Subscription};

/// Where a document is on its way; nothing when it has arrived everywhere.
pub fn step_of(document: &Document, subscriptions: &[Subscription]) -> Option<&'static str> {
    if document.is_finished() {
        let ended = document.webhooks.delivered + document.webhooks.failed;
        let announced = document.webhooks.pending == 0 && ended >= deliveries_due(document, subscriptions);
        return (!announced).then_some("being announced");
    }
    Some(match (&document.scan, &document.content) {
        (None, _) => "waiting for the virus scan",
        (Some(_), None) => "being identified",
        (Some(_), Some(_)) => "being read",
    })
}

/// How many deliveries the document's events must lead to: one for each event that a subscription wants.
pub fn deliveries_due(document: &Document, subscriptions: &[Subscription]) -> u64 {
    let wants = |subscription: &Subscription, name: &str| {
        subscription.event_types.is_empty() || subscription.event_types.iter().any(|wanted| wanted == name)
    };
    let older = subscriptions.iter().filter(|subscription| subscription.created_at <= document.uploaded_at);
    older.map(|subscription| document.event_types().filter(|name| wants(subscription, name)).count() as u64).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn document(extra: serde_json::Value) -> Document {
        let mut all = json!({
            "id": "01900000-0000-7000-8000-000000000001", "state": "processing", "uploaded_at": "2026-01-02T00:00:00Z",
            "finished_at": null, "scan": null, "content": null, "text": null
        });
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn subscription(created_at: &str, event_types: &[&str]) -> Subscription {
        serde_json::from_value(json!({
            "id": "01900000-0000-7000-8000-000000000009", "url": "http://x/", "event_types": event_types, "created_at": created_at
        }))
        .unwrap()
    }

    #[test]
    fn a_finished_document_is_awaited_until_every_subscriber_has_every_event() {
        let subscriptions = [
            subscription("2026-01-01T00:00:00Z", &[]),
            subscription("2026-01-01T00:00:00Z", &["document.text_extracted"]),
            subscription("2026-01-03T00:00:00Z", &[]),
        ];
        let infected = json!({
            "state": "finished", "scan": {"verdict": "infected", "signature": "Eicar", "reason": null},
            "webhooks": {"pending": 0, "delivered": 1, "failed": 0}
        });
        let mut document = document(infected);
        assert_eq!(
            deliveries_due(&document, &subscriptions),
            2,
            "uploaded and scanned, to the older open subscription"
        );
        assert_eq!(step_of(&document, &subscriptions), Some("being announced"));
        document.webhooks.delivered = 2;
        assert_eq!(step_of(&document, &subscriptions), None);
        document.webhooks.pending = 1;
        assert_eq!(step_of(&document, &subscriptions), Some("being announced"));
    }

    #[test]
    fn the_step_follows_from_what_is_known() {
        assert_eq!(step_of(&document(json!({})), &[]), Some("waiting for the virus scan"));
        let scan = json!({"verdict": "clean", "signature": null, "reason": null});
        assert_eq!(step_of(&document(json!({ "scan": scan })), &[]), Some("being identified"));
        let content = json!({"outcome": "unique", "duplicate_of": null, "reason": null, "mime": "image/png"});
        assert_eq!(step_of(&document(json!({ "scan": scan, "content": content })), &[]), Some("being read"));
    }
}
