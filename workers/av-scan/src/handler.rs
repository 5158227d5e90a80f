use std::{sync::Arc, time::Duration};

use docfleet_blobs::{Blobs, BlobsConfig, content_hash};
use docfleet_events::{
    DocumentInfectionFound, DocumentUploaded, DocumentVirusScanned, ScanVerdict, erasure::erased_of,
};
use docfleet_outbox::Outbox;
use docfleet_pipeline::{
    Failure, Handler, KafkaConfig, Message, Outcome, Policy, Recorded, Settlement, Setup, WorkContext, Worked,
    of_database,
};
use uuid::Uuid;

use crate::{
    ClamdConfig, Engines, Error, Finding, Rescan, Scanner,
    engines::Purpose,
    failing::reason,
    metric,
    reply::Answer,
    scans::{self, Scanned},
};

/// Above clamd's `MaxScanTime` (120 s) and the time to send the largest document.
const SCAN_DEADLINE: Duration = Duration::from_secs(180);

pub struct AvScan {
    scanner: Scanner,
}

impl AvScan {
    /// Waits for the registry; does not wait for clamd, whose absence each message waits out.
    pub async fn new(setup: Setup) -> anyhow::Result<Self> {
        setup.pin::<DocumentVirusScanned>().await?;
        setup.pin::<DocumentInfectionFound>().await?;
        let blobs = Blobs::open_store(&setup.section::<BlobsConfig>("blobs")?, &setup.region)?;
        let config = setup.section::<ClamdConfig>("clamd")?.validated()?;
        if config.database_age_max == crate::AgeLimit::Unlimited {
            tracing::warn!("signatures of any age count as good: for development only");
        }
        let worker = Self::over(blobs, &config);
        let (engines, shutdown) = (Arc::clone(&worker.scanner.engines), setup.shutdown.clone());
        setup.spawn("engines", async move {
            engines.watch(shutdown).await;
            Ok(())
        });
        let outbox = Outbox::new(setup.registry.clone(), &setup.section::<KafkaConfig>("kafka")?.topic_prefix);
        let rescan = Rescan::new(setup.pool.clone(), outbox, &setup.region, worker.scanner.clone(), &config);
        setup.spawn("rescan", rescan.run(setup.shutdown.clone()));
        Ok(worker)
    }

    pub fn over(blobs: Blobs, config: &ClamdConfig) -> Self {
        let engines = Arc::new(Engines::new(config));
        Self { scanner: Scanner { blobs, engines, limits: config.archive_limits() } }
    }
}

impl Handler for AvScan {
    type In = DocumentUploaded;
    /// None: its bytes are not there. The document was erased meanwhile, or something is wrong.
    type Finding = Option<Finding>;

    /// Again, as after a hole in the engine: a verdict is an event, and a second one is a second event.
    const POLICY: Policy = Policy::UNORDERED
        .with_costly_work(SCAN_DEADLINE)
        .never_again("`docfleet rescan` scans documents again, and announces what is found");

    async fn work(&self, message: &Message<DocumentUploaded>, context: &WorkContext) -> Outcome<Option<Finding>> {
        let blobs = &self.scanner.blobs;
        blobs.admits(&message.meta.region).map_err(|e| Error::Content(e).classified())?;
        let stated = &message.event.blob;
        let named = content_hash(&message.meta.tenant, &stated.key);
        if named.is_none() || message.event.sha256.as_deref().is_some_and(|hash| named != Some(hash)) {
            let detail = "the event's key is not the one of its tenant and content";
            return Err(Failure::poison(reason::BLOB_KEY_INVALID, detail));
        }
        let scanning = self.scanner.scan(&stated.key, stated.size_bytes, Purpose::Fresh, context.deadline);
        match scanning.await {
            Err(Error::Content(docfleet_blobs::Error::NotFound)) => Ok(None),
            scanned => scanned.map(Some).map_err(Error::classified),
        }
    }

    async fn record(
        &self,
        batch: &[Worked<DocumentUploaded, Option<Finding>>],
        settlement: &mut Settlement<'_>,
    ) -> Recorded {
        let documents: Vec<Uuid> = batch.iter().map(|worked| worked.message.event.document_id).collect();
        let erased = erased_of(settlement.connection(), &documents).await.map_err(|e| of_database(&e))?;
        let living = batch.iter().filter(|worked| !erased.contains(&worked.message.event.document_id));
        let gone = || Error::Content(docfleet_blobs::Error::NotFound).classified();
        let living: Vec<Scanned<'_>> = living
            .map(|Worked { message, finding }| Ok((message, finding.as_ref().ok_or_else(gone)?)))
            .collect::<Result<_, Failure>>()?;
        scans::record(settlement.connection(), &living).await.map_err(|e| of_database(&e))?;
        for (message, finding) in living {
            settlement.emit(message, scanned(&message.event, finding));
        }
        Ok(())
    }

    async fn committed(&self, batch: &[Worked<DocumentUploaded, Option<Finding>>]) {
        for Worked { message, finding } in batch {
            let Some(finding) = finding else { continue };
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
