use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use av_scan::{Address, AgeLimit, Clamd, ClamdConfig, Engines, Purpose, Scanner, archive::Limits, reply::Answer};
use bytes::Bytes;
use docfleet_blobs::{Blobs, BlobsConfig};
use futures::{StreamExt, TryStreamExt, stream};

use crate::documents::Documents;

/// The ways of a document to clamd.
pub struct Scans {
    scanner: Scanner,
    clamd: Arc<Clamd>,
    keys: Vec<(String, i64)>,
    contents: Vec<Bytes>,
    at_once: usize,
}

impl Scans {
    pub fn open(address: &str, documents: &Documents, at_once: usize) -> anyhow::Result<Self> {
        let config = ClamdConfig {
            addresses: vec![address.to_owned()],
            in_flight_documents_max: at_once,
            database_age_max: AgeLimit::Unlimited,
            ..ClamdConfig::default()
        };
        let blobs =
            Blobs::open_store(&BlobsConfig::at(format!("file://{}", documents.directory().display())), "bench")?;
        let limits = Limits { member_bytes_max: config.member_bytes_max, total_bytes_max: config.archive_bytes_max };
        let size = |content: &Bytes| i64::try_from(content.len()).unwrap_or(i64::MAX);
        Ok(Self {
            scanner: Scanner { blobs, engines: Arc::new(Engines::new(&config)), limits },
            clamd: Arc::new(Clamd::new(Address::from(address), &config)),
            keys: documents.keys.iter().cloned().zip(documents.contents.iter().map(size)).collect(),
            contents: documents.contents.clone(),
            at_once,
        })
    }

    /// As the worker does it, but for the message and its settlement.
    pub async fn engine(&self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let scans = self.keys.iter().cloned().map(|(key, size)| {
            let scanner = self.scanner.clone();
            let scanning = async move {
                let finding = scanner.scan(&key, size, Purpose::Fresh, soon()).await?;
                anyhow::ensure!(finding.answer == Answer::Clean, "{key}: {:?}", finding.answer);
                Ok(())
            };
            async move { tokio::spawn(scanning).await? }
        });
        stream::iter(scans).buffer_unordered(self.at_once).try_collect::<()>().await?;
        Ok(begun.elapsed())
    }

    /// The protocol alone.
    pub async fn bare(&self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let scans = self.contents.iter().cloned().map(|content| {
            let clamd = Arc::clone(&self.clamd);
            let scanning = async move {
                let answer = clamd.scan(stream::iter([Ok(content)]), soon()).await?;
                anyhow::ensure!(answer == Answer::Clean, "{answer:?}");
                Ok(())
            };
            async move { tokio::spawn(scanning).await? }
        });
        stream::iter(scans).buffer_unordered(self.at_once).try_collect::<()>().await?;
        Ok(begun.elapsed())
    }
}

fn soon() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(60)
}
