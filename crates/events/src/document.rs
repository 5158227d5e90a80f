use docfleet_outbox::{Error, Event, EventMeta, Input, apache_avro::Schema, codec, define_event, record_name};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// Where bytes lie in the blob store of the event's region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    pub key: String,
    pub size_bytes: i64,
}

/// A document was accepted and its bytes are stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "DocumentUploadedData")]
pub struct DocumentUploaded {
    pub document_id: Uuid,
    /// As the client gave it: personal data, never a path.
    pub file_name: String,
    pub declared_mime: Option<String>,
    pub blob: BlobRef,
    /// Whether the client asked for a PDF whose text can be searched and copied.
    #[serde(default)]
    pub searchable_pdf: bool,
    /// Of the bytes, lower-case hex, as the API read them; none in events from before it did.
    pub sha256: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScanVerdict {
    Clean,
    Infected,
    Unscannable,
}

/// The antivirus engine gave its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "DocumentVirusScannedData")]
pub struct DocumentVirusScanned {
    pub document_id: Uuid,
    pub verdict: ScanVerdict,
    pub signature: Option<String>,
    pub reason: Option<String>,
    pub engine: String,
    pub database: String,
    pub file_name: String,
    pub declared_mime: Option<String>,
    pub blob: BlobRef,
    /// Whether the client asked for a PDF whose text can be searched and copied.
    #[serde(default)]
    pub searchable_pdf: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DedupOutcome {
    Unique,
    Duplicate,
    /// The bytes are not what the name or the declared type says, or of a type that is not accepted.
    Refused,
}

/// The content was identified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "DocumentDeduplicatedData")]
pub struct DocumentDeduplicated {
    pub document_id: Uuid,
    pub outcome: DedupOutcome,
    pub duplicate_of: Option<Uuid>,
    pub reason: Option<String>,
    /// Lower-case hex.
    pub sha256: String,
    /// Read from the bytes.
    pub mime: String,
    pub file_name: String,
    pub blob: BlobRef,
    /// Whether the client asked for a PDF whose text can be searched and copied.
    #[serde(default)]
    pub searchable_pdf: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextOutcome {
    Extracted,
    Unreadable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextSource {
    TextLayer,
    Ocr,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PageText {
    /// From 1.
    pub number: i32,
    pub source: TextSource,
    /// Mean word confidence, 0 to 100; none for a text layer.
    pub confidence: Option<f64>,
    pub words: i32,
}

/// A page that could not be read; the others were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadPage {
    /// From 1.
    pub number: i32,
    /// Such as `too-slow`.
    pub reason: String,
}

/// Of a machine-readable zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MrzOutcome {
    /// All check digits agree.
    Valid,
    /// There is one, and it can not be relied on.
    Invalid,
    /// None is on the pages that were read.
    Absent,
}

/// The document was read, or a reason says why it could not be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "DocumentTextExtractedData")]
pub struct DocumentTextExtracted {
    pub document_id: Uuid,
    pub outcome: TextOutcome,
    pub reason: Option<String>,
    pub pages: Vec<PageText>,
    /// That of the text, as Tesseract's code, such as `deu`; where that is not sure, those it was read with: `deu+eng`.
    pub language: Option<String>,
    pub confidence: Option<f64>,
    /// UTF-8; pages are separated by a form feed.
    pub text: Option<BlobRef>,
    /// The first words, at most 120 characters: personal data like the text.
    pub excerpt: Option<String>,
    pub engine: Option<String>,
    #[serde(default)]
    pub unread: Vec<UnreadPage>,
    /// None where nothing was read.
    pub mrz: Option<MrzOutcome>,
    /// The words' places, in JSON.
    pub layout: Option<BlobRef>,
    /// None unless it was asked for and could be made.
    pub searchable: Option<BlobRef>,
}

/// A document was erased: nothing of what it was is said any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "DocumentErasedData")]
pub struct DocumentErased {
    pub document_id: Uuid,
    /// A word, such as `request` or `retention`.
    pub reason: String,
    /// By the database's clock.
    #[serde(with = "docfleet_outbox::micros")]
    pub erased_at: OffsetDateTime,
    /// `document-api` for a request of the tenant, `retention`, or the operator's name.
    pub by: String,
}

/// A document that was called clean turned out infected, under newer signatures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "DocumentInfectionFoundData")]
pub struct DocumentInfectionFound {
    pub document_id: Uuid,
    pub signature: String,
    pub engine: String,
    /// Number and date of the signatures that found it.
    pub database: String,
    /// The signatures that found nothing the last time.
    pub clean_by: String,
    /// When it was called clean first: microseconds since 1970, UTC. Since then it could be downloaded.
    pub clean_since: i64,
}

define_event!(DocumentUploaded, topic: "documents.uploaded.v1", aggregate: "document", id: document_id,
              schema: "../../../schemas/documents.uploaded.v1.avsc");
define_event!(DocumentVirusScanned, topic: "documents.virus-scanned.v1", aggregate: "document", id: document_id,
              schema: "../../../schemas/documents.virus-scanned.v1.avsc");
define_event!(DocumentDeduplicated, topic: "documents.deduplicated.v1", aggregate: "document", id: document_id,
              schema: "../../../schemas/documents.deduplicated.v1.avsc");
define_event!(DocumentTextExtracted, topic: "documents.text-extracted.v1", aggregate: "document", id: document_id,
              schema: "../../../schemas/documents.text-extracted.v1.avsc");
define_event!(DocumentErased, topic: "documents.erased.v1", aggregate: "document", id: document_id,
              schema: "../../../schemas/documents.erased.v1.avsc");
define_event!(DocumentInfectionFound, topic: "documents.infection-found.v1", aggregate: "document", id: document_id,
              schema: "../../../schemas/documents.infection-found.v1.avsc");

/// Any fact about a document, for consumers that read all topics.
#[derive(Debug, Clone, PartialEq)]
pub enum DocumentEvent {
    Uploaded(DocumentUploaded),
    VirusScanned(DocumentVirusScanned),
    Deduplicated(DocumentDeduplicated),
    TextExtracted(DocumentTextExtracted),
    Erased(DocumentErased),
    InfectionFound(DocumentInfectionFound),
}

impl DocumentEvent {
    pub fn document_id(&self) -> Uuid {
        match self {
            Self::Uploaded(event) => event.document_id,
            Self::VirusScanned(event) => event.document_id,
            Self::Deduplicated(event) => event.document_id,
            Self::TextExtracted(event) => event.document_id,
            Self::Erased(event) => event.document_id,
            Self::InfectionFound(event) => event.document_id,
        }
    }
}

impl Input for DocumentEvent {
    fn topics() -> Vec<&'static str> {
        vec![
            DocumentUploaded::TOPIC,
            DocumentVirusScanned::TOPIC,
            DocumentDeduplicated::TOPIC,
            DocumentTextExtracted::TOPIC,
            DocumentErased::TOPIC,
            DocumentInfectionFound::TOPIC,
        ]
    }

    fn decode(writer: &Schema, datum: &[u8]) -> Result<(EventMeta, Self), Error> {
        fn read<E: Event>(
            writer: &Schema,
            datum: &[u8],
            wrap: fn(E) -> DocumentEvent,
        ) -> Result<(EventMeta, DocumentEvent), Error> {
            codec::decode(writer, datum).map(|(meta, event)| (meta, wrap(event)))
        }
        match record_name(writer) {
            Some(DocumentUploaded::NAME) => read(writer, datum, Self::Uploaded),
            Some(DocumentVirusScanned::NAME) => read(writer, datum, Self::VirusScanned),
            Some(DocumentDeduplicated::NAME) => read(writer, datum, Self::Deduplicated),
            Some(DocumentTextExtracted::NAME) => read(writer, datum, Self::TextExtracted),
            Some(DocumentErased::NAME) => read(writer, datum, Self::Erased),
            Some(DocumentInfectionFound::NAME) => read(writer, datum, Self::InfectionFound),
            other => Err(Error::UnexpectedEvent(other.unwrap_or("not a record").to_owned())),
        }
    }
}

#[cfg(test)]
mod tests;
