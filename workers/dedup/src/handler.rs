use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use docfleet_blobs::{Blobs, BlobsConfig, content_hash};
use docfleet_events::{DedupOutcome, DocumentDeduplicated, DocumentVirusScanned, ScanVerdict, erasure::erased_of};
use docfleet_pipeline::{
    Failure, Handler, Message, Outcome, Policy, Recorded, Settlement, Setup, WorkContext, Worked, of_database,
};
use uuid::Uuid;

use crate::{
    Cache, Lookup, RedisConfig,
    claim::{self, Refusal},
    contents::{self, Content},
    identify::{Identity, identify},
    metric,
};

/// Why a message has no finding; a closed set.
mod reason {
    pub const BLOB_GONE: &str = "blob-gone";
    /// The store holds other bytes than the key's hash promises.
    pub const BLOB_CONTENT_DIFFERS: &str = "blob-content-differs";
    /// Not the key of a content of the event's own tenant.
    pub const BLOB_KEY_INVALID: &str = "blob-key-invalid";
    /// The store holds something else than what was uploaded and scanned.
    pub const BLOB_SIZE_DIFFERS: &str = "blob-size-differs";
    pub const BLOB_STORE_REFUSES: &str = "blob-store-refuses";
    pub const BLOB_STORE_UNAVAILABLE: &str = "blob-store-unavailable";
    /// For a moment; the next try finds another one.
    pub const FIRST_DOCUMENT_ERASED: &str = "first-document-erased";
    pub const REGION_FOREIGN: &str = "region-foreign";
    pub const STORE_OF_OTHER_REGION: &str = "store-of-other-region";
}

const READ_DEADLINE: Duration = Duration::from_secs(60);

pub struct Dedup {
    blobs: Blobs,
    cache: Cache,
}

#[derive(Debug)]
pub enum Finding {
    /// Its bytes are not there: the document was erased meanwhile, or something is wrong.
    Gone,
    /// Infected or unscannable: its bytes are not touched, and the flow ends here.
    NotClean,
    Refused {
        identity: Identity,
        refusal: Refusal,
    },
    Accepted {
        identity: Identity,
        lookup: Lookup,
        /// The first document of this content, as the last run of `record` saw it; for the cache, after the commit.
        first_document: Mutex<Option<Uuid>>,
    },
}

type Found = Worked<DocumentVirusScanned, Finding>;

impl Dedup {
    /// Waits for the registry, not for Redis.
    pub async fn new(setup: Setup) -> anyhow::Result<Self> {
        setup.pin::<DocumentDeduplicated>().await?;
        let blobs = Blobs::open_store(&setup.section::<BlobsConfig>("blobs")?, &setup.region)?;
        let cache = Cache::new(setup.section::<RedisConfig>("redis")?)?;
        Ok(Self::over(blobs, cache))
    }

    pub fn over(blobs: Blobs, cache: Cache) -> Self {
        Self { blobs, cache }
    }
}

impl Handler for Dedup {
    type In = DocumentVirusScanned;
    type Finding = Finding;

    const POLICY: Policy = Policy::UNORDERED.with_costly_work(READ_DEADLINE).never_again(
        "who was first with a content is decided once; to have its events again, `docfleet relay republish`",
    );

    async fn work(&self, message: &Message<DocumentVirusScanned>, _context: &WorkContext) -> Outcome<Finding> {
        let event = &message.event;
        if event.verdict != ScanVerdict::Clean {
            return Ok(Finding::NotClean);
        }
        self.blobs.admits(&message.meta.region).map_err(of_blob)?;
        let Some(named) = content_hash(&message.meta.tenant, &event.blob.key) else {
            let detail = "the event's key is not the one of a content of its tenant";
            return Err(Failure::poison(reason::BLOB_KEY_INVALID, detail));
        };
        let blob = match self.blobs.open(&event.blob.key).await {
            Err(docfleet_blobs::Error::NotFound) => return Ok(Finding::Gone),
            opened => opened.map_err(of_blob)?,
        };
        let identity = identify(blob.bytes).await.map_err(of_blob)?;
        if i64::try_from(identity.size_bytes) != Ok(event.blob.size_bytes) {
            let detail = format!("{} bytes were uploaded, {} are there", event.blob.size_bytes, identity.size_bytes);
            return Err(Failure::poison(reason::BLOB_SIZE_DIFFERS, detail));
        }
        // The only place behind the door that reads all of it: a store that changed a byte is found here.
        if identity.sha256_hex() != named {
            return Err(Failure::poison(reason::BLOB_CONTENT_DIFFERS, "the bytes have not the hash that names them"));
        }
        if let Err(refusal) = claim::judge(identity.sniffed, &event.file_name, event.declared_mime.as_deref()) {
            return Ok(Finding::Refused { identity, refusal });
        }
        let lookup = self.cache.first_document(&message.meta.tenant, &identity.sha256).await;
        Ok(Finding::Accepted { identity, lookup, first_document: Mutex::new(None) })
    }

