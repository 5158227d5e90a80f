use std::time::Duration;

use bytes::Bytes;
use docfleet_events::TextSource;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Error, Lease};
use crate::{
    Kind, Unreadable, metric,
    protocol::{Reply, Request},
    reading::{Page, Reading, clean},
};

enum Opened {
    Pages(u32),
    Unreadable(Unreadable),
}

impl Lease<'_> {
    /// Reads a document, page by page. Between two pages it heeds `stop`.
    ///
    /// # Errors
    /// The engine failed. What is wrong with the document is a [`Reading`].
    pub async fn read(mut self, kind: Kind, document: Bytes, stop: &CancellationToken) -> Result<Reading, Error> {
        let read =
            timeout_at(Instant::now() + self.engine.config.document_time_max, self.all_pages(kind, &document, stop));
        match read.await.unwrap_or(Err(Error::TooSlow("the document"))) {
            Ok(reading) => {
                self.process.documents += 1;
                let Lease { engine, process, .. } = self;
                engine.give_back(process);
                Ok(reading)
            }
            Err(error) => {
                metrics::counter!(metric::CHILDREN_ENDED_TOTAL, "why" => error.why()).increment(1);
                Err(error)
            }
        }
    }

    async fn all_pages(&mut self, kind: Kind, document: &[u8], stop: &CancellationToken) -> Result<Reading, Error> {
        let count = match self.open(kind, document).await? {
            Opened::Pages(count) => count,
            Opened::Unreadable(reason) => return Ok(Reading::unreadable(reason)),
        };
        let mut reading = Reading::of(&self.process.tesseract, &self.process.poppler, kind);
        for number in 1..=count {
            if stop.is_cancelled() {
                return Err(Error::Stopping);
            }
            reading.add(number, self.page(number).await?);
            if reading.text_bytes() > self.engine.config.text_bytes_max {
                return Ok(Reading::unreadable(Unreadable::TooLarge));
            }
        }
        Ok(reading)
    }

    async fn open(&mut self, kind: Kind, document: &[u8]) -> Result<Opened, Error> {
        let within = self.engine.config.open_time_max;
        match self.process.ask(&Request::Open { kind }, document, within, "opening").await? {
            (Reply::Opened { pages }, _) if (1..=self.engine.config.pages_max).contains(&pages) => {
                Ok(Opened::Pages(pages))
            }
            (Reply::Unreadable { reason }, _) => Ok(Opened::Unreadable(reason)),
            _ => Err(Error::Protocol("no answer to the opening".to_owned())),
        }
    }

    async fn page(&mut self, number: u32) -> Result<Result<Page, Unreadable>, Error> {
        let (started, within) = (Instant::now(), self.engine.config.page_time_max);
        let answer = self.process.ask(&Request::Page { number }, b"", within, "a page").await?;
        match answer {
            (Reply::Page { source, confidence, words }, text) => {
                record(label(source), started.elapsed());
                let confidence = confidence.map(|mean| if mean.is_finite() { mean.clamp(0.0, 100.0) } else { 0.0 });
                let text = clean(&String::from_utf8_lossy(&text));
                // No word is shorter than a letter and a space.
                let words = words.min(u32::try_from(text.len()).unwrap_or(u32::MAX));
                Ok(Ok(Page { source, confidence, words, text }))
            }
            (Reply::Unreadable { reason }, _) => {
                tracing::info!(page = number, %reason, "a page is unreadable");
                record("unreadable", started.elapsed());
                Ok(Err(reason))
            }
            _ => Err(Error::Protocol("no answer to a page".to_owned())),
        }
    }
}

fn label(source: TextSource) -> &'static str {
    match source {
        TextSource::TextLayer => "text_layer",
        TextSource::Ocr => "ocr",
    }
}

fn record(source: &'static str, took: Duration) {
    metrics::histogram!(metric::PAGE_SECONDS, "source" => source).record(took);
}
