use std::fmt::Write;

use serde::Serialize;

use super::{Arguments, Kind, peer};

/// What reading all pages of a kind came to.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    pub pages: usize,
    pub seconds: f64,
    /// Of the truth.
    pub words: usize,
    /// Of these, read right and in their order.
    pub read: usize,
    /// Of the largest child.
    pub peak_bytes: Option<u64>,
}

impl Figure {
    /// Of rounds over the same pages.
    pub fn mean(rounds: &[Self]) -> Self {
        let sum = |of: fn(&Self) -> usize| rounds.iter().map(of).sum();
        Self {
            pages: sum(|round| round.pages),
            seconds: rounds.iter().map(|round| round.seconds).sum(),
            words: sum(|round| round.words),
            read: sum(|round| round.read),
            peak_bytes: rounds.iter().filter_map(|round| round.peak_bytes).max(),
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn per_second(&self) -> f64 {
        self.pages as f64 / self.seconds
    }

    /// Percent.
    #[allow(clippy::cast_precision_loss)]
    fn accuracy(&self) -> f64 {
        100.0 * self.read as f64 / self.words.max(1) as f64
    }

    pub fn line(&self) -> String {
        format!("{:.2} pages/s, {:.2} % of the words", self.per_second(), self.accuracy())
    }
}

#[derive(Serialize)]
struct Row {
    kind: Kind,
    name: &'static str,
    pages_per_second: f64,
    word_accuracy_percent: f64,
    #[serde(flatten)]
    figure: Figure,
}

#[derive(Serialize)]
struct Ratio {
    kind: Kind,
    pages_per_second: f64,
    /// Points of percent.
    word_accuracy: f64,
}

#[derive(Serialize)]
pub struct Report {
    peer: Option<String>,
    jobs: u8,
    languages: String,
    rows: Vec<Row>,
    ratios: Vec<Ratio>,
}

impl Report {
    pub async fn new(arguments: &Arguments) -> anyhow::Result<Self> {
        let peer = match &arguments.ocrmypdf {
            Some(program) => Some(peer::version(program).await?),
            None => None,
        };
        let (jobs, languages) = (arguments.jobs, arguments.languages.clone());
        Ok(Self { peer, jobs, languages, rows: Vec::new(), ratios: Vec::new() })
    }

    /// Ours before the peer.
    pub fn add(&mut self, kind: Kind, name: &'static str, figure: Figure) {
        let row =
            Row { kind, name, pages_per_second: figure.per_second(), word_accuracy_percent: figure.accuracy(), figure };
        if let Some(ours) = self.rows.last().filter(|ours| ours.kind == kind) {
            self.ratios.push(Ratio {
                kind,
                pages_per_second: ours.pages_per_second / row.pages_per_second,
                word_accuracy: ours.word_accuracy_percent - row.word_accuracy_percent,
            });
        }
        self.rows.push(row);
    }

    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    pub fn markdown(&self) -> String {
        let mut text = format!(
            "OCRmyPDF {}, {} jobs, languages {}.\n\n| pages | | pages/s | words right | peak MiB of a child |\n|---|---|--:|--:|--:|\n",
            self.peer.as_deref().unwrap_or("not measured"),
            self.jobs,
            self.languages
        );
        for row in &self.rows {
            let peak = row.figure.peak_bytes.map_or_else(String::new, |bytes| (bytes / (1024 * 1024)).to_string());
            let (kind, accuracy) = (row.kind.name(), row.word_accuracy_percent);
            writeln!(text, "| {kind} | {} | {:.2} | {accuracy:.2} % | {peak} |", row.name, row.pages_per_second).ok();
        }
        text.push_str("\n| ours against ocrmypdf | pages/s | words right, points |\n|---|--:|--:|\n");
        for ratio in &self.ratios {
            let kind = ratio.kind.name();
            writeln!(text, "| {kind} | {:.2} | {:+.2} |", ratio.pages_per_second, ratio.word_accuracy).ok();
        }
        text
    }
}
