//! Whether all is as it must be: drained, audited, and each document true to its kind.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::{
    documents::{Document, Fate},
    fleet::Fleet,
    process::docfleet,
    receiver::Receiver,
};

/// Undecodable messages that were sent: the number in their header `poison`, and the topic.
#[derive(Debug, Default)]
pub struct Poisons {
    sent: Vec<(usize, &'static str)>,
    /// Letters before this number went away with the consumer's dead letter topic.
    gone: HashMap<&'static str, usize>,
}

impl Poisons {
    pub async fn send(&mut self, fleet: &Fleet, topic: &'static str, payload: Option<&[u8]>) {
        let number = self.sent.len();
        let text = number.to_string();
        fleet.topics.produce(topic, &format!("poison-{}", number % 7), payload, &[("poison", &text)]).await;
        self.sent.push((number, topic));
    }

    /// One of the usual kinds, by turns.
    pub async fn send_usual(&mut self, fleet: &Fleet, topic: &'static str) {
        let payload: &[u8] = match self.sent.len() % 3 {
            0 => b"no frame at all",
            1 => b"",
            // A frame of a schema that exists, and a datum that is none.
            _ => &[0, 0, 0, 0, 1, 255, 255, 255],
        };
        self.send(fleet, topic, Some(payload)).await;
    }

    /// The consumer's dead letter topic was deleted just now.
    pub fn topic_is_new(&mut self, consumer: &'static str) {
        self.gone.insert(consumer, self.sent.len());
    }

    pub fn sent(&self) -> usize {
        self.sent.len()
    }

    /// Dead letters that there must be, over all consumers.
    pub fn letters(&self) -> usize {
        self.sent.iter().map(|(_, topic)| readers(topic).len()).sum()
    }
}

/// Who reads a topic of events.
pub fn readers(topic: &str) -> Vec<&'static str> {
    let own = match topic {
        "documents.uploaded.v1" => Some("av-scan"),
        "documents.virus-scanned.v1" => Some("dedup"),
        "documents.deduplicated.v1" => Some("ocr"),
        _ => None,
    };
    own.into_iter().chain(["projection-builder", "webhook-dispatcher"]).collect()
}

/// Nothing is on its way any more, and the audit finds nothing; else what is missing.
///
/// # Errors
/// What is not as it must be, for people.
pub async fn drained(fleet: &Fleet, accepted: usize) -> Result<(), String> {
    let waiting = [
        (
            "deliveries are pending",
            fleet.count("SELECT count(*) FROM webhooks.deliveries WHERE status = 'pending'").await,
        ),
        ("outbox rows are unpublished", fleet.count("SELECT count(*) FROM pipeline.outbox_unpublished").await),
        ("messages are retried", fleet.count("SELECT count(*) FROM pipeline.inbox WHERE outcome = 'retrying'").await),
        ("messages are parked", fleet.count("SELECT count(*) FROM pipeline.parked_messages").await),
    ];
    if let Some((what, count)) = waiting.iter().find(|(_, count)| *count > 0) {
        return Err(format!("{count} {what}"));
    }
    let shown = fleet.count("SELECT count(*) FROM views.document_view WHERE uploaded_at IS NOT NULL").await;
    if usize::try_from(shown).unwrap() != accepted {
        return Err(format!("{shown} documents of {accepted} are in the view"));
    }
    // Reading the topics costs most.
    for arguments in [&["audit"][..], &["audit", "--topics"]] {
        let (code, output) = docfleet(&fleet.direct, arguments).await;
        if code != 0 {
            return Err(output);
        }
    }
    Ok(())
}

