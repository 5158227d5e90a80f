//! The child: the only place where foreign bytes are parsed. It answers questions on standard input until that ends.
//!
//! It owns nothing worth stealing: no environment, no configuration but `[ocr]`, no connection, no directory; what it may
//! still do stands in `confine.rs`. It says nothing on standard error, since what it could say there is about the document,
//! and can write nothing to a disk, where a kill would leave it.

mod confine;
mod document;
mod drawing;
#[cfg(test)]
mod fuzz;
mod office;
mod pdf;
mod picture;
mod plain;
mod recognizer;
mod text_layer;
mod tiff;
mod tool;
mod tsv;
mod xml;

use std::io::{self, Write};

use docfleet_events::TextSource;
use docfleet_jail::Report;

pub use self::confine::{PROGRAM_DIRECTORIES, jail};
use self::{document::Document, recognizer::Recognizer};
use crate::{
    OcrConfig, Strictness, Unreadable,
    layout::{LAYOUT_BYTES_MAX, PageLayout},
    protocol::{FrameError, Reply, Request, frame_start, read_frame},
};

/// Ends the child; the worker sees a crash.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the command line is not the worker's")]
    Arguments(#[source] serde_json::Error),
    #[error("limits: {0}")]
    Limits(#[from] nix::Error),
    #[error(
        "the jail for documents lacks: {gaps}. Give the machine what is missing, or set [ocr] jail = \"best-effort\" to read \
         documents without it"
    )]
    Jail { gaps: String },
    #[error("tesseract: {0}")]
    Tesseract(String),
    #[error("{name} was ended by a signal or a limit")]
    ToolCrashed { name: &'static str },
    #[error("{name} tried what no reader of documents does")]
    ToolDenied { name: &'static str },
    #[error("a file in memory: {0}")]
    Memory(#[source] io::Error),
    #[error("{name}: {source}")]
    Tool { name: &'static str, source: io::Error },
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a page of no document was asked for")]
    NothingOpen,
    #[error("the layouts are not the worker's")]
    Layouts(#[source] serde_json::Error),
}

/// The status of a child whose tool was ended by the jail: what a shell would say of one ended by SIGSYS.
pub const DENIED_STATUS: u8 = 128 + 31;

/// Why a question about a document has no answer.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Fact(#[from] Unreadable),
    /// Not the document's fault, as far as one can know: it is to be tried again.
    #[error(transparent)]
    Crash(#[from] Error),
}

/// Text of one page.
#[derive(Debug, Clone, PartialEq)]
struct PageText {
    source: TextSource,
    confidence: Option<f64>,
    words: u32,
    text: String,
    layout: Option<PageLayout>,
}

impl PageText {
    /// Head and body of the answer; one that is too long is a fact about the document.
    fn reply(self, config: &OcrConfig) -> Result<(Reply, Vec<u8>), Refusal> {
        let Self { source, confidence, words, text, layout } = self;
        let text_bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
        if text.len() > config.text_bytes_max {
            return Err(Unreadable::TooLarge.into());
        }
        let mut body = text.into_bytes();
        // A page with too many words for it has its text only.
        if let Some(json) =
            layout.and_then(|layout| serde_json::to_vec(&layout).ok()).filter(|json| json.len() <= LAYOUT_BYTES_MAX)
        {
            body.extend(json);
        }
        Ok((Reply::Page { source, confidence, words, text_bytes }, body))
    }
}

/// Enters the jail, starts the engine and answers until standard input ends.
///
/// # Errors
/// Whatever keeps it from answering; the process is to exit non-zero.
pub fn serve(config: &str) -> Result<(), Error> {
    let config: OcrConfig = serde_json::from_str(config).map_err(Error::Arguments)?;
    let jail = confine::confine(&config)?;
    let (mut questions, mut answers) = (io::stdin().lock(), io::stdout().lock());
    let mut recognizer = match prepare(&config, jail) {
        Ok((recognizer, ready)) => {
            send(&mut answers, &ready, b"")?;
            recognizer
        }
        Err(error) => {
            send(&mut answers, &Reply::Broken { why: error.to_string() }, b"")?;
            return Err(error);
        }
    };
    let mut open = None;
    while let Some((request, body)) = read_frame::<Request>(&mut questions, config.document_bytes_max)? {
        confine::grant_cpu(&config)?;
        let answer = match request {
            Request::Open { kind, languages } => {
                open = None;
                recognizer.speak(languages.as_deref().unwrap_or(&config.languages))?;
                Document::open(kind, body, &config).map(|document| {
                    let reply = Reply::Opened { pages: document.pages() };
                    open = Some(document);
                    (reply, Vec::new())
                })
            }
            Request::Searchable => {
                let document = open.as_ref().ok_or(Error::NothingOpen)?;
                let layouts: Vec<PageLayout> = serde_json::from_slice(&body).map_err(Error::Layouts)?;
                drawing::searchable(document, &layouts, &config).map(|pdf| (Reply::Searchable, pdf))
            }
            Request::Page { number } => {
                let document = open.as_ref().ok_or(Error::NothingOpen)?;
                document.read(number, &config, &mut recognizer).and_then(|page| page.reply(&config))
            }
        };
        match answer {
            Ok((reply, body)) => send(&mut answers, &reply, &body)?,
            Err(Refusal::Fact(reason)) => send(&mut answers, &Reply::Unreadable { reason }, b"")?,
            Err(Refusal::Crash(error)) => return Err(error),
        }
    }
    Ok(())
}

fn prepare(config: &OcrConfig, jail: Report) -> Result<(Recognizer, Reply), Error> {
    if config.jail == Strictness::Required && !jail.is_closed() {
        return Err(Error::Jail { gaps: jail.gaps() });
    }
    let recognizer = Recognizer::start(config)?;
    // So that a language that is not installed shows now and not with a document.
    config.tenant_languages.values().try_for_each(|languages| recognizer.check(languages))?;
    let ready = Reply::Ready { tesseract: Recognizer::version(), poppler: pdf::version()?, jail };
    Ok((recognizer, ready))
}

fn send(stream: &mut impl Write, reply: &Reply, body: &[u8]) -> Result<(), FrameError> {
    stream.write_all(&frame_start(reply, body.len())?)?;
    stream.write_all(body)?;
    Ok(stream.flush()?)
}
