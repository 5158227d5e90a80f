//! What clamd itself says of these archives was measured: see `av_scan::archive`.

use av_scan::reply::{Answer, Unscannable};

use crate::{
    Store, eicar,
    own_clamd::OwnClamd,
    sample::{Entry, zip},
};

#[tokio::test]
async fn the_test_file_is_found_in_an_archive_and_never_clean_where_the_engine_does_not_look() {
    let (store, clamd) = (Store::new(), OwnClamd::sighted().await);
    let (config, virus) = (clamd.config(), eicar());
    let letter = zip(&[Entry::honest("letter.txt", b"Dear all")]);
    assert_eq!(store.scan(&config, letter).await.unwrap().answer, Answer::Clean);
    let plain = zip(&[Entry::honest("a.com", &virus)]);
    assert!(matches!(store.scan(&config, plain).await.unwrap().answer, Answer::Infected { .. }));
    let zip64 = zip(&[Entry { zip64: true, ..Entry::honest("a.com", &virus) }]);
    assert_eq!(store.scan(&config, zip64).await.unwrap().answer, Answer::Unscannable(Unscannable::ArchiveNotCovered));
    let claims_much = Entry { claimed_bytes: Some(5 * 1024 * 1024), method: 8, ..Entry::honest("a", b"small") };
    let bomb = store.scan(&config, zip(&[claims_much])).await.unwrap().answer;
    assert_eq!(bomb, Answer::Unscannable(Unscannable::LimitsExceeded));
    let encrypted = zip(&[Entry { flags: 1, ..Entry::honest("a", &[7; 64]) }]);
    assert_eq!(store.scan(&config, encrypted).await.unwrap().answer, Answer::Unscannable(Unscannable::Encrypted));
}

#[tokio::test]
async fn archives_nested_deeper_than_the_engine_follows_are_not_clean() {
    let (store, clamd) = (Store::new(), OwnClamd::sighted().await);
    let nested = (0..30).fold(eicar(), |inner, _| zip(&[Entry::honest("inner", &inner)]));
    let answer = store.scan(&clamd.config(), nested).await.unwrap().answer;
    assert_ne!(answer, Answer::Clean);
}
