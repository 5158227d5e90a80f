//! Freshness and several hosts, on real engines.

use std::time::Duration;

use av_scan::{AgeLimit, AvScan, ClamdConfig, reply::Answer};
use docfleet_pipeline::{Class, Handler};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{Store, context, eicar, key, message, own_clamd::OwnClamd};

const DAY: Duration = Duration::from_secs(86_400);

fn limited(clamd: &OwnClamd) -> ClamdConfig {
    ClamdConfig { database_age_max: AgeLimit::AtMost(3 * DAY), ..clamd.config() }
}

fn both(one: &str, two: &str) -> ClamdConfig {
    ClamdConfig {
        addresses: vec![one.to_owned(), two.to_owned()],
        database_age_max: AgeLimit::Unlimited,
        stall_timeout: Duration::from_secs(5),
        ..ClamdConfig::default()
    }
}

#[tokio::test]
async fn only_an_engine_with_fresh_signatures_calls_a_document_clean() {
    let (store, clamd) = (Store::new(), OwnClamd::dated(27_500, 2 * DAY, "").await);
    let clean = store.scan(&limited(&clamd), "letter").await.unwrap();
    assert_eq!(clean.answer, Answer::Clean);
    assert_eq!(clean.version.database_number(), 27_500, "{:?}", clean.version);
    clamd.update(27_400, 4 * DAY, "").await;
    let stale = store.scan(&limited(&clamd), "letter").await.unwrap_err();
    assert_eq!((stale.class, stale.reason), (Class::Unavailable, "engine-stale"), "the document waits");
    assert_eq!(store.scan(&clamd.config(), "letter").await.unwrap().answer, Answer::Clean, "unlimited on purpose");
    clamd.update(27_501, Duration::ZERO, "").await;
    assert_eq!(store.scan(&limited(&clamd), "letter").await.unwrap().answer, Answer::Clean);
}

#[tokio::test]
async fn what_a_stale_engine_finds_counts() {
    let (store, clamd) = (Store::new(), OwnClamd::dated(1, 400 * DAY, "").await);
    let found = store.scan(&limited(&clamd), eicar()).await.unwrap().answer;
    assert!(matches!(found, Answer::Infected { .. }), "{found:?}");
}

#[tokio::test]
async fn signatures_without_a_date_are_stale_under_any_limit() {
    let (store, clamd) = (Store::new(), OwnClamd::sighted().await);
    let config = ClamdConfig { database_age_max: AgeLimit::AtMost(1_000_000 * DAY), ..clamd.config() };
    assert_eq!(store.scan(&config, "letter").await.unwrap_err().reason, "engine-stale");
}

#[tokio::test]
async fn a_host_that_is_away_blind_or_stale_is_passed_over() {
    let (store, well) = (Store::new(), OwnClamd::dated(27_500, DAY, "").await);
    let blind = OwnClamd::start("Some-Other-Signature:0:0:6e6f7468696e672074686174206c697665732068657265").await;
    let old = OwnClamd::dated(27_000, 400 * DAY, "").await;
    for bad in ["127.0.0.1:1", &blind.address(), &old.address()] {
        let config = ClamdConfig { database_age_max: AgeLimit::AtMost(3 * DAY), ..both(bad, &well.address()) };
        assert_eq!(store.scan(&config, "letter").await.unwrap().answer, Answer::Clean, "{bad}");
        let found = store.scan(&config, eicar()).await.unwrap().answer;
        assert!(matches!(found, Answer::Infected { .. }), "{bad}: {found:?}");
    }
    let none = store.scan(&both("127.0.0.1:1", &blind.address()), "letter").await.unwrap_err();
    assert_eq!(none.class, Class::Unavailable, "{none}");
}

#[tokio::test]
async fn one_host_after_the_other_may_die_and_the_documents_go_on() {
    let (mut one, mut two) = (OwnClamd::sighted().await, OwnClamd::sighted().await);
    let store = Store::new();
    let key = key();
    store.blobs.put(&key, "a letter".into()).await.unwrap();
    let worker = AvScan::over(store.blobs.clone(), &both(&one.address(), &two.address()));
    let letter = message(&key, 8);
    for round in 0..3 {
        one.kill();
        assert_eq!(worker.work(&letter, &context()).await.unwrap().unwrap().answer, Answer::Clean, "{round}");
        one.restart().await;
        two.kill();
        assert_eq!(worker.work(&letter, &context()).await.unwrap().unwrap().answer, Answer::Clean, "{round}");
        two.restart().await;
    }
    one.kill();
    two.kill();
    let away = worker.work(&letter, &context()).await.unwrap_err();
    assert_eq!((away.class, away.reason), (Class::Unavailable, "engine-unavailable"));
    two.restart().await;
    assert_eq!(worker.work(&letter, &context()).await.unwrap().unwrap().answer, Answer::Clean, "one is enough");
}

/// Passes the self-test, and breaks off over every document. Counts these.
async fn fragile() -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let fed = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counting = fed.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let fed = counting.clone();
            tokio::spawn(async move { serve(stream, &fed).await });
        }
    });
    (address, fed)
}

async fn serve(mut stream: TcpStream, fed: &std::sync::atomic::AtomicUsize) -> std::io::Result<()> {
    let mut command = Vec::new();
    while stream.read_u8().await.inspect(|byte| command.push(*byte))? != 0 {}
    if command == b"zVERSION\0" {
        return stream.write_all(b"ClamAV 9/1/today\0").await;
    }
    let mut document = vec![0; stream.read_u32().await? as usize];
    stream.read_exact(&mut document).await?;
    if document.len() == 68 {
        stream.read_u32().await?;
        return stream.write_all(b"stream: Eicar FOUND\0").await;
    }
    fed.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    Ok(())
}

#[tokio::test]
async fn a_document_that_brings_two_engines_down_is_fed_to_no_third() {
    let mut hosts = Vec::new();
    for _ in 0..4 {
        hosts.push(fragile().await);
    }
    let addresses = hosts.iter().map(|(address, _)| address.clone()).collect();
    let config = ClamdConfig { addresses, ..both("", "") };
    let failure = Store::new().scan(&config, "deadly").await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Transient, "engine-broke-off"));
    let fed: usize = hosts.iter().map(|(_, fed)| fed.load(std::sync::atomic::Ordering::SeqCst)).sum();
    assert_eq!(fed, 2);
}

#[tokio::test]
async fn an_engine_that_breaks_off_is_made_up_for_by_another_which_reads_from_the_start() {
    let (store, well) = (Store::new(), OwnClamd::sighted().await);
    let (address, _) = fragile().await;
    // The first host is asked first: both have had nothing.
    let found = store.scan(&both(&address, &well.address()), letter()).await.unwrap();
    assert_eq!(found.answer, Answer::Clean);
    let found = store.scan(&both(&address, &well.address()), zipped()).await.unwrap();
    assert!(matches!(found.answer, Answer::Infected { .. }), "{:?}", found.answer);
}

fn letter() -> Vec<u8> {
    vec![b'a'; 300_000]
}

fn zipped() -> Vec<u8> {
    crate::sample::zip(&[crate::sample::Entry::honest("a.com", &eicar())])
}
