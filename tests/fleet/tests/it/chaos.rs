use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;

use crate::{
    documents::{Document, Fate, document},
    fleet::Fleet,
    process::docfleet,
    receiver::Receiver,
};

const DOCUMENTS: usize = 500;
/// Undecodable messages, each seen by the three consumers of its topic.
const POISONS: usize = 24;
const POISONED_TOPIC: &str = "documents.uploaded.v1";
const POISONED_CONSUMERS: usize = 3;
/// At least so long is killed, also when the documents are through before.
const TURMOIL: Duration = Duration::from_secs(75);
const HEALING_SECONDS: u64 = 420;

/// The promise of the fleet, under SIGKILL of everything of ours and of Kafka: nothing lost, nothing doubled, every
/// poison a dead letter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_loses_nothing_and_doubles_nothing() {
    let seed = std::env::var("CHAOS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random::<u64>);
    eprintln!("CHAOS_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut fleet = Fleet::start("chaos").await;
    let receiver = Receiver::default();
    fleet.subscribe(&receiver.serve().await).await;

    let sent = turmoil(&mut fleet, &mut random).await;
    heal(&mut fleet, &sent).await;

    check_documents(&fleet, &sent).await;
    check_dead_letters(&fleet).await;
    check_webhooks(&fleet, &receiver, &sent).await;
}

/// Sends documents and poison while processes and Kafka die; returns the documents by id.
async fn turmoil(fleet: &mut Fleet, random: &mut StdRng) -> HashMap<String, Document> {
    let began = Instant::now();
    let mut sent = HashMap::new();
    let mut next_crash = Instant::now() + Duration::from_secs(3);
    let mut next_broker_crash = Instant::now() + Duration::from_secs(12);
    let mut poisons = 0;
    while sent.len() < DOCUMENTS || began.elapsed() < TURMOIL {
        if sent.len() < DOCUMENTS {
            let document = document(sent.len());
            sent.insert(fleet.upload(&document).await, document);
            if sent.len().is_multiple_of(DOCUMENTS / POISONS) && poisons < POISONS {
                poison(fleet, poisons).await;
                poisons += 1;
            }
        } else {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        fleet.revive();
        if Instant::now() >= next_crash {
            let victim = fleet.crash_one(random);
            eprintln!("{:5.1} s: {} documents sent, {victim} killed", began.elapsed().as_secs_f64(), sent.len());
            next_crash = Instant::now() + Duration::from_millis(random.random_range(1_000..4_000));
        }
        if Instant::now() >= next_broker_crash && began.elapsed() < TURMOIL {
            eprintln!("{:5.1} s: {} documents sent, Kafka killed", began.elapsed().as_secs_f64(), sent.len());
            fleet.servers.kill("kafka");
            tokio::time::sleep(Duration::from_millis(random.random_range(200..3_000))).await;
            fleet.servers.start("kafka");
            next_broker_crash = Instant::now() + Duration::from_secs(random.random_range(15..30));
        }
    }
    while poisons < POISONS {
        poison(fleet, poisons).await;
        poisons += 1;
    }
    eprintln!("{:5.1} s: {} kills; healing", began.elapsed().as_secs_f64(), fleet.kills());
    sent
}

async fn poison(fleet: &Fleet, number: usize) {
    let number_text = number.to_string();
    let payload: &[u8] = match number % 3 {
        0 => b"no frame at all",
        1 => b"",
        // A frame of a schema that exists, and a datum that is none.
        _ => &[0, 0, 0, 0, 1, 255, 255, 255],
    };
    fleet.topics.produce(POISONED_TOPIC, "poison", Some(payload), &[("poison", &number_text)]).await;
}

/// No more kills: everything must come to its end, and the audit must say so.
async fn heal(fleet: &mut Fleet, sent: &HashMap<String, Document>) {
    let began = Instant::now();
    let mut said = String::new();
    while began.elapsed() < Duration::from_secs(HEALING_SECONDS) {
        fleet.revive();
        let pending = fleet.count("SELECT count(*) FROM webhooks.deliveries WHERE status = 'pending'").await;
        let settled = fleet.count("SELECT count(*) FROM views.document_view WHERE uploaded_at IS NOT NULL").await;
        let (code, output) = docfleet(&fleet.config, &["audit", "--topics"]);
        if code == 0 && pending == 0 && usize::try_from(settled).unwrap() == sent.len() {
            eprintln!("healed in {:.1} s\n{output}", began.elapsed().as_secs_f64());
            return;
        }
        said = format!("{pending} deliveries are pending, {settled} documents are in the view\n{output}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("not healed in {HEALING_SECONDS} s: {said}");
}

async fn check_documents(fleet: &Fleet, sent: &HashMap<String, Document>) {
    assert_eq!(fleet.count("SELECT count(*) FROM documents.documents").await, i64::try_from(DOCUMENTS).unwrap());
    let mut unique: HashMap<Fate, usize> = HashMap::new();
    for (id, document) in sent {
        let shown = fleet.document(id).await.unwrap();
        let context = || format!("{}: {shown:#}", document.name);
        assert_eq!(shown["state"], "finished", "{}", context());
        let is = |path: &str, value: &str| shown.pointer(path).and_then(Value::as_str) == Some(value);
        let events = match document.fate {
            Fate::Read => {
                assert!(is("/content/outcome", "unique") && is("/text/outcome", "extracted"), "{}", context());
                assert!(fleet.text(id).await.contains("document"), "{}", context());
                4
            }
            Fate::OneOfMany(_) if is("/content/outcome", "unique") => {
                assert!(is("/text/outcome", "extracted"), "{}", context());
                *unique.entry(document.fate).or_default() += 1;
                4
            }
            Fate::OneOfMany(_) => {
                assert!(is("/content/outcome", "duplicate"), "{}", context());
                let first = shown["content"]["duplicate_of"].as_str().unwrap();
                assert_eq!(sent[first].fate, document.fate, "{}", context());
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
    assert_eq!(unique.len(), 7);
    assert!(unique.values().all(|count| *count == 1), "{unique:?}");
}

async fn check_dead_letters(fleet: &Fleet) {
    let expected = POISONS * POISONED_CONSUMERS;
    let dead = fleet.count("SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead'").await;
    assert_eq!(dead, i64::try_from(expected).unwrap(), "every poison and nothing else");
    for consumer in ["av-scan", "projection-builder", "webhook-dispatcher"] {
        let letters = fleet.topics.read(&format!("{consumer}.dlq")).await;
        let mut poisons: Vec<usize> = letters.iter().map(|letter| letter.headers["poison"].parse().unwrap()).collect();
        poisons.sort_unstable();
        poisons.dedup();
        assert_eq!(poisons, (0..POISONS).collect::<Vec<_>>(), "{consumer}: on the topic too");
    }
}

async fn check_webhooks(fleet: &Fleet, receiver: &Receiver, sent: &HashMap<String, Document>) {
    let events = fleet.count("SELECT count(*) FROM pipeline.outbox_events WHERE kind = 'event'").await;
    let delivered = fleet.count("SELECT count(*) FROM webhooks.deliveries WHERE status = 'delivered'").await;
    assert_eq!(delivered, events, "one delivery for each event");
    let (ids, stable) = receiver.deliveries();
    assert_eq!(i64::try_from(ids).unwrap(), events, "the receiver saw each id");
    assert!(stable, "one body over all attempts");
    for (id, traces) in receiver.traces() {
        // From the upload through outbox, Kafka and every worker to the partner.
        assert_eq!(traces.into_iter().collect::<Vec<_>>(), [sent[&id].trace.as_str()], "one trace for document {id}");
    }
}
