use std::collections::HashMap;

use comfy_table::{Cell, CellAlignment};
use serde::Serialize;
use uuid::Uuid;

use super::{Entry, step};
use crate::{
    api::{Api, Document, Subscription, Webhooks},
    output::{self, Exit, Report},
};

const NAME_CHARS_MAX: usize = 40;
const WORDS_CHARS_MAX: usize = 44;

pub enum Outcome {
    Accepted(Box<Document>),
    /// By the API, with its reason.
    Refused(String),
}

#[derive(Serialize)]
pub struct Submitted {
    documents: Vec<Row>,
    finished: usize,
    total: usize,
}

#[derive(Serialize)]
struct Row {
    document: String,
    id: Option<Uuid>,
    url: Option<String>,
    /// Processed, and every webhook delivered.
    finished: bool,
    /// Why it is not.
    problem: Option<String>,
    verdict: Option<String>,
    mime: Option<String>,
    /// Name of the original when it is in this run, else the end of its id.
    duplicate_of: Option<String>,
    duplicate_of_id: Option<Uuid>,
    pages: Option<i64>,
    language: Option<String>,
    /// Of a machine-readable zone.
    mrz: Option<String>,
    confidence: Option<f64>,
    first_words: Option<String>,
    webhooks: Option<Webhooks>,
    webhooks_due: u64,
    /// From upload to the last stage, by the service's clock; so far, by ours, when it is not finished.
    seconds: f64,
}

impl Submitted {
    pub(super) fn of(api: &Api, entries: &[Entry], subscriptions: &[Subscription]) -> Self {
        let names: HashMap<Uuid, &str> = entries
            .iter()
            .filter_map(|entry| match &entry.outcome {
                Outcome::Accepted(document) => Some((document.id, entry.name.as_str())),
                Outcome::Refused(_) => None,
            })
            .collect();
        let documents: Vec<Row> = entries
            .iter()
            .map(|entry| match &entry.outcome {
                Outcome::Accepted(document) => accepted(api, entry, document, subscriptions, &names),
                Outcome::Refused(why) => refused(entry, why),
            })
            .collect();
        let finished = documents.iter().filter(|row| row.finished).count();
        Self { finished, total: documents.len(), documents }
    }
}

fn refused(entry: &Entry, why: &str) -> Row {
    Row {
        document: entry.name.clone(),
        id: None,
        url: None,
        finished: false,
        problem: Some(why.to_owned()),
        verdict: None,
        mime: None,
        duplicate_of: None,
        duplicate_of_id: None,
        pages: None,
        language: None,
        mrz: None,
        confidence: None,
        first_words: None,
        webhooks: None,
        webhooks_due: 0,
        seconds: entry.sent_at.elapsed().as_secs_f64(),
    }
}

fn accepted(
    api: &Api,
    entry: &Entry,
    document: &Document,
    subscriptions: &[Subscription],
    names: &HashMap<Uuid, &str>,
) -> Row {
    let problem = match step::step_of(document, subscriptions) {
        Some(step) => Some(format!("not finished in time: {step}")),
        None if document.webhooks.failed > 0 => {
            Some(format!("{} webhooks could not be delivered", document.webhooks.failed))
        }
        None => None,
    };
    let duplicate_of_id = document.content.as_ref().and_then(|content| content.duplicate_of);
    let seconds = document.finished_at.map(|at| (at - document.uploaded_at).as_seconds_f64().max(0.0));
    let text = document.text.as_ref();
    Row {
        document: entry.name.clone(),
        id: Some(document.id),
        url: Some(api.url_of(document.id)),
        finished: problem.is_none(),
        problem,
        verdict: document
            .scan
            .as_ref()
            .map(|scan| with_reason(&scan.verdict, scan.signature.as_ref().or(scan.reason.as_ref()))),
        mime: document.content.as_ref().and_then(|content| content.mime.clone()),
        duplicate_of: duplicate_of_id
            .map(|id| names.get(&id).map_or_else(|| output::short(id), |name| (*name).to_owned())),
        duplicate_of_id,
        pages: text.and_then(|text| text.page_count),
        language: text.and_then(|text| text.language.clone()),
        mrz: text.and_then(|text| text.mrz.clone()),
        confidence: text.and_then(|text| text.confidence),
        first_words: first_words(document),
        webhooks: Some(document.webhooks),
        webhooks_due: step::deliveries_due(document, subscriptions),
        seconds: seconds.unwrap_or_else(|| entry.sent_at.elapsed().as_secs_f64()),
    }
}

