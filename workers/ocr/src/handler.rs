use std::time::Duration;

use bytes::Bytes;
use docfleet_blobs::{Blobs, BlobsConfig, content_key};
use docfleet_events::{
    BlobRef, DedupOutcome, DocumentDeduplicated, DocumentTextExtracted, EventMeta, TextOutcome, UnreadPage,
    erasure::erased_of,
    trail::{self, Action, Entry},
};
use docfleet_mrz::Day;
use docfleet_pipeline::{
    Classify, Failure, Handler, Message, Outcome, Policy, Recorded, Settlement, Setup, WorkContext, Worked, of_database,
};
use docfleet_seal::Keys;
use serde_json::json;
use tokio::time::timeout_at;
use uuid::Uuid;

use crate::{
    Kind, OcrConfig, Unreadable,
    config::DOCUMENT_TIME_LIMIT,
    engine::{self, Engine},
    metric,
    reading::{Reading, excerpt},
    store::Shelf,
    zone::{self, PageZone},
};

/// Reads the text of each unique document.
pub struct Ocr {
    blobs: Blobs,
    engine: Engine,
    config: OcrConfig,
    /// None: fields of machine-readable zones are not kept.
    zone_keys: Option<Keys>,
}

/// What reading a document came to.
pub enum Finding {
    /// A duplicate or a refused file: its history ended with the fact that says so.
    NothingToRead,
    /// Its bytes are not there: the document was erased meanwhile, or something is wrong.
    Gone,
    Read(Box<Read>),
}

/// What looking at a document came to.
struct Looked {
    reading: Reading,
    zones: Vec<PageZone>,
    searchable: Option<Bytes>,
}

impl Looked {
    fn unreadable(reason: Unreadable) -> Self {
        Self { reading: Reading::unreadable(reason), zones: Vec::new(), searchable: None }
    }
}

/// A document that was read, or can not be.
pub struct Read {
    pub fact: DocumentTextExtracted,
    /// Whether fields of machine-readable zones were sealed and stored.
    pub zones_stored: bool,
}

/// Also when an upgrade has replaced the file meanwhile: worker and child must be of one version.
const OWN_BINARY: &str = "/proc/self/exe";
const BLOB_GONE: &str = "blob-gone";
/// For the blob and the text, beside the reading itself.
const STORE_TIME: Duration = Duration::from_secs(60);
/// Above what a document may take, so that a slow one is a fact before it is a failed try; what is left of it is for the
/// wait for a child.
const WORK_DEADLINE: Duration = Duration::from_secs(30 * 60);
const _: () = assert!(WORK_DEADLINE.as_secs() > DOCUMENT_TIME_LIMIT.as_secs() + 2 * STORE_TIME.as_secs());

impl Ocr {
    /// # Errors
    /// A refused configuration or schema; no blob store; an engine that does not start.
    pub async fn new(setup: Setup) -> anyhow::Result<Self> {
        let config: OcrConfig = setup.section("ocr")?;
        config.validate().map_err(anyhow::Error::msg)?;
        let blobs = Blobs::open_store(&setup.section::<BlobsConfig>("blobs")?, &setup.region)?;
        setup.pin::<DocumentTextExtracted>().await?;
        // No child, whom a document may take over, learns where the keys lie.
        let engine = Engine::start(OWN_BINARY.into(), OcrConfig { mrz_key_file: None, ..config.clone() }).await?;
        Self::with(blobs, engine, config)
    }

    /// From its parts. `config` is the engine's.
    ///
    /// # Errors
    /// A key file that is none.
    pub fn with(blobs: Blobs, engine: Engine, config: OcrConfig) -> anyhow::Result<Self> {
        let zone_keys = config.mrz_key_file.as_deref().map(Keys::read).transpose()?;
        if zone_keys.is_none() {
            tracing::warn!("no ocr.mrz_key_file: the fields of machine-readable zones are not kept");
        }
        Ok(Self { blobs, engine, config, zone_keys })
    }

