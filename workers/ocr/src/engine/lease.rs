use std::time::Duration;

use bytes::Bytes;
use docfleet_events::TextSource;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Error, Lease};
use crate::{
    Kind, Unreadable, language,
    layout::{PageLayout, clean},
    metric,
    protocol::{Reply, Request},
    reading::{Page, Reading},
};

enum Opened {
    Pages(u32),
    Unreadable(Unreadable),
}

/// What came of a document, beside its reading what was made of that, and a searchable PDF.
type Drawn<T> = (Reading, T, Option<Bytes>);

impl Lease {
    /// The document is to be read with these, instead of the configuration's.
    #[must_use]
    pub fn in_languages(mut self, languages: &str) -> Self {
        self.languages = Some(languages.to_owned());
        self
    }

    /// Reads a document, page by page. Between two pages it heeds `stop`.
    ///
    /// A page over its time is a gap, and a fresh child reads on. When the document's own time is over, all pages that are
    /// left are gaps.
    ///
    /// # Errors
    /// The engine failed. What is wrong with the document is a [`Reading`].
    pub async fn read(self, kind: Kind, document: Bytes, stop: &CancellationToken) -> Result<Reading, Error> {
        Ok(self.read_and_draw(kind, document, |_| (), false, stop).await?.0)
    }

