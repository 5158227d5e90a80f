use bytes::Bytes;
use docfleet_blobs::{Blobs, BlobsConfig, Error, Kept, content_key};
use futures::{TryStreamExt, future::join_all};

use crate::{LARGE, config, large, open, received};

#[tokio::test]
async fn small_and_large_contents_are_kept_once_and_read_back() {
    let blobs = open(&config());
    for bytes in [Bytes::new(), Bytes::from_static(b"small"), large()] {
        let first = received(&blobs, bytes.clone()).await;
        assert!(!blobs.holds("acme", &first).await.unwrap());
        assert_eq!(blobs.keep("acme", &first).await.unwrap(), Kept::New);
        assert_eq!(blobs.keep("acme", &received(&blobs, bytes.clone()).await).await.unwrap(), Kept::Known);
        assert!(blobs.holds("acme", &first).await.unwrap());
        let key = content_key("acme", &first.sha256_hex());
        assert_eq!(blobs.open(&key).await.unwrap().size_bytes, bytes.len() as u64);
        assert!(blobs.read_all(&key, u64::MAX).await.unwrap() == bytes);
        assert_eq!(blobs.head(&key, 3).await.unwrap(), bytes.slice(..bytes.len().min(3)));
    }
    let mut listed: Vec<u64> = blobs.list().map_ok(|listed| listed.size_bytes).try_collect().await.unwrap();
    listed.sort_unstable();
    assert_eq!(listed, [0, 5, LARGE as u64]);
}

#[tokio::test]
async fn what_is_made_of_a_document_is_replaced_and_deleted() {
    let blobs = open(&config());
    for text in [Bytes::from_static(b"first"), large(), Bytes::from_static(b"second")] {
        blobs.put("acme/texts/1.txt", text.clone()).await.unwrap();
        assert!(blobs.read_all("acme/texts/1.txt", u64::MAX).await.unwrap() == text);
    }
    blobs.delete("acme/texts/1.txt").await.unwrap();
    blobs.delete("acme/texts/1.txt").await.unwrap();
    assert!(matches!(blobs.open("acme/texts/1.txt").await, Err(Error::NotFound)));
}

/// Another key than the one that all was written with.
fn with_key(config: &BlobsConfig, directory: &std::path::Path) -> BlobsConfig {
    let file = directory.join("other-key");
    std::fs::write(&file, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
    BlobsConfig { sse_c_key_file: Some(file), ..config.clone() }
}

#[tokio::test]
async fn nothing_can_be_read_without_the_customers_key_or_with_another() {
    let (config, directory) = (config(), tempfile::tempdir().unwrap());
    let blobs = open(&config);
    for bytes in [Bytes::from_static(b"secret"), large()] {
        let content = received(&blobs, bytes).await;
        blobs.keep("acme", &content).await.unwrap();
        let key = content_key("acme", &content.sha256_hex());
        for stranger in [BlobsConfig { sse_c_key_file: None, ..config.clone() }, with_key(&config, directory.path())] {
            let stranger = open(&stranger);
            let refusals = [
                stranger.open(&key).await.err(),
                stranger.head(&key, 3).await.err(),
                stranger.put("acme/texts/a", Bytes::new()).await.err(),
                stranger.keep("acme", &received(&stranger, Bytes::from_static(b"x")).await).await.err(),
            ];
            for refusal in refusals {
                assert!(matches!(refusal, Some(Error::Refused(_) | Error::Unavailable(_))), "{refusal:?}");
            }
        }
    }
}

#[tokio::test]
async fn of_writers_of_one_content_at_once_one_is_first() {
    for bytes in [Bytes::from_static(b"contended"), large().slice(..12_000_000)] {
        let config = config();
        let stores: Vec<Blobs> = (0..4).map(|_| open(&config)).collect();
        let uploads = join_all(stores.iter().map(|store| received(store, bytes.clone()))).await;
        let keep = stores.iter().zip(&uploads).map(|(store, content)| store.keep("acme", content));
        let kept: Vec<Kept> = join_all(keep).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(kept.iter().filter(|kept| **kept == Kept::New).count(), 1, "{} bytes: {kept:?}", bytes.len());
        let key = content_key("acme", &uploads[0].sha256_hex());
        assert!(stores[0].read_all(&key, u64::MAX).await.unwrap() == bytes);
    }
}

#[tokio::test]
async fn a_bucket_of_another_region_refuses_the_write_and_the_read() {
    let config = config();
    open(&config).put("acme/texts/a", Bytes::from_static(b"a")).await.unwrap();
    let wrong = Blobs::open_store(&config, "us").unwrap();
    for refusal in [
        wrong.put("acme/texts/b", Bytes::new()).await.err(),
        wrong.open("acme/texts/a").await.err(),
        wrong.keep("acme", &received(&wrong, Bytes::from_static(b"x")).await).await.err(),
        wrong.probe().await.err(),
    ] {
        assert!(matches!(&refusal, Some(Error::StoreOfOtherRegion { ours, theirs }) if ours == "us" && theirs == "eu"));
    }
}

#[tokio::test]
async fn a_service_that_nobody_vouches_for_is_not_talked_to() {
    let stranger = open(&BlobsConfig { ca_file: None, retries: 0, ..config() });
    assert!(matches!(stranger.put("acme/texts/a", Bytes::new()).await, Err(Error::Unavailable(_))));
}