    async fn look(&self, meta: &EventMeta, event: &DocumentDeduplicated, context: &WorkContext) -> Outcome<Looked> {
        if event.blob.size_bytes == 0 {
            return Ok(Looked::unreadable(Unreadable::Empty));
        }
        let Some(kind) = Kind::of_mime(&event.mime) else {
            return Ok(Looked::unreadable(Unreadable::UnsupportedType));
        };
        // The document is fetched when a child is free, so that no more documents are in memory than children.
        let latest = context.deadline - self.config.document_time_max - STORE_TIME;
        let lease = timeout_at(latest, self.engine.lease(&meta.tenant))
            .await
            .unavailable("engine-busy")?
            .unavailable("engine-unavailable")?;
        let document = match self.blobs.read_all(&event.blob.key, self.config.document_bytes_max as u64).await {
            Err(docfleet_blobs::Error::TooLarge { .. }) => return Ok(Looked::unreadable(Unreadable::TooLarge)),
            fetched => fetched.map_err(of_blobs)?,
        };
        let lease = lease.in_languages(self.config.languages_of(&meta.tenant));
        let day = day_of(meta);
        let taken_out = move |reading: &mut Reading| zone::take_out(reading, day);
        let drawn = event.searchable_pdf;
        let reading = lease.read_and_draw(kind, document.clone(), taken_out, drawn, &context.shutdown);
        let (reading, zones, mut searchable) = reading.await.map_err(of_engine)?;
        // A PDF that is text on all its pages can be searched as it is.
        if event.searchable_pdf && kind == Kind::Pdf && reading.reason().is_none() && !reading.used_ocr() {
            searchable = Some(document);
        }
        Ok(Looked { reading, zones, searchable })
    }

    /// Everything that is kept of a reading, then the fact. Work that is repeated writes the same once more.
    async fn keep(
        &self,
        meta: &EventMeta,
        event: &DocumentDeduplicated,
        Looked { reading, zones, searchable }: &Looked,
    ) -> Outcome<Read> {
        let mut read = Read { fact: self.fact(&meta.tenant, event, reading, zones), zones_stored: false };
        if read.fact.outcome == TextOutcome::Unreadable {
            return Ok(read);
        }
        let shelf = Shelf { blobs: &self.blobs, tenant: &meta.tenant, document_id: event.document_id };
        if let (Some(keys), false) = (&self.zone_keys, zones.is_empty()) {
            shelf.zones(zones, keys).await?;
            read.zones_stored = true;
        }
        read.fact.layout = shelf.layout(reading).await?;
        if let Some(pdf) = searchable {
            read.fact.searchable = Some(shelf.searchable(pdf.clone()).await?);
        }
        read.fact.text = Some(shelf.text(reading).await?);
        Ok(read)
    }

    /// That of the text; where it is not sure, those with which it was read.
    fn language(&self, tenant: &str, reading: &Reading) -> Option<String> {
        let read_with = || reading.used_ocr().then(|| self.config.languages_of(tenant));
        reading.reason().is_none().then(|| reading.language().or_else(read_with)).flatten().map(str::to_owned)
    }

    fn fact(
        &self,
        tenant: &str,
        event: &DocumentDeduplicated,
        reading: &Reading,
        zones: &[PageZone],
    ) -> DocumentTextExtracted {
        let reason = reading.reason().map(|reason| reason.to_string());
        let unread = |(number, reason): (u32, Unreadable)| UnreadPage {
            number: i32::try_from(number).unwrap_or(i32::MAX),
            reason: reason.to_string(),
        };
        DocumentTextExtracted {
            document_id: event.document_id,
            outcome: if reason.is_some() { TextOutcome::Unreadable } else { TextOutcome::Extracted },
            excerpt: if reason.is_none() { excerpt(&reading.text()) } else { None },
            mrz: reason.is_none().then(|| zone::outcome(zones)),
            reason,
            pages: reading.pages(),
            language: self.language(tenant, reading),
            confidence: reading.confidence(),
            text: None,
            engine: reading.engine(),
            unread: reading.unread().into_iter().map(unread).collect(),
            layout: None,
            searchable: None,
        }
    }
}

impl Handler for Ocr {
    type In = DocumentDeduplicated;
    type Finding = Finding;

    /// Again, as after a better engine: the text is written to the same place.
    const POLICY: Policy = Policy::UNORDERED
        .with_costly_work(WORK_DEADLINE)
        .repeatable_with_events("texts are read and stored anew, in the place of those that are shown");

    async fn work(&self, message: &Message<DocumentDeduplicated>, context: &WorkContext) -> Outcome<Finding> {
        let event = &message.event;
        if event.outcome != DedupOutcome::Unique {
            return Ok(Finding::NothingToRead);
        }
        self.blobs.admits(&message.meta.region).map_err(of_blobs)?;
        if event.blob.key != content_key(&message.meta.tenant, &event.sha256) {
            return Err(Failure::poison(
                "blob-key-invalid",
                "the event's key is not the one of its tenant and content",
            ));
        }
        let looked = match self.look(&message.meta, event, context).await {
            Err(failure) if failure.reason == BLOB_GONE => return Ok(Finding::Gone),
            looked => looked?,
        };
        let read = self.keep(&message.meta, event, &looked).await?;
        let outcome = looked.reading.reason().map_or_else(|| "extracted".to_owned(), |reason| reason.to_string());
        metrics::counter!(metric::DOCUMENTS_TOTAL, "outcome" => outcome).increment(1);
        Ok(Finding::Read(Box::new(read)))
    }

