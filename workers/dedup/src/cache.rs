use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use serde::Deserialize;
use tokio::time::Instant;
use uuid::Uuid;

use crate::identify::hex;

/// `[redis]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// May hold a password; never logged. Empty: no cache, the same results.
    pub url: String,
    /// Before each key.
    pub key_prefix: String,
    /// For a question or a note; then on without Redis.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How long Redis is left alone after it failed, so that its absence costs one timeout and not one per document.
    #[serde(with = "humantime_serde")]
    pub rest: Duration,
    /// How long a first document is remembered.
    #[serde(with = "humantime_serde")]
    pub content_ttl: Duration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            key_prefix: "docfleet".to_owned(),
            timeout: Duration::from_millis(50),
            rest: Duration::from_secs(1),
            content_ttl: Duration::from_secs(7 * 24 * 3_600),
        }
    }
}

/// What Redis says about a content. It may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// This document had it first.
    Said(Uuid),
    Nothing,
    /// Not asked, or no answer in time.
    Bypassed,
}

/// The first documents of contents, remembered in Redis after the commit.
///
/// What is it good for, if PostgreSQL decides anyway? A settlement asks for the contents that the cache claims to know
/// with a plain SELECT, and does not take them into the INSERT, whose index entries and waits for other transactions are
/// what duplicates would cost. A wrong claim costs the INSERT after all. It is a cache of where to look, not of an answer:
/// no outcome is ever read from it, so flushed, stopped or lying it changes speed only.
pub struct Cache {
    redis: Option<ConnectionManager>,
    config: RedisConfig,
    resting_until: Mutex<Option<Instant>>,
}

impl Cache {
    /// Connects when first used: Redis may be away. Within a Tokio runtime.
    ///
    /// # Errors
    /// When the URL is not one.
    pub fn new(config: RedisConfig) -> Result<Self, redis::RedisError> {
        let redis = match config.url.as_str() {
            "" => None,
            url => {
                let timeout = Some(config.timeout);
                let settings = ConnectionManagerConfig::new()
                    .set_number_of_retries(1)
                    .set_connection_timeout(timeout)
                    .set_response_timeout(timeout);
                Some(ConnectionManager::new_lazy_with_config(redis::Client::open(url)?, settings)?)
            }
        };
        Ok(Self { redis, config, resting_until: Mutex::new(None) })
    }

    pub async fn first_document(&self, tenant: &str, sha256: &[u8; 32]) -> Lookup {
        let Some(mut redis) = self.connection() else { return Lookup::Bypassed };
        let question = redis::Cmd::get(self.key(tenant, sha256));
        match self.in_time(question.query_async::<Option<Vec<u8>>>(&mut redis)).await {
            Some(Some(answer)) => {
                // What is not an id is a wrong answer like any other: nobody's.
                let id = std::str::from_utf8(&answer).ok().and_then(|text| Uuid::parse_str(text).ok());
                Lookup::Said(id.unwrap_or_default())
            }
            Some(None) => Lookup::Nothing,
            None => Lookup::Bypassed,
        }
    }

    /// Only what is committed.
    pub async fn remember(&self, firsts: &[(String, [u8; 32], Uuid)]) {
        let Some(mut redis) = self.connection().filter(|_| !firsts.is_empty()) else { return };
        let seconds = self.config.content_ttl.as_secs().max(1);
        let mut notes = redis::pipe();
        for (tenant, sha256, first) in firsts {
            notes.set_ex(self.key(tenant, sha256), first.to_string(), seconds).ignore();
        }
        self.in_time(notes.query_async::<()>(&mut redis)).await;
    }

    fn key(&self, tenant: &str, sha256: &[u8; 32]) -> String {
        format!("{}:content:{tenant}:{}", self.config.key_prefix, hex(sha256))
    }

    /// None while Redis is left alone, or is not to be used at all.
    fn connection(&self) -> Option<ConnectionManager> {
        self.redis.clone().filter(|_| !self.is_resting())
    }

    async fn in_time<T>(&self, asking: impl Future<Output = redis::RedisResult<T>>) -> Option<T> {
        let why = match tokio::time::timeout(self.config.timeout, asking).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error.category().to_owned(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::debug!(why, "going on without the cache");
        *self.resting_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + self.config.rest);
        None
    }

    fn is_resting(&self) -> bool {
        let until = *self.resting_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }
}