/// # Panics
/// When a document of `sent` is not what its kind must become; when there are more or fewer than `accepted`.
pub async fn check_documents(fleet: &Fleet, sent: &HashMap<String, Document>, accepted: usize) {
    let stored = fleet.count("SELECT count(*) FROM documents.documents").await;
    assert_eq!(stored, i64::try_from(accepted).unwrap(), "one document for each that was accepted");
    for (id, document) in sent {
        let shown = fleet.client.document(id).await.unwrap();
        let context = || format!("{}: {shown:#}", document.name);
        assert_eq!(shown["state"], "finished", "{}", context());
        let is = |path: &str, value: &str| shown.pointer(path).and_then(Value::as_str) == Some(value);
        let events = match document.fate {
            Fate::Read => {
                assert!(is("/content/outcome", "unique") && is("/text/outcome", "extracted"), "{}", context());
                assert!(fleet.client.text(id).await.contains("document"), "{}", context());
                4
            }
            Fate::OneOfMany(_) if is("/content/outcome", "unique") => {
                assert!(is("/text/outcome", "extracted"), "{}", context());
                4
            }
            Fate::OneOfMany(_) => {
                assert!(is("/content/outcome", "duplicate"), "{}", context());
                3
            }
            Fate::Infected => {
                assert!(is("/scan/verdict", "infected"), "{}", context());
                2
            }
            Fate::Refused => {
                assert!(is("/content/outcome", "refused"), "{}", context());
                3
            }
            Fate::Unreadable => {
                assert!(is("/text/outcome", "unreadable"), "{}", context());
                4
            }
        };
        // The view counts what it applied: one event doubled or lost would show here.
        assert_eq!(shown["version"], events, "{}", context());
    }
}

/// # Panics
/// When of the documents with one content not exactly one is unique, or a duplicate is one of something else.
pub async fn check_contents(fleet: &Fleet, all: &HashMap<String, Document>) {
    let mut unique: BTreeMap<u8, usize> = BTreeMap::new();
    for (id, document) in all {
        let Fate::OneOfMany(content) = document.fate else { continue };
        let shown = fleet.client.document(id).await.unwrap();
        if shown["content"]["outcome"] == "unique" {
            *unique.entry(content).or_default() += 1;
        } else {
            let first = shown["content"]["duplicate_of"].as_str().unwrap();
            assert_eq!(all[first].fate, document.fate, "{}: {shown:#}", document.name);
        }
    }
    assert!(unique.values().all(|count| *count == 1), "{unique:?}");
}

/// # Panics
/// When something other than the poisons is dead, or a poison is not.
pub async fn check_dead_letters(fleet: &Fleet, poisons: &Poisons) {
    let dead = fleet.count("SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead'").await;
    assert_eq!(dead, i64::try_from(poisons.letters()).unwrap(), "every poison is dead, and nothing else");
    for consumer in crate::fleet::CONSUMERS {
        let from = poisons.gone.get(consumer).copied().unwrap_or(0);
        let due = |(number, topic): &&(usize, &'static str)| *number >= from && readers(topic).contains(&consumer);
        let expected: BTreeSet<usize> = poisons.sent.iter().filter(due).map(|(number, _)| *number).collect();
        let letters = fleet.topics.read(&format!("{consumer}.dlq")).await;
        let found: BTreeSet<usize> = letters.iter().map(|letter| letter.headers["poison"].parse().unwrap()).collect();
        assert_eq!(found, expected, "{consumer}: on the topic too");
    }
}

/// # Panics
/// When an event was not announced, or not always with one body and the trace of its upload.
pub async fn check_webhooks(fleet: &Fleet, receiver: &Receiver, all: &HashMap<String, Document>) {
    let events = fleet.count("SELECT count(*) FROM pipeline.outbox_events WHERE kind = 'event'").await;
    let delivered = fleet.count("SELECT count(*) FROM webhooks.deliveries WHERE status = 'delivered'").await;
    assert_eq!(delivered, events, "one delivery for each event");
    let (ids, stable) = receiver.deliveries();
    assert_eq!(i64::try_from(ids).unwrap(), events, "the receiver saw each id");
    assert!(stable, "one body over all attempts");
    for (id, traces) in receiver.traces() {
        // From the upload through outbox, Kafka and every worker to the partner.
        assert_eq!(traces.into_iter().collect::<Vec<_>>(), [all[&id].trace.as_str()], "one trace for document {id}");
    }
}
