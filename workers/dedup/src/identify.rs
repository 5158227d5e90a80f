use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};

use crate::sniff::{Sniffed, Sniffer};

/// What one pass over a document's bytes shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub sha256: [u8; 32],
    pub sniffed: Sniffed,
    pub size_bytes: u64,
}

impl Identity {
    /// Lower-case hex.
    pub fn sha256_hex(&self) -> String {
        hex(&self.sha256)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads to the end; holds the document's head and tail only.
///
/// # Errors
/// The stream's first error.
pub async fn identify<S, E>(mut content: S) -> Result<Identity, E>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
{
    let (mut hash, mut sniffer, mut size_bytes) = (Sha256::new(), Sniffer::default(), 0);
    while let Some(chunk) = content.next().await {
        let chunk = chunk?;
        hash.update(&chunk);
        sniffer.observe(&chunk);
        size_bytes += chunk.len() as u64;
    }
    Ok(Identity { sha256: hash.finalize().into(), sniffed: sniffer.finish(), size_bytes })
}
