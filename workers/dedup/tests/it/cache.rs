use std::time::{Duration, Instant};

use dedup::{Cache, Lookup, RedisConfig};
use docfleet_testkit::{Servers, unique_name};
use redis::AsyncCommands;
use tokio::net::TcpListener;
use uuid::Uuid;

const CONTENT: [u8; 32] = [7; 32];

/// The running Redis, with keys of one's own.
pub fn running() -> RedisConfig {
    RedisConfig {
        url: Servers::running().redis_url(),
        key_prefix: unique_name(),
        timeout: Duration::from_secs(2),
        ..RedisConfig::default()
    }
}

async fn tell(config: &RedisConfig, answer: &[u8]) {
    let mut redis = redis::Client::open(config.url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let key = format!("{}:content:a:{}", config.key_prefix, "07".repeat(32));
    redis.set_ex::<_, _, ()>(key, answer, 60).await.unwrap();
}

#[tokio::test]
async fn what_is_remembered_is_found_and_expires() {
    let config = running();
    let (cache, first) = (Cache::new(config.clone()).unwrap(), Uuid::from_u128(10));
    assert_eq!(cache.first_document("a", &CONTENT).await, Lookup::Nothing);
    cache.remember(&[("a".into(), CONTENT, first)]).await;
    assert_eq!(cache.first_document("a", &CONTENT).await, Lookup::Said(first));
    assert_eq!(cache.first_document("b", &CONTENT).await, Lookup::Nothing, "tenants do not meet");
    let mut redis = redis::Client::open(config.url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let ttl: i64 = redis.ttl(format!("{}:content:a:{}", config.key_prefix, "07".repeat(32))).await.unwrap();
    assert!(ttl > 600_000, "{ttl} s");
}

#[tokio::test]
async fn nonsense_in_redis_is_nobodys_document() {
    let config = running();
    for nonsense in [&b"yes"[..], b"", b"\xff\x00", &[b'x'; 10_000]] {
        tell(&config, nonsense).await;
        let lookup = Cache::new(config.clone()).unwrap().first_document("a", &CONTENT).await;
        assert_eq!(lookup, Lookup::Said(Uuid::nil()));
    }
}

#[tokio::test]
async fn a_redis_that_is_away_or_silent_costs_one_timeout_and_then_nothing() {
    // Accepts by its backlog and never answers, like a stopped process.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for url in [format!("redis://{}/", silent.local_addr().unwrap()), "redis://127.0.0.1:1/".to_owned()] {
        let cache = Cache::new(RedisConfig { url, rest: Duration::from_secs(60), ..RedisConfig::default() }).unwrap();
        let asked = Instant::now();
        for _ in 0..200 {
            assert_eq!(cache.first_document("a", &CONTENT).await, Lookup::Bypassed);
            cache.remember(&[("a".into(), CONTENT, Uuid::nil())]).await;
        }
        assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    }
}

#[tokio::test]
async fn a_redis_that_comes_back_is_used_again() {
    let address = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    let real = running();
    let through = RedisConfig { url: format!("redis://{address}/"), rest: Duration::from_millis(20), ..real.clone() };
    let cache = Cache::new(through).unwrap();
    assert_eq!(cache.first_document("a", &CONTENT).await, Lookup::Bypassed);
    let target = real.url.trim_start_matches("redis://").trim_end_matches('/').to_owned();
    let door = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = door.accept().await {
            let mut server = tokio::net::TcpStream::connect(&target).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    docfleet_testkit::eventually("Redis is asked again", 10, || async {
        (cache.first_document("a", &CONTENT).await == Lookup::Nothing).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_redis_at_all_is_a_choice() {
    let cache = Cache::new(RedisConfig { url: String::new(), ..RedisConfig::default() }).unwrap();
    assert_eq!(cache.first_document("a", &CONTENT).await, Lookup::Bypassed);
    cache.remember(&[("a".into(), CONTENT, Uuid::nil())]).await;
    assert!(Cache::new(RedisConfig { url: "http://x".into(), ..RedisConfig::default() }).is_err());
}
