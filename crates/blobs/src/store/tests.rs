#![allow(clippy::unwrap_used)]
use futures::{Stream, TryStreamExt};

use super::*;
use crate::{Kept, content_key};

fn store() -> (tempfile::TempDir, Blobs) {
    let directory = tempfile::tempdir().unwrap();
    let blobs = open(directory.path(), "eu");
    (directory, blobs.unwrap())
}

fn open(directory: &std::path::Path, region: &str) -> Result<Blobs, Error> {
    Blobs::open_store(&BlobsConfig::at(format!("file://{}", directory.display())), region)
}

fn chunks(list: &[&'static str]) -> impl Stream<Item = Result<Bytes, String>> + Unpin + Send + use<> {
    let list: Vec<_> = list
        .iter()
        .map(|c| if *c == "!" { Err("reset".to_owned()) } else { Ok(Bytes::from_static(c.as_bytes())) })
        .collect();
    futures::stream::iter(list)
}

async fn keys(blobs: &Blobs) -> Vec<String> {
    let mut keys: Vec<String> = blobs.list().map_ok(|listed| listed.key).try_collect().await.unwrap();
    keys.sort();
    keys
}

/// Files on their way in.
fn incoming(directory: &std::path::Path) -> usize {
    std::fs::read_dir(directory.join(crate::directory::INCOMING)).unwrap().count()
}

#[tokio::test]
async fn what_is_put_is_read_back() {
    let (_directory, blobs) = store();
    blobs.put("t/a", "abcd".into()).await.unwrap();
    assert_eq!(blobs.read_all("t/a", 10).await.unwrap(), "abcd");
    assert_eq!(blobs.head("t/a", 3).await.unwrap(), "abc");
    assert!(matches!(blobs.read_all("t/a", 3).await, Err(Error::TooLarge { limit_bytes: 3 })));
    blobs.put("t/a", Bytes::new()).await.unwrap();
    assert_eq!(blobs.head("t/a", 3).await.unwrap(), "");
    blobs.delete("t/a").await.unwrap();
    blobs.delete("t/a").await.unwrap();
    assert!(matches!(blobs.open("t/a").await, Err(Error::NotFound)));
}

#[tokio::test]
async fn what_is_larger_than_a_part_is_put_as_a_whole() {
    let (_directory, blobs) = store();
    let large = Bytes::from(vec![7; PART_BYTES * 2 + 1]);
    blobs.put("t/large", large.clone()).await.unwrap();
    assert_eq!(blobs.read_all("t/large", u64::MAX).await.unwrap(), large);
}

#[tokio::test]
async fn a_content_lies_under_its_hash_and_is_written_once() {
    let (directory, blobs) = store();
    let received = blobs.receive(chunks(&["a", "bc"]), 10).await.unwrap();
    assert_eq!(received.sha256_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert!(!blobs.holds("acme", &received).await.unwrap(), "received is not kept");
    assert_eq!(blobs.keep("acme", &received).await.unwrap(), Kept::New);
    assert_eq!(blobs.keep("acme", &received).await.unwrap(), Kept::Known);
    let again = blobs.receive(chunks(&["abc"]), 10).await.unwrap();
    assert_eq!(blobs.keep("acme", &again).await.unwrap(), Kept::Known);
    assert!(blobs.holds("acme", &again).await.unwrap());
    let key = content_key("acme", &received.sha256_hex());
    assert_eq!(blobs.read_all(&key, 10).await.unwrap(), "abc");
    // Another tenant has bytes of its own.
    assert!(!blobs.holds("other", &again).await.unwrap());
    assert_eq!(blobs.keep("other", &again).await.unwrap(), Kept::New);
    assert_eq!(keys(&blobs).await, [key, content_key("other", &received.sha256_hex())]);
    drop((received, again));
    assert_eq!(incoming(directory.path()), 0);
}

#[tokio::test]
async fn of_many_that_keep_the_same_content_at_once_one_is_new() {
    let (_directory, blobs) = store();
    let keep = |_| {
        let blobs = blobs.clone();
        async move {
            let received = blobs.receive(chunks(&["same"]), 10).await.unwrap();
            blobs.keep("acme", &received).await.unwrap()
        }
    };
    let kept = futures::future::join_all((0..16).map(keep)).await;
    assert_eq!(kept.iter().filter(|kept| **kept == Kept::New).count(), 1);
}

#[tokio::test]
async fn other_bytes_under_the_name_of_a_content_are_found() {
    let (_directory, blobs) = store();
    let received = blobs.receive(chunks(&["abc"]), 10).await.unwrap();
    blobs.put(&content_key("acme", &received.sha256_hex()), "ab".into()).await.unwrap();
    let damaged = Error::Differs { size_bytes: 3, stored_bytes: 2 }.to_string();
    assert_eq!(blobs.keep("acme", &received).await.unwrap_err().to_string(), damaged);
    assert_eq!(blobs.holds("acme", &received).await.unwrap_err().to_string(), damaged);
}

#[tokio::test]
async fn an_upload_that_is_too_large_or_breaks_off_leaves_nothing() {
    let (directory, blobs) = store();
    assert!(matches!(blobs.receive(chunks(&["abc", "def"]), 5).await, Err(Error::TooLarge { limit_bytes: 5 })));
    assert!(matches!(blobs.receive(chunks(&["abc", "!"]), 50).await, Err(Error::BrokenUpload(_))));
    drop(blobs.receive(chunks(&["abc"]), 50).await.unwrap());
    assert_eq!((keys(&blobs).await.len(), incoming(directory.path())), (0, 0));
}

#[tokio::test]
async fn what_a_crash_left_behind_is_removed_and_what_is_on_its_way_is_not() {
    let (directory, _blobs) = store();
    let incoming = directory.path().join(crate::directory::INCOMING);
    for (name, hours) in [("old", 25), ("young", 1)] {
        let file = std::fs::File::create(incoming.join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3_600)).unwrap();
    }
    open(directory.path(), "eu").unwrap();
    assert!(!incoming.join("old").exists() && incoming.join("young").exists());
}

#[tokio::test]
async fn a_store_of_another_region_refuses_the_write_and_the_read() {
    let (directory, blobs) = store();
    blobs.put("t/a", "a".into()).await.unwrap();
    let wrong = open(directory.path(), "us").unwrap();
    let refusals = [
        wrong.put("t/b", "b".into()).await.unwrap_err(),
        wrong.open("t/a").await.err().unwrap(),
        wrong.delete("t/a").await.unwrap_err(),
        wrong.probe().await.unwrap_err(),
        wrong.keep("t", &wrong.receive(chunks(&["c"]), 9).await.unwrap()).await.unwrap_err(),
    ];
    for refusal in refusals {
        let Error::StoreOfOtherRegion { ours, theirs } = refusal else { panic!("{refusal}") };
        assert_eq!((ours.as_str(), theirs.as_str()), ("us", "eu"));
    }
    assert_eq!(keys(&blobs).await, ["t/a"]);
    open(directory.path(), "eu").unwrap().put("t/b", "b".into()).await.unwrap();
}

#[tokio::test]
async fn a_document_of_another_region_is_not_admitted() {
    let (_directory, blobs) = store();
    blobs.admits("eu").unwrap();
    let Err(Error::OtherRegion { ours, theirs }) = blobs.admits("us") else { panic!("admitted") };
    assert_eq!((ours.as_str(), theirs.as_str()), ("eu", "us"));
}

#[tokio::test]
async fn the_residency_file_gives_each_region_its_store_and_some_tenants_their_region() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().display();
    let file = directory.path().join("data-residency.yaml");
    let yaml = format!(
        "regions:\n  eu: {{url: 'file://{place}/eu'}}\n  us: {{url: 'file://{place}/us'}}\ntenants: {{acme: us}}\n"
    );
    std::fs::write(&file, yaml).unwrap();
    let config = BlobsConfig { residency_file: Some(file), ..BlobsConfig::default() };
    let eu = Blobs::open_store(&config, "eu").unwrap();
    eu.put("t/a", "a".into()).await.unwrap();
    assert!(directory.path().join("eu/t/a").exists() && !directory.path().join("us").exists());
    assert!(matches!(eu.admits_tenant("acme"), Err(Error::OtherRegion { .. })));
    eu.admits_tenant("anybody").unwrap();
    let nowhere = Blobs::open_store(&config, "asia").err().unwrap().to_string();
    assert!(nowhere.contains("no store for the region asia"), "{nowhere}");
}

#[tokio::test]
async fn a_key_can_not_leave_the_root() {
    let (_directory, blobs) = store();
    for key in ["../x", "a/../../x", "a//b", "a/\u{0}b"] {
        assert!(blobs.put(key, Bytes::new()).await.is_err(), "{key}");
    }
}

#[tokio::test]
async fn a_key_that_is_too_long_for_a_store_is_wrong_and_does_not_make_it_seem_away() {
    let (_directory, blobs) = store();
    let longest = format!("t/{}", "a".repeat(key::SEGMENT_BYTES_MAX));
    blobs.put(&longest, Bytes::new()).await.unwrap();
    for key in [format!("{longest}a"), format!("{longest}a/b"), "a/".repeat(600) + "b"] {
        assert!(matches!(blobs.open(&key).await, Err(Error::Config(_))), "{key}");
        assert!(matches!(blobs.put(&key, Bytes::new()).await, Err(Error::Config(_))), "{key}");
    }
}