    async fn record(&self, batch: &[Found], settlement: &mut Settlement<'_>) -> Recorded {
        let documents: Vec<Uuid> = batch.iter().map(|worked| worked.message.event.document_id).collect();
        let erased = erased_of(settlement.connection(), &documents).await.map_err(|e| of_database(&e))?;
        let living = || batch.iter().filter(|worked| !erased.contains(&worked.message.event.document_id));
        if living().any(|worked| matches!(worked.finding, Finding::Gone)) {
            return Err(of_blob(docfleet_blobs::Error::NotFound));
        }
        let accepted: Vec<Content> = living().filter_map(content_of).collect();
        let firsts = contents::claim(settlement.connection(), &accepted).await.map_err(|e| of_database(&e))?;
        // Nobody is told that a document is the duplicate of one that is being erased: its heir is found in the next try.
        let named: Vec<Uuid> = firsts.values().copied().collect();
        if !erased_of(settlement.connection(), &named).await.map_err(|e| of_database(&e))?.is_empty() {
            return Err(Failure::transient(reason::FIRST_DOCUMENT_ERASED, "the content gets another first document"));
        }
        let duplicates: Vec<(Content, &str)> = living()
            .filter_map(|worked| {
                let content = content_of(worked).filter(|c| firsts.get(&c.key()) != Some(&c.document_id))?;
                Some((content, mime_of(&worked.finding)?))
            })
            .collect();
        contents::note_duplicates(settlement.connection(), &duplicates).await.map_err(|e| of_database(&e))?;
        for worked in living() {
            let first = content_of(worked).and_then(|content| firsts.get(&content.key()).copied());
            if let Finding::Accepted { first_document, .. } = &worked.finding {
                *first_document.lock().unwrap_or_else(PoisonError::into_inner) = first;
            }
            if let Some(event) = deduplicated(&worked.message.event, &worked.finding, first) {
                settlement.emit(&worked.message, event);
            }
        }
        Ok(())
    }

    async fn committed(&self, batch: &[Found]) {
        let mut news = Vec::new();
        for worked in batch {
            count(worked);
            let Finding::Accepted { identity, lookup, first_document } = &worked.finding else { continue };
            let Some(first) = *first_document.lock().unwrap_or_else(PoisonError::into_inner) else { continue };
            let result = match lookup {
                Lookup::Said(said) if *said == first => "hit",
                Lookup::Said(_) => "wrong",
                Lookup::Nothing => "miss",
                Lookup::Bypassed => "bypassed",
            };
            metrics::counter!(metric::CACHE_LOOKUPS_TOTAL, "result" => result).increment(1);
            if result != "hit" {
                news.push((worked.message.meta.tenant.clone(), identity.sha256, first));
            }
        }
        self.cache.remember(&news).await;
    }
}

fn content_of(worked: &Found) -> Option<Content> {
    let Finding::Accepted { identity, lookup, .. } = &worked.finding else { return None };
    Some(Content {
        tenant: worked.message.meta.tenant.clone(),
        sha256: identity.sha256,
        document_id: worked.message.event.document_id,
        is_probably_known: matches!(lookup, Lookup::Said(_)),
    })
}

fn mime_of(finding: &Finding) -> Option<&'static str> {
    match finding {
        Finding::Accepted { identity, .. } => Some(identity.sniffed.kind.mime()),
        Finding::Refused { .. } | Finding::NotClean | Finding::Gone => None,
    }
}

/// What follows from a finding. `first` is the first document of the content in this tenant.
fn deduplicated(
    scanned: &DocumentVirusScanned,
    finding: &Finding,
    first: Option<Uuid>,
) -> Option<DocumentDeduplicated> {
    let (identity, outcome, duplicate_of, refusal) = match finding {
        Finding::NotClean | Finding::Gone => return None,
        Finding::Refused { identity, refusal } => {
            (identity, DedupOutcome::Refused, None, Some(refusal.as_str().to_owned()))
        }
        Finding::Accepted { identity, .. } => match first.filter(|first| *first != scanned.document_id) {
            None => (identity, DedupOutcome::Unique, None, None),
            Some(first) => (identity, DedupOutcome::Duplicate, Some(first), None),
        },
    };
    Some(DocumentDeduplicated {
        document_id: scanned.document_id,
        outcome,
        duplicate_of,
        reason: refusal,
        sha256: identity.sha256_hex(),
        mime: identity.sniffed.kind.mime().to_owned(),
        file_name: scanned.file_name.clone(),
        blob: scanned.blob.clone(),
        searchable_pdf: scanned.searchable_pdf,
    })
}

fn count(worked: &Found) {
    let (outcome, reason) = match &worked.finding {
        Finding::NotClean => ("not-clean", ""),
        Finding::Gone => ("erased", ""),
        Finding::Refused { refusal, .. } => ("refused", refusal.as_str()),
        Finding::Accepted { first_document, .. } => {
            let first = *first_document.lock().unwrap_or_else(PoisonError::into_inner);
            match first {
                None => ("erased", ""),
                Some(first) if first == worked.message.event.document_id => ("unique", ""),
                Some(_) => ("duplicate", ""),
            }
        }
    };
    metrics::counter!(metric::OUTCOMES_TOTAL, "outcome" => outcome, "reason" => reason).increment(1);
    if let (Finding::Accepted { identity, .. }, "duplicate") = (&worked.finding, outcome) {
        metrics::counter!(metric::DUPLICATE_BYTES_TOTAL).increment(identity.size_bytes);
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
