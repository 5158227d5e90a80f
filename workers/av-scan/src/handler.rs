use std::time::Duration;

use docfleet_blobs::{Blobs, BlobsConfig, content_hash};
use docfleet_events::{DocumentUploaded, DocumentVirusScanned, ScanVerdict};
use docfleet_pipeline::{Failure, Handler, Message, Outcome, Policy, Recorded, Settlement, Setup, WorkContext, Worked};
use futures::TryStreamExt;

use crate::{
    ClamdConfig, Engine, Error, Version,
    archive::{Limits, Sentinel},
    metric,
    reply::{Answer, Surprise},
};

/// Why a message has no finding; a closed set.
mod reason {
    pub const BLOB_GONE: &str = "blob-gone";
    /// Not the key of a content of the event's own tenant, or not of the one that the event names.
    pub const BLOB_KEY_INVALID: &str = "blob-key-invalid";
    /// The store holds something else than what was uploaded.
    pub const BLOB_SIZE_DIFFERS: &str = "blob-size-differs";
    pub const BLOB_STORE_REFUSES: &str = "blob-store-refuses";
    pub const BLOB_STORE_UNAVAILABLE: &str = "blob-store-unavailable";
    pub const REGION_FOREIGN: &str = "region-foreign";
    pub const STORE_OF_OTHER_REGION: &str = "store-of-other-region";
    pub const ENGINE_UNAVAILABLE: &str = "engine-unavailable";
    pub const ENGINE_BLIND: &str = "engine-blind";
    pub const ENGINE_BROKE_OFF: &str = "engine-broke-off";
    pub const ENGINE_SILENT: &str = "engine-silent";
    pub const ENGINE_ERROR: &str = "engine-error";
    pub const ENGINE_REPLY_GARBLED: &str = "engine-reply-garbled";
}

/// Above clamd's `MaxScanTime` (120 s) and the time to send the largest document.
const SCAN_DEADLINE: Duration = Duration::from_secs(180);

pub struct AvScan {
    blobs: Blobs,
    engine: Engine,
    limits: Limits,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub answer: Answer,
    pub version: Version,
}

impl AvScan {
    /// Waits for the registry; does not wait for clamd, whose absence each message waits out.
    pub async fn new(setup: Setup) -> anyhow::Result<Self> {
        setup.pin::<DocumentVirusScanned>().await?;
        let blobs = Blobs::open_store(&setup.section::<BlobsConfig>("blobs")?, &setup.region)?;
        Ok(Self::over(blobs, &setup.section("clamd")?))
    }

    pub fn over(blobs: Blobs, config: &ClamdConfig) -> Self {
        Self { blobs, engine: Engine::new(config), limits: config.archive_limits() }
    }
}

impl Handler for AvScan {
    type In = DocumentUploaded;
    type Finding = Finding;

    const POLICY: Policy = Policy::UNORDERED.with_costly_work(SCAN_DEADLINE);

    async fn work(&self, message: &Message<DocumentUploaded>, context: &WorkContext) -> Outcome<Finding> {
        self.blobs.admits(&message.meta.region).map_err(of_blob)?;
        let stated = &message.event.blob;
        let named = content_hash(&message.meta.tenant, &stated.key);
        if named.is_none() || message.event.sha256.as_deref().is_some_and(|hash| named != Some(hash)) {
            let detail = "the event's key is not the one of its tenant and content";
            return Err(Failure::poison(reason::BLOB_KEY_INVALID, detail));
        }
        let blob = self.blobs.open(&stated.key).await.map_err(of_blob)?;
        if i64::try_from(blob.size_bytes) != Ok(stated.size_bytes) {
            let detail = format!("{} bytes were uploaded, {} are there", stated.size_bytes, blob.size_bytes);
            return Err(Failure::poison(reason::BLOB_SIZE_DIFFERS, detail));
        }
        let mut sentinel = Sentinel::default();
        let content = blob.bytes.inspect_ok(|chunk| sentinel.observe(chunk));
        let (mut answer, version) = self.engine.scan(content, context.deadline).await.map_err(of_engine)?;
        if sentinel.seen_bytes() != blob.size_bytes && answer == Answer::Clean {
            return Err(Failure::transient(reason::BLOB_SIZE_DIFFERS, "the blob's bytes ended early"));
        }
        if let (Answer::Clean, Some(uncovered)) = (&answer, sentinel.verdict(self.limits)) {
            answer = Answer::Unscannable(uncovered);
        }
        Ok(Finding { answer, version })
    }