    /// As [`read`](Self::read), then `finish` changes the reading, on a thread where it may take its time, and of what is left
    /// a searchable PDF is made, if it is wanted. None when none can be made, and of a document without OCR: it has its text already.
    ///
    /// # Errors
    /// The engine failed.
    pub async fn read_and_draw<T: Send + 'static>(
        mut self,
        kind: Kind,
        document: Bytes,
        finish: impl FnOnce(&mut Reading) -> T + Send + 'static,
        is_wanted: bool,
        stop: &CancellationToken,
    ) -> Result<Drawn<T>, Error> {
        let deadline = Instant::now() + self.pool.config.document_time_max;
        let outcome = self.read_then_draw(kind, &document, finish, is_wanted, deadline, stop).await;
        match outcome {
            Ok(reading) => {
                self.give_back();
                Ok(reading)
            }
            Err(error) => {
                metrics::counter!(metric::CHILDREN_ENDED_TOTAL, "why" => error.why()).increment(1);
                Err(error)
            }
        }
    }

    async fn read_then_draw<T: Send + 'static>(
        &mut self,
        kind: Kind,
        document: &[u8],
        finish: impl FnOnce(&mut Reading) -> T + Send + 'static,
        is_wanted: bool,
        deadline: Instant,
        stop: &CancellationToken,
    ) -> Result<Drawn<T>, Error> {
        let mut reading = self.all_pages(kind, document, deadline, stop).await?;
        let finishing = tokio::task::spawn_blocking(move || {
            let made = finish(&mut reading);
            (reading, made)
        });
        let (reading, made) = match finishing.await {
            Ok(finished) => finished,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return Err(Error::Stopping),
            },
        };
        let pdf = if is_wanted { self.searchable(&reading, deadline).await? } else { None };
        Ok((reading, made, pdf))
    }

    async fn all_pages(
        &mut self,
        kind: Kind,
        document: &[u8],
        deadline: Instant,
        stop: &CancellationToken,
    ) -> Result<Reading, Error> {
        let Some(process) = &self.process else { return Ok(Reading::unreadable(Unreadable::TooSlow)) };
        let mut reading = Reading::of(&process.tesseract, &process.poppler, kind);
        let count = match self.open(kind, document, deadline).await? {
            Opened::Pages(count) => count,
            Opened::Unreadable(reason) => return Ok(Reading::unreadable(reason)),
        };
        for number in 1..=count {
            if stop.is_cancelled() {
                return Err(Error::Stopping);
            }
            if self.process.is_none() && !self.reopen(kind, document, count, deadline).await? {
                tracing::info!(page = number, pages = count, "the document's time is over");
                (number..=count).for_each(|number| reading.add(number, Err(Unreadable::TooSlow)));
                break;
            }
            reading.add(number, self.page(number, deadline).await?);
            if reading.text_bytes() > self.pool.config.text_bytes_max {
                return Ok(Reading::unreadable(Unreadable::TooLarge));
            }
        }
        Ok(reading)
    }

    async fn open(&mut self, kind: Kind, document: &[u8], deadline: Instant) -> Result<Opened, Error> {
        let within = self.pool.config.open_time_max;
        match self.ask(&Request::Open { kind, languages: self.languages.clone() }, document, within, deadline).await? {
            None => Ok(Opened::Unreadable(Unreadable::TooSlow)),
            Some((Reply::Opened { pages }, _)) if (1..=self.pool.config.pages_max).contains(&pages) => {
                Ok(Opened::Pages(pages))
            }
            Some((Reply::Unreadable { reason }, _)) => Ok(Opened::Unreadable(reason)),
            Some(_) => Err(Error::Protocol("no answer to the opening".to_owned())),
        }
    }

    /// In a fresh child; false when there is no time for it.
    async fn reopen(&mut self, kind: Kind, document: &[u8], count: u32, deadline: Instant) -> Result<bool, Error> {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        let Ok(started) = timeout_at(deadline, self.pool.start_child()).await else {
            return Ok(false);
        };
        self.process = Some(started?);
        match self.open(kind, document, deadline).await? {
            Opened::Pages(pages) if pages == count => Ok(true),
            Opened::Unreadable(Unreadable::TooSlow) => Ok(false),
            _ => Err(Error::Protocol("the second opening differs from the first".to_owned())),
        }
    }

    /// Only where something was read by OCR; else the original has its text.
    async fn searchable(&mut self, reading: &Reading, deadline: Instant) -> Result<Option<Bytes>, Error> {
        if reading.reason().is_some() || !reading.used_ocr() {
            return Ok(None);
        }
        let layouts: Vec<&PageLayout> = reading.layouts().collect();
        let json = serde_json::to_vec(&layouts).map_err(|_| Error::Protocol("layouts that are no JSON".to_owned()))?;
        if json.len() > self.pool.config.document_bytes_max {
            return Ok(None);
        }
        let within = self.pool.config.document_time_max;
        match self.ask(&Request::Searchable, &json, within, deadline).await? {
            Some((Reply::Searchable, pdf)) => Ok(Some(pdf.into())),
            Some((Reply::Unreadable { reason }, _)) => {
                tracing::info!(%reason, "no searchable PDF can be made");
                Ok(None)
            }
            Some(_) => Err(Error::Protocol("no answer to a searchable PDF".to_owned())),
            None => Ok(None),
        }
    }

    async fn page(&mut self, number: u32, deadline: Instant) -> Result<Result<Page, Unreadable>, Error> {
        let (started, within) = (Instant::now(), self.pool.config.page_time_max);
        let reason = match self.ask(&Request::Page { number }, b"", within, deadline).await? {
            Some((Reply::Page { source, confidence, words, text_bytes }, body)) => {
                let (text, layout) = body
                    .split_at_checked(text_bytes as usize)
                    .ok_or_else(|| Error::Protocol("a text longer than its frame".to_owned()))?;
                let mut layout = PageLayout::claimed(layout, number).map_err(Error::Protocol)?;
                record(label(source), started.elapsed());
                let confidence = confidence.map(|mean| if mean.is_finite() { mean.clamp(0.0, 100.0) } else { 0.0 });
                let text = clean(&String::from_utf8_lossy(text));
                if let (Some(layout), Some(found)) = (&mut layout, language::of(&text)) {
                    layout.language = Some(found.to_owned());
                }
                // No word is shorter than a letter and a space.
                let words = words.min(u32::try_from(text.len()).unwrap_or(u32::MAX));
                return Ok(Ok(Page { source, confidence, words, text, layout }));
            }
            Some((Reply::Unreadable { reason }, _)) => reason,
            Some(_) => return Err(Error::Protocol("no answer to a page".to_owned())),
            None => Unreadable::TooSlow,
        };
        tracing::info!(page = number, %reason, "a page is unreadable");
        record("unreadable", started.elapsed());
        Ok(Err(reason))
    }

    /// None when no answer comes within this time and before the deadline; the child is ended then.
    async fn ask(
        &mut self,
        request: &Request,
        body: &[u8],
        within: Duration,
        deadline: Instant,
    ) -> Result<Option<(Reply, Vec<u8>)>, Error> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let within = within.min(deadline.saturating_duration_since(Instant::now()));
        let answer = process.ask(request, body, within).await?;
        if answer.is_none() {
            self.process = None;
            metrics::counter!(metric::CHILDREN_ENDED_TOTAL, "why" => "too-slow").increment(1);
        }
        Ok(answer)
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
