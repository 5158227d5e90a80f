use std::time::Duration;

use bytes::Bytes;
use docfleet_blobs::{Blobs, BlobsConfig, document_key, text_key};
use docfleet_events::{BlobRef, DedupOutcome, DocumentDeduplicated, DocumentTextExtracted, TextOutcome};
use docfleet_pipeline::{
    Classify, Failure, Handler, Message, Outcome, Policy, Recorded, Settlement, Setup, WorkContext, Worked,
};
use tokio::time::timeout_at;

use crate::{
    Kind, OcrConfig, Unreadable,
    config::DOCUMENT_TIME_LIMIT,
    engine::{self, Engine},
    metric,
    reading::{Reading, excerpt},
};

/// Reads the text of each unique document.
pub struct Ocr {
    blobs: Blobs,
    engine: Engine,
    config: OcrConfig,
}

/// What reading a document came to.
pub enum Finding {
    /// A duplicate or a refused file: its history ended with the fact that says so.
    NothingToRead,
    Read(DocumentTextExtracted),
}

/// Also when an upgrade has replaced the file meanwhile: worker and child must be of one version.
const OWN_BINARY: &str = "/proc/self/exe";
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
        let blobs = Blobs::open_store(&setup.section::<BlobsConfig>("blobs")?)?;
        setup.pin::<DocumentTextExtracted>().await?;
        Ok(Self::with(blobs, Engine::start(OWN_BINARY.into(), config.clone()).await?, config))
    }

    /// From its parts. `config` is the engine's.
    pub fn with(blobs: Blobs, engine: Engine, config: OcrConfig) -> Self {
        Self { blobs, engine, config }
    }

    async fn read(&self, tenant: &str, event: &DocumentDeduplicated, context: &WorkContext) -> Outcome<Reading> {
        if event.blob.size_bytes == 0 {
            return Ok(Reading::unreadable(Unreadable::Empty));
        }
        let Some(kind) = Kind::of_mime(&event.mime) else {
            return Ok(Reading::unreadable(Unreadable::UnsupportedType));
        };
        // The document is fetched when a child is free, so that no more documents are in memory than children.
        let latest = context.deadline - self.config.document_time_max - STORE_TIME;
        let lease = timeout_at(latest, self.engine.lease())
            .await
            .unavailable("engine-busy")?
            .unavailable("engine-unavailable")?;
        let document = match self.blobs.read_all(&event.blob.key, self.config.document_bytes_max as u64).await {
            Err(docfleet_blobs::Error::TooLarge { .. }) => return Ok(Reading::unreadable(Unreadable::TooLarge)),
            fetched => fetched.map_err(of_blobs)?,
        };
        let lease = lease.in_languages(self.config.languages_of(tenant));
        lease.read(kind, document, &context.shutdown).await.map_err(of_engine)
    }

    async fn store(&self, tenant: &str, event: &DocumentDeduplicated, reading: &Reading) -> Outcome<BlobRef> {
        let key = text_key(tenant, event.document_id);
        let text = Bytes::from(reading.text());
        let size_bytes = i64::try_from(text.len()).poison("text-too-large")?;
        self.blobs.put(&key, text).await.map_err(of_blobs)?;
        Ok(BlobRef { key, size_bytes })
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
        text: Option<BlobRef>,
    ) -> DocumentTextExtracted {
        let reason = reading.reason().map(|reason| reason.to_string());
        DocumentTextExtracted {
            document_id: event.document_id,
            outcome: if reason.is_some() { TextOutcome::Unreadable } else { TextOutcome::Extracted },
            excerpt: text.as_ref().and_then(|_| excerpt(&reading.text())),
            reason,
            pages: reading.pages(),
            language: self.language(tenant, reading),
            confidence: reading.confidence(),
            text,
            engine: reading.engine(),
        }
    }
}

impl Handler for Ocr {
    type In = DocumentDeduplicated;
    type Finding = Finding;

    const POLICY: Policy = Policy::UNORDERED.with_costly_work(WORK_DEADLINE);

    async fn work(&self, message: &Message<DocumentDeduplicated>, context: &WorkContext) -> Outcome<Finding> {
        let event = &message.event;
        if event.outcome != DedupOutcome::Unique {
            return Ok(Finding::NothingToRead);
        }
        if event.blob.key != document_key(&message.meta.tenant, event.document_id) {
            return Err(Failure::poison(
                "blob-key-invalid",
                "the event's key is not the one of its tenant and document",
            ));
        }
        let reading = self.read(&message.meta.tenant, event, context).await?;
        let text = match reading.reason() {
            None => Some(self.store(&message.meta.tenant, event, &reading).await?),
            Some(_) => None,
        };
        let outcome = reading.reason().map_or_else(|| "extracted".to_owned(), |reason| reason.to_string());
        metrics::counter!(metric::DOCUMENTS_TOTAL, "outcome" => outcome).increment(1);
        Ok(Finding::Read(self.fact(&message.meta.tenant, event, &reading, text)))
    }

    async fn record(
        &self,
        batch: &[Worked<DocumentDeduplicated, Finding>],
        settlement: &mut Settlement<'_>,
    ) -> Recorded {
        for Worked { message, finding } in batch {
            if let Finding::Read(fact) = finding {
                settlement.emit(message, fact.clone());
            }
        }
        Ok(())
    }
}

fn of_blobs(error: docfleet_blobs::Error) -> Failure {
    match error {
        // Events are written after their blobs, so it was deleted.
        docfleet_blobs::Error::NotFound => Failure::poison("blob-gone", error),
        docfleet_blobs::Error::Config(_) => {
            Failure::poison("blob-key-invalid", "the event's tenant is not one of ours")
        }
        other => Failure::unavailable("blob-store-unavailable", other),
    }
}

/// A crash may be the document's doing or the machine's: it is tried again, and when it ends every time, the
/// message is dead.
fn of_engine(error: engine::Error) -> Failure {
    match error {
        engine::Error::Start(_) => Failure::unavailable("engine-unavailable", error),
        engine::Error::Crashed(_) => Failure::transient("engine-crashed", error),
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
            (engine::Error::Protocol("junk".into()), Class::Transient),
            (engine::Error::Start("no memory".into()), Class::Unavailable),
            (engine::Error::Stopping, Class::Unavailable),
        ] {
            assert_eq!(of_engine(error).class, class);
        }
        assert_eq!(of_blobs(docfleet_blobs::Error::NotFound).class, Class::Poison);
    }
}
