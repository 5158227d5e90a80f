use serde::Deserialize;
use time::OffsetDateTime;
use uuid::Uuid;

/// A document as the API shows it; only what a command reads.
#[derive(Debug, Clone, Deserialize)]
pub struct Document {
    pub id: Uuid,
    pub state: State,
    #[serde(with = "time::serde::rfc3339")]
    pub uploaded_at: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    pub scan: Option<Scan>,
    pub content: Option<Content>,
    pub text: Option<Text>,
    #[serde(default)]
    pub webhooks: Webhooks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Processing,
    Finished,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Scan {
    pub verdict: String,
    pub signature: Option<String>,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Content {
    pub outcome: String,
    pub duplicate_of: Option<Uuid>,
    pub reason: Option<String>,
    pub mime: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Text {
    pub outcome: String,
    pub reason: Option<String>,
    pub page_count: Option<i64>,
    pub language: Option<String>,
    /// Of a machine-readable zone: valid, invalid, absent.
    #[serde(default)]
    pub mrz: Option<String>,
    /// 0 to 100.
    pub confidence: Option<f64>,
    pub excerpt: Option<String>,
}

/// Deliveries of the document's events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Webhooks {
    pub pending: u64,
    pub delivered: u64,
    pub failed: u64,
}

impl Document {
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// The webhook types of the events that happened to this document so far.
    pub fn event_types(&self) -> impl Iterator<Item = &'static str> {
        [
            (true, "document.uploaded"),
            (self.scan.is_some(), "document.virus_scanned"),
            (self.content.is_some(), "document.deduplicated"),
            (self.text.is_some(), "document.text_extracted"),
        ]
        .into_iter()
        .filter_map(|(happened, name)| happened.then_some(name))
    }
}