    async fn record(
        &self,
        batch: &[Worked<DocumentDeduplicated, Finding>],
        settlement: &mut Settlement<'_>,
    ) -> Recorded {
        let documents: Vec<Uuid> = batch.iter().map(|worked| worked.message.event.document_id).collect();
        let erased = erased_of(settlement.connection(), &documents).await.map_err(|e| of_database(&e))?;
        let mut entries = Vec::new();
        for Worked { message, finding } in batch {
            match finding {
                // What was stored of it is looked for once more.
                _ if erased.contains(&message.event.document_id) => {}
                Finding::NothingToRead => {}
                Finding::Gone => return Err(of_blobs(docfleet_blobs::Error::NotFound)),
                Finding::Read(read) => {
                    entries.extend(read.trail(&message.meta));
                    settlement.emit(message, read.fact.clone());
                }
            }
        }
        trail::record(settlement.connection(), &entries).await.map_err(|e| of_database(&e))
    }
}

impl Read {
    /// What was stored, for the audit trail.
    fn trail<'m>(&self, meta: &'m EventMeta) -> impl Iterator<Item = Entry<'m>> + use<'m> {
        let document_id = Some(self.fact.document_id);
        let size = |blob: &Option<BlobRef>| blob.as_ref().map(|blob| json!({"size_bytes": blob.size_bytes}));
        let stored = [
            (Action::TextStored, size(&self.fact.text)),
            (Action::LayoutStored, size(&self.fact.layout)),
            (Action::SearchableStored, size(&self.fact.searchable)),
            (Action::MrzStored, self.zones_stored.then(|| json!({}))),
        ];
        stored.into_iter().filter_map(move |(action, detail)| {
            let (region, tenant) = (meta.region.as_str(), meta.tenant.as_str());
            Some(Entry { region, tenant, actor: "ocr", action, document_id, detail: detail? })
        })
    }
}

/// The document's day, so that work that is repeated finds the same centuries.
fn day_of(meta: &EventMeta) -> Day {
    let date = meta.occurred_at.date();
    Day { year: u16::try_from(date.year()).unwrap_or_default(), month: date.month().into(), day: date.day() }
}

pub(crate) fn of_blobs(error: docfleet_blobs::Error) -> Failure {
    match error {
        // Events are written after their blobs, so it was deleted.
        docfleet_blobs::Error::NotFound => Failure::poison(BLOB_GONE, error),
        docfleet_blobs::Error::Config(_) => {
            Failure::poison("blob-key-invalid", "the event's tenant is not one of ours")
        }
        docfleet_blobs::Error::OtherRegion { .. } => Failure::poison("region-foreign", error),
        docfleet_blobs::Error::StoreOfOtherRegion { .. } => Failure::fatal("store-of-other-region", error),
        docfleet_blobs::Error::Refused(_) => Failure::unavailable("blob-store-refuses", error),
        other => Failure::unavailable("blob-store-unavailable", other),
    }
}

/// A crash may be the document's doing or the machine's: it is tried again, and when it ends every time, the
/// message is dead.
fn of_engine(error: engine::Error) -> Failure {
    match error {
        engine::Error::Start(_) => Failure::unavailable("engine-unavailable", error),
        engine::Error::Crashed(_) => Failure::transient("engine-crashed", error),
        // One more try is one more chance for an attack.
        engine::Error::Denied(_) => Failure::poison("engine-denied", error),
        engine::Error::Protocol(_) => Failure::transient("engine-protocol", error),
        engine::Error::Stopping => Failure::unavailable("shutting-down", error),
    }
}

#[cfg(test)]
mod tests {
    use docfleet_pipeline::Class;

    use super::*;

    #[test]
    fn an_engine_that_dies_is_tried_again_and_a_missing_blob_is_not() {
        for (error, class) in [
            (engine::Error::Crashed("signal: 11".into()), Class::Transient),
            (engine::Error::Denied("signal: 31".into()), Class::Poison),
            (engine::Error::Protocol("junk".into()), Class::Transient),
            (engine::Error::Start("no memory".into()), Class::Unavailable),
            (engine::Error::Stopping, Class::Unavailable),
        ] {
            assert_eq!(of_engine(error).class, class);
        }
        assert_eq!(of_blobs(docfleet_blobs::Error::NotFound).class, Class::Poison);
    }
}
