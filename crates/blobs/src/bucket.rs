//! An S3 bucket, at Amazon or at a service that speaks its protocol.

use std::{fs::File, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{
    BackoffConfig, ClientOptions, HeaderMap, HeaderValue, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
    RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut},
    multipart::MultipartStore,
    path::Path,
};
use url::Url;

use crate::{BlobsConfig, Error, Kept, spool};

/// Of a large upload; so many of them are on their way at once, and in memory.
pub(crate) const PART_BYTES: usize = 8 * 1024 * 1024;
pub(crate) const PARTS_AT_ONCE: usize = 3;
/// After the first, with what the client library did not dare to repeat: it does not know that our puts may be.
const RETRIES: u32 = 2;
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);
const BACKOFF: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// What is taken of the environment when no file names the keys.
const CREDENTIALS: [&str; 9] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

pub(crate) struct Bucket {
    pub store: AmazonS3,
    /// The same bucket, whose every request says that nothing may lie under its name: for the one that ends a large
    /// upload, for which the library has no word for that.
    once: AmazonS3,
    pub spool_directory: PathBuf,
}

impl Bucket {
    pub fn open(config: &BlobsConfig, url: &Url) -> Result<Self, Error> {
        let bucket = url.host_str().ok_or_else(|| Error::Config(format!("{url} names no bucket")))?;
        let builder = credentials(AmazonS3Builder::new(), config)?
            .with_bucket_name(bucket)
            .with_region(&config.s3_region)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig {
                backoff: BackoffConfig { init_backoff: BACKOFF, max_backoff: BACKOFF_MAX, base: 2.0 },
                max_retries: config.retries,
                retry_timeout: config.request_timeout
                    * (u32::try_from(config.retries).unwrap_or(u32::MAX).saturating_add(1)),
            });
        let builder = match &config.endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint.trim_end_matches('/')),
            None => builder,
        };
        let builder = match &config.sse_c_key_file {
            Some(file) => builder.with_ssec_encryption(customer_key(file)?),
            None => builder,
        };
        let mut once = HeaderMap::new();
        once.insert("if-none-match", HeaderValue::from_static("*"));
        let options = client_options(config)?;
        Ok(Self {
            store: builder.clone().with_client_options(options.clone()).build()?,
            once: builder.with_client_options(options.with_default_headers(once)).build()?,
            spool_directory: config.spool_directory.clone().unwrap_or_else(std::env::temp_dir),
        })
    }

    /// A small content, in one conditional request.
    pub async fn put_once(&self, path: &Path, bytes: Bytes) -> Result<Kept, Error> {
        let mut tries = 0;
        loop {
            let put = self.store.put_opts(path, PutPayload::from_bytes(bytes.clone()), PutMode::Create.into());
            match put.await {
                Ok(_) => return Ok(Kept::New),
                Err(object_store::Error::AlreadyExists { .. }) => return Ok(Kept::Known),
                Err(error) => again(error, &mut tries).await?,
            }
        }
    }

    /// A large content, in parts, which become an object at once and only where there is none.
    pub async fn put_large_once(&self, path: &Path, file: &Arc<File>, size_bytes: u64) -> Result<Kept, Error> {
        let mut tries = 0;
        loop {
            // Who has it already need not send it.
            match self.store.head(path).await {
                Ok(_) => return Ok(Kept::Known),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => {
                    again(error, &mut tries).await?;
                    continue;
                }
            }
            match self.put_parts(path, file, size_bytes).await {
                Ok(()) => return Ok(Kept::New),
                Err(PartsError::Spool(error)) => return Err(error),
                // Somebody was faster, or it was we ourselves and the answer was lost.
                Err(PartsError::Store(
                    object_store::Error::Precondition { .. }
                    | object_store::Error::AlreadyExists { .. }
                    | object_store::Error::NotModified { .. },
                )) => return Ok(Kept::Known),
                Err(PartsError::Store(error)) => again(error, &mut tries).await?,
            }
        }
    }

    async fn put_parts(&self, path: &Path, file: &Arc<File>, size_bytes: u64) -> Result<(), PartsError> {
        let upload = self.store.create_multipart(path).await?;
        let sent = async {
            let parts = stream::iter((0..size_bytes).step_by(PART_BYTES).enumerate().map(|(index, offset)| {
                let (upload, len) = (&upload, (size_bytes - offset).min(PART_BYTES as u64));
                async move {
                    let len = usize::try_from(len).map_err(|e| Error::Config(e.to_string()))?;
                    let part = spool::read_part(file, offset, len).await?;
                    Ok::<_, PartsError>(self.store.put_part(path, upload, index, part.into()).await?)
                }
            }));
            let parts = parts.buffered(PARTS_AT_ONCE).try_collect().await?;
            self.once.complete_multipart(path, &upload, parts).await?;
            Ok(())
        };
        let sent = sent.await;
        if sent.is_err() {
            // What is left behind when this fails is no object; a rule of the bucket removes it (docs/operations.md).
            if let Err(error) = self.store.abort_multipart(path, &upload).await.map_err(Error::from) {
                tracing::warn!(%error, "the parts of an upload are left in the bucket");
            }
        }
        sent
    }
}