    async fn record(&self, batch: &[Worked<DocumentUploaded, Finding>], settlement: &mut Settlement<'_>) -> Recorded {
        for worked in batch {
            settlement.emit(&worked.message, scanned(&worked.message.event, &worked.finding));
        }
        Ok(())
    }

    async fn committed(&self, batch: &[Worked<DocumentUploaded, Finding>]) {
        for Worked { message, finding } in batch {
            let (verdict, reason) = match &finding.answer {
                Answer::Clean => ("clean", ""),
                Answer::Infected { .. } => ("infected", ""),
                Answer::Unscannable(why) => ("unscannable", why.as_str()),
            };
            metrics::counter!(metric::VERDICTS_TOTAL, "verdict" => verdict, "reason" => reason).increment(1);
            let bytes = u64::try_from(message.event.blob.size_bytes).unwrap_or_default();
            metrics::counter!(metric::SCANNED_BYTES_TOTAL).increment(bytes);
        }
    }
}

fn scanned(uploaded: &DocumentUploaded, Finding { answer, version }: &Finding) -> DocumentVirusScanned {
    let (verdict, signature, reason) = match answer {
        Answer::Clean => (ScanVerdict::Clean, None, None),
        Answer::Infected { signature } => (ScanVerdict::Infected, Some(signature.clone()), None),
        Answer::Unscannable(why) => (ScanVerdict::Unscannable, None, Some(why.as_str().to_owned())),
    };
    DocumentVirusScanned {
        document_id: uploaded.document_id,
        verdict,
        signature,
        reason,
        engine: version.engine.clone(),
        database: version.database.clone(),
        file_name: uploaded.file_name.clone(),
        declared_mime: uploaded.declared_mime.clone(),
        blob: uploaded.blob.clone(),
        searchable_pdf: uploaded.searchable_pdf,
    }
}

fn of_blob(error: docfleet_blobs::Error) -> Failure {
    match error {
        docfleet_blobs::Error::NotFound => Failure::poison(reason::BLOB_GONE, error),
        docfleet_blobs::Error::Config(_) => Failure::poison(reason::BLOB_KEY_INVALID, error),
        docfleet_blobs::Error::OtherRegion { .. } => Failure::poison(reason::REGION_FOREIGN, error),
        docfleet_blobs::Error::StoreOfOtherRegion { .. } => Failure::fatal(reason::STORE_OF_OTHER_REGION, error),
        docfleet_blobs::Error::Refused(_) => Failure::unavailable(reason::BLOB_STORE_REFUSES, error),
        other => Failure::unavailable(reason::BLOB_STORE_UNAVAILABLE, other),
    }
}

/// An engine that is away is away for all documents, and they wait. One that fails in the middle of a document may fail
/// because of it: it gets its tries, and ends as a dead letter if it brings the engine down each time.
fn of_engine(error: Error) -> Failure {
    match error {
        Error::Content(error) => of_blob(error),
        Error::ContentStalled(_) => Failure::unavailable(reason::BLOB_STORE_UNAVAILABLE, error),
        Error::Away(_) => Failure::unavailable(reason::ENGINE_UNAVAILABLE, error),
        Error::Blind(_) => Failure::unavailable(reason::ENGINE_BLIND, error),
        Error::BrokeOff(_) => Failure::transient(reason::ENGINE_BROKE_OFF, error),
        Error::Silent(_) => Failure::transient(reason::ENGINE_SILENT, error),
        Error::Surprise(Surprise::EngineError(_)) => Failure::transient(reason::ENGINE_ERROR, error),
        Error::Premature | Error::Surprise(_) => Failure::transient(reason::ENGINE_REPLY_GARBLED, error),
    }
}
