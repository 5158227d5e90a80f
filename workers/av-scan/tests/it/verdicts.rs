use av_scan::reply::{Answer, Unscannable};
use docfleet_pipeline::Class;
use docfleet_testkit::Servers;

use crate::{
    Store, config, eicar,
    own_clamd::{OwnClamd, STREAM_BYTES_MAX},
};

#[tokio::test]
async fn the_running_engine_tells_clean_from_infected() {
    let (store, config) = (Store::new(), config(Servers::running().clamd_address()));
    let clean = store.scan(&config, "a harmless letter").await.unwrap();
    assert_eq!(clean.answer, Answer::Clean);
    assert!(clean.version.engine.starts_with("ClamAV "), "{:?}", clean.version);
    assert!(!clean.version.database.is_empty());
    let infected = store.scan(&config, eicar()).await.unwrap();
    assert!(matches!(infected.answer, Answer::Infected { signature } if signature.contains("Eicar")));
    assert_eq!(store.scan(&config, "").await.unwrap().answer, Answer::Clean, "an empty file");
}

#[tokio::test]
async fn a_document_larger_than_the_engine_takes_is_unscannable_and_not_retried() {
    let (store, clamd) = (Store::new(), OwnClamd::sighted().await);
    let too_large = Answer::Unscannable(Unscannable::TooLarge);
    assert_eq!(store.scan(&clamd.config(), vec![b'a'; STREAM_BYTES_MAX]).await.unwrap().answer, Answer::Clean);
    // One byte over is refused in the answer, far more in the middle of the stream.
    for over in [1, 100_000, 30 * STREAM_BYTES_MAX] {
        let answer = store.scan(&clamd.config(), vec![b'a'; STREAM_BYTES_MAX + over]).await.unwrap().answer;
        assert_eq!(answer, too_large, "{over} bytes over");
    }
    let behind_zeros = [eicar(), vec![0; 2 * STREAM_BYTES_MAX]].concat();
    assert_eq!(store.scan(&clamd.config(), behind_zeros).await.unwrap().answer, too_large, "whatever it begins with");
}

#[tokio::test]
async fn a_blob_that_is_gone_or_another_is_for_operators() {
    let (store, config) = (Store::new(), config(Servers::running().clamd_address()));
    let gone = store.work(&config, "t/documents/none", 5).await.unwrap_err();
    assert_eq!((gone.class, gone.reason), (Class::Poison, "blob-gone"));
    store.blobs.put("t/documents/a", "six by".into()).await.unwrap();
    let other = store.work(&config, "t/documents/a", 5).await.unwrap_err();
    assert_eq!((other.class, other.reason), (Class::Poison, "blob-size-differs"));
    let invalid = store.work(&config, "../etc/passwd", 5).await.unwrap_err();
    assert_eq!((invalid.class, invalid.reason), (Class::Poison, "blob-key-invalid"));
}
