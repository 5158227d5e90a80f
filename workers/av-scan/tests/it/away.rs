use std::time::Duration;

use av_scan::{ClamdConfig, reply::Answer};
use docfleet_pipeline::{Class, Outcome};

use crate::{Store, config, own_clamd::OwnClamd};

fn unavailable<T: std::fmt::Debug>(outcome: Outcome<T>) -> &'static str {
    let failure = outcome.unwrap_err();
    assert_eq!(failure.class, Class::Unavailable, "{failure}");
    failure.reason
}

#[tokio::test]
async fn an_engine_that_is_away_means_waiting_until_it_is_back() {
    let (store, mut clamd) = (Store::new(), OwnClamd::sighted().await);
    assert_eq!(store.scan(&clamd.config(), "letter").await.unwrap().answer, Answer::Clean);
    clamd.kill();
    assert_eq!(unavailable(store.scan(&clamd.config(), "letter").await), "engine-unavailable");
    clamd.restart().await;
    assert_eq!(store.scan(&clamd.config(), "letter").await.unwrap().answer, Answer::Clean);
    assert_eq!(unavailable(store.scan(&config("127.0.0.1:1"), "letter").await), "engine-unavailable");
    assert_eq!(unavailable(store.scan(&config("no-such-host.invalid:3310"), "letter").await), "engine-unavailable");
}

#[tokio::test]
async fn an_engine_that_hangs_is_away() {
    let (store, clamd) = (Store::new(), OwnClamd::sighted().await);
    let hasty = ClamdConfig { stall_timeout: Duration::from_millis(300), ..clamd.config() };
    clamd.signal("STOP");
    assert_eq!(unavailable(store.scan(&hasty, "letter").await), "engine-unavailable");
    clamd.signal("CONT");
    assert_eq!(store.scan(&clamd.config(), "letter").await.unwrap().answer, Answer::Clean);
}

#[tokio::test]
async fn an_engine_that_does_not_find_the_test_file_is_not_believed() {
    let store = Store::new();
    let blind = OwnClamd::start("Some-Other-Signature:0:0:6e6f7468696e672074686174206c697665732068657265").await;
    assert_eq!(unavailable(store.scan(&blind.config(), "letter").await), "engine-blind");
}