/// The text's beginning; where there is none by decision, that decision in brackets.
fn first_words(document: &Document) -> Option<String> {
    let bracketed = |outcome: &str, reason: Option<&String>| Some(format!("({})", with_reason(outcome, reason)));
    if let Some(content) = document.content.as_ref().filter(|content| content.outcome == "refused") {
        return bracketed(&content.outcome, content.reason.as_ref());
    }
    let text = document.text.as_ref()?;
    if text.outcome == "unreadable" {
        return bracketed(&text.outcome, text.reason.as_ref());
    }
    text.excerpt.clone()
}

fn with_reason(outcome: &str, reason: Option<&String>) -> String {
    reason.map_or_else(|| outcome.to_owned(), |reason| format!("{outcome}: {reason}"))
}

impl Row {
    fn webhook_status(&self) -> String {
        let Some(webhooks) = self.webhooks else { return "-".to_owned() };
        let due = self.webhooks_due.max(webhooks.delivered + webhooks.failed + webhooks.pending);
        match (due, webhooks.failed) {
            (0, _) => "none".to_owned(),
            (due, 0) => format!("{}/{due} delivered", webhooks.delivered),
            (due, failed) => format!("{}/{due} delivered, {failed} failed", webhooks.delivered),
        }
    }
}

impl Report for Submitted {
    fn text(&self) -> String {
        let mut table = output::table([
            "document",
            "verdict",
            "MIME",
            "duplicate of",
            "pages",
            "language",
            "MRZ",
            "confidence",
            "first words",
            "webhooks",
            "seconds",
        ]);
        let or_dash =
            |text: &Option<String>, max| text.as_ref().map_or_else(|| "-".to_owned(), |text| output::plain(text, max));
        for row in &self.documents {
            let words = row.first_words.as_ref().map(|words| words.split_whitespace().collect::<Vec<_>>().join(" "));
            table.add_row([
                Cell::new(output::plain(&row.document, NAME_CHARS_MAX)),
                Cell::new(or_dash(&row.verdict, NAME_CHARS_MAX)),
                Cell::new(or_dash(&row.mime, NAME_CHARS_MAX)),
                Cell::new(or_dash(&row.duplicate_of, NAME_CHARS_MAX)),
                right(row.pages.map(|pages| pages.to_string())),
                Cell::new(or_dash(&row.language, NAME_CHARS_MAX)),
                Cell::new(or_dash(&row.mrz, NAME_CHARS_MAX)),
                right(row.confidence.map(|confidence| format!("{confidence:.0} %"))),
                Cell::new(or_dash(&words, WORDS_CHARS_MAX)),
                Cell::new(row.webhook_status()),
                right(Some(format!("{:.1}", row.seconds))),
            ]);
        }
        let mut text = format!("{table}\n{} of {} finished", self.finished, self.total);
        for row in self.documents.iter().filter(|row| row.problem.is_some()) {
            let problem = row.problem.as_deref().unwrap_or_default();
            text.push_str(&format!(
                "\n  {}: {}",
                output::plain(&row.document, NAME_CHARS_MAX),
                output::plain(problem, 200)
            ));
        }
        text
    }

    fn exit(&self) -> Exit {
        if self.finished == self.total { Exit::Ok } else { Exit::Problem }
    }
}

fn right(text: Option<String>) -> Cell {
    Cell::new(text.as_deref().unwrap_or("-")).set_alignment(CellAlignment::Right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(delivered: u64, failed: u64, pending: u64, due: u64) -> Row {
        let entry =
            Entry { name: "x".into(), sent_at: std::time::Instant::now(), outcome: Outcome::Refused(String::new()) };
        Row {
            webhooks: Some(Webhooks { pending, delivered, failed }),
            webhooks_due: due,
            ..refused(&entry, "413: too large")
        }
    }

    #[test]
    fn webhooks_are_told_as_a_fraction_of_what_is_due() {
        assert_eq!(row(0, 0, 0, 0).webhook_status(), "none");
        assert_eq!(row(3, 0, 1, 4).webhook_status(), "3/4 delivered");
        assert_eq!(row(3, 1, 0, 4).webhook_status(), "3/4 delivered, 1 failed");
        assert_eq!(row(4, 0, 0, 0).webhook_status(), "4/4 delivered", "more than we knew of");
    }

    #[test]
    fn a_refused_file_is_a_problem_and_its_name_can_not_move_the_cursor() {
        let mut row = row(0, 0, 0, 0);
        row.document = "a\u{1b}[2J.pdf".into();
        let submitted = Submitted { documents: vec![row], finished: 0, total: 1 };
        assert_eq!(submitted.exit(), Exit::Problem);
        let text = submitted.text();
        assert!(text.contains("413: too large") && !text.contains('\u{1b}'), "{text}");
    }
}
