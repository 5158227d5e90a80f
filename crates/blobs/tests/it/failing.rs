//! A service that hangs, breaks off, and comes back.

use std::time::Duration;

use bytes::Bytes;
use docfleet_blobs::{Blobs, BlobsConfig, Error, Kept, content_key};
use docfleet_testkit::{
    Servers, eventually,
    proxy::{Proxy, Weather},
};
use tokio::time::timeout;

use crate::{large, open, parsed, received};

/// Far beyond what the timeouts add up to, on a busy machine too.
const FAR_TOO_LONG: Duration = Duration::from_secs(60);

async fn behind_a_proxy() -> (Blobs, Proxy) {
    let servers = Servers::running();
    let proxy = Proxy::start(0, servers.bucket_address()).await;
    let config = parsed(&servers.bucket(Some(&format!("https://{}", proxy.address()))));
    (open(&BlobsConfig { request_timeout: Duration::from_millis(500), ..config }), proxy)
}

#[tokio::test]
async fn a_store_that_hangs_is_given_up_and_found_again() {
    let (blobs, proxy) = behind_a_proxy().await;
    let (small, large) = (received(&blobs, Bytes::from_static(b"small")).await, received(&blobs, large()).await);
    blobs.put("acme/texts/a", Bytes::from_static(b"a")).await.unwrap();
    for weather in
        [Weather { holds_requests: true, ..Weather::default() }, Weather { holds_answers: true, ..Weather::default() }]
    {
        proxy.set(weather);
        for what in 0..5 {
            let given_up = async {
                match what {
                    0 => blobs.keep("acme", &small).await.map(drop),
                    1 => blobs.keep("acme", &large).await.map(drop),
                    2 => blobs.put("acme/texts/b", Bytes::new()).await,
                    3 => blobs.read_all("acme/texts/a", 10).await.map(drop),
                    _ => blobs.delete("acme/texts/c").await,
                }
            };
            let given_up = timeout(FAR_TOO_LONG, given_up).await.expect("it does not hang as well");
            assert!(matches!(given_up, Err(Error::Unavailable(_))), "{what}: {given_up:?}");
        }
    }
    proxy.clear();
    proxy.reset();
    eventually("the store is found again", 30, async || blobs.keep("acme", &small).await.ok()).await;
    assert_eq!(blobs.read_all("acme/texts/a", 10).await.unwrap(), "a");
}

#[tokio::test]
async fn a_network_that_breaks_again_and_again_costs_only_time() {
    let (blobs, proxy) = behind_a_proxy().await;
    for n in 0..20_u32 {
        // Of each 16 KiB: a large one has four hundred chances to break.
        let resets = if n % 10 == 9 { 0.001 } else { 0.02 };
        proxy.set(Weather { resets, ..Weather::default() });
        let bytes = if n % 10 == 9 { large().slice(..6_000_000 + n as usize) } else { Bytes::from(n.to_string()) };
        let content = received(&blobs, bytes).await;
        // Whether the answer or the request was lost: in the end it is there, and once.
        eventually("a content is kept", 60, async || blobs.keep("acme", &content).await.ok()).await;
    }
    proxy.clear();
    for n in 0..20_u32 {
        let bytes = if n % 10 == 9 { large().slice(..6_000_000 + n as usize) } else { Bytes::from(n.to_string()) };
        let content = received(&blobs, bytes.clone()).await;
        assert_eq!(blobs.keep("acme", &content).await.unwrap(), Kept::Known);
        assert!(blobs.read_all(&content_key("acme", &content.sha256_hex()), u64::MAX).await.unwrap() == bytes);
    }
}