enum PartsError {
    Spool(Error),
    Store(object_store::Error),
}

impl From<Error> for PartsError {
    fn from(error: Error) -> Self {
        Self::Spool(error)
    }
}

impl From<object_store::Error> for PartsError {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

/// Waits before the next try, when there is one.
async fn again(error: object_store::Error, tries: &mut u32) -> Result<(), Error> {
    let error = match Error::from(error) {
        Error::Unavailable(_) | Error::NotFound if *tries < RETRIES => {
            *tries += 1;
            let wait = BACKOFF * 2_u32.pow(*tries);
            tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.5))).await;
            return Ok(());
        }
        error => error,
    };
    Err(error)
}

fn client_options(config: &BlobsConfig) -> Result<ClientOptions, Error> {
    let mut options = ClientOptions::new()
        .with_connect_timeout(config.request_timeout.min(CONNECT_TIMEOUT_MAX))
        // Of the whole would end a reader that is slow for good reasons, such as an engine that scans what it reads.
        .with_timeout_disabled()
        .with_read_timeout(config.request_timeout);
    if let Some(endpoint) = &config.endpoint {
        let wrong = || Error::Config(format!("[blobs].endpoint {endpoint} must be https, or http on this machine"));
        let url = Url::parse(endpoint).map_err(|_| wrong())?;
        let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        match url.scheme() {
            "https" => {}
            "http" if is_here && config.sse_c_key_file.is_none() => options = options.with_allow_http(true),
            _ => return Err(wrong()),
        }
    }
    if let Some(file) = &config.ca_file {
        let pem = std::fs::read(file).map_err(|e| Error::Config(format!("{}: {e}", file.display())))?;
        for certificate in object_store::Certificate::from_pem_bundle(&pem)? {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

fn credentials(builder: AmazonS3Builder, config: &BlobsConfig) -> Result<AmazonS3Builder, Error> {
    match (&config.access_key_id_file, &config.secret_access_key_file) {
        (Some(id), Some(secret)) => {
            Ok(builder.with_access_key_id(secret_in(id)?).with_secret_access_key(secret_in(secret)?))
        }
        (None, None) => Ok(CREDENTIALS.iter().fold(builder, |builder, name| {
            match (std::env::var(name), name.to_lowercase().parse::<AmazonS3ConfigKey>()) {
                (Ok(value), Ok(key)) => builder.with_config(key, value),
                _ => builder,
            }
        })),
        _ => Err(Error::Config("[blobs] needs both access_key_id_file and secret_access_key_file, or none".to_owned())),
    }
}

fn customer_key(file: &std::path::Path) -> Result<String, Error> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let key = secret_in(file)?;
    match BASE64_STANDARD.decode(&key) {
        Ok(bytes) if bytes.len() == 32 => Ok(key),
        // Without a word of what it holds.
        _ => Err(Error::Config(format!("{} is not the base64 of 32 bytes", file.display()))),
    }
}

fn secret_in(file: &std::path::Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(file).map_err(|e| Error::Config(format!("{}: {e}", file.display())))?;
    match text.trim() {
        "" => Err(Error::Config(format!("{} is empty", file.display()))),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(change: impl FnOnce(&std::path::Path, &mut BlobsConfig)) -> String {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("short"), "c2hvcnQ=\n").unwrap();
        std::fs::write(directory.path().join("key"), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n").unwrap();
        let mut config = BlobsConfig::at("s3://bucket/prefix");
        change(directory.path(), &mut config);
        let url = Url::parse(&config.url).unwrap();
        Bucket::open(&config, &url).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_configuration_that_would_leak_or_lose_is_refused() {
        let plain = refused(|_, config| config.endpoint = Some("http://s3.example".into()));
        assert!(plain.contains("must be https"), "{plain}");
        // The key would be on the wire.
        let key_in_plain = refused(|files, config| {
            config.endpoint = Some("http://127.0.0.1:9000".into());
            config.sse_c_key_file = Some(files.join("key"));
        });
        assert!(key_in_plain.contains("must be https"), "{key_in_plain}");
        let short = refused(|files, config| config.sse_c_key_file = Some(files.join("short")));
        assert!(short.contains("32 bytes") && !short.contains("c2hvcnQ"), "{short}");
        let half = refused(|files, config| config.access_key_id_file = Some(files.join("short")));
        assert!(half.contains("both"), "{half}");
        let absent = refused(|files, config| config.ca_file = Some(files.join("absent.pem")));
        assert!(absent.contains("absent.pem"), "{absent}");
    }

    #[test]
    fn a_service_on_this_machine_may_speak_http_without_a_key() {
        assert_eq!(refused(|_, config| config.endpoint = Some("http://127.0.0.1:9000".into())), "");
        assert_eq!(refused(|files, config| config.sse_c_key_file = Some(files.join("key"))), "");
    }
}
