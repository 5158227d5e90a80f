use av_scan::{
    AgeLimit, AvScan, ClamdConfig,
    reply::{Answer, Unscannable},
};
use docfleet_blobs::content_key;
use docfleet_pipeline::{Class, Handler};
use docfleet_testkit::Servers;

use crate::{
    Store, TENANT, context, eicar, key, message,
    own_clamd::{OwnClamd, STREAM_BYTES_MAX},
};

/// Shared with every other test: it may be slow.
fn running() -> ClamdConfig {
    let addresses = vec![Servers::running().clamd_address()];
    ClamdConfig { addresses, database_age_max: AgeLimit::Unlimited, ..ClamdConfig::default() }
}

#[tokio::test]
async fn the_running_engine_tells_clean_from_infected() {
    let (store, config) = (Store::new(), running());
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
    let (store, config) = (Store::new(), running());
    let key = key();
    // Whether it was erased is asked in the settlement, which is for operators if not.
    let gone = AvScan::over(store.blobs.clone(), &config).work(&message(&key, 5), &context()).await.unwrap();
    assert_eq!(gone, None);
    store.blobs.put(&key, "six by".into()).await.unwrap();
    let other = store.work(&config, &key, 5).await.unwrap_err();
    assert_eq!((other.class, other.reason), (Class::Poison, "blob-size-differs"));
}

#[tokio::test]
async fn a_key_that_is_not_the_documents_own_is_not_opened() {
    let (store, config) = (Store::new(), running());
    let of_another_tenant = content_key("b", &"ab".repeat(32));
    let of_another_content = content_key(TENANT, &"cd".repeat(32));
    for key in [&of_another_tenant, &of_another_content] {
        store.blobs.put(key, "5 byt".into()).await.unwrap();
    }
    let too_long = "a".repeat(300);
    for key in [&of_another_tenant, &of_another_content, "t/contents/a", "../etc/passwd", "", &too_long] {
        let invalid = store.work(&config, key, 5).await.unwrap_err();
        assert_eq!((invalid.class, invalid.reason), (Class::Poison, "blob-key-invalid"), "{key}");
    }
}

#[tokio::test]
async fn a_document_of_another_region_is_not_opened() {
    let (store, config) = (Store::new(), running());
    let mut foreign = message(&key(), 5);
    foreign.meta.region = "elsewhere".into();
    let refused = AvScan::over(store.blobs.clone(), &config).work(&foreign, &context()).await.unwrap_err();
    assert_eq!((refused.class, refused.reason), (Class::Poison, "region-foreign"));
}
