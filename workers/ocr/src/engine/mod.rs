//! The children in a pool: as many documents at once as there are children, each child warm before it is needed.

mod lease;
mod process;

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use tokio::sync::{Semaphore, SemaphorePermit};

use self::process::Process;
use crate::{OcrConfig, metric, protocol::FrameError};

/// First argument of the re-executed binary; the second is the `[ocr]` section in JSON.
pub const CHILD_ARGUMENT: &str = "--child";

/// The engine failed, not the document. A child that failed is ended; another takes its place. Slowness is no failure:
/// it is a fact about the document, [`Unreadable::TooSlow`](crate::Unreadable::TooSlow).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a child can not be started: {0}")]
    Start(String),
    #[error("the child ended while it read ({0})")]
    Crashed(String),
    #[error("the child breaks the protocol: {0}")]
    Protocol(String),
    #[error("the process is to end")]
    Stopping,
}

impl Error {
    fn why(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Crashed(_) => "crashed",
            Self::Protocol(_) => "protocol",
            Self::Stopping => "stopping",
        }
    }
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Stream(broken) => Self::Crashed(broken.kind().to_string()),
            // Without the head's own words: they may come from a document.
            FrameError::Head(_) => Self::Protocol("a head that is not understood".to_owned()),
            too_large @ FrameError::TooLarge { .. } => Self::Protocol(too_large.to_string()),
        }
    }
}

/// Reads documents in children.
pub struct Engine {
    program: PathBuf,
    config: OcrConfig,
    permits: Semaphore,
    idle: Mutex<Vec<Process>>,
}

/// A child for one document. Dropped in the middle, it ends the child: nobody knows what the child is doing then.
pub struct Lease<'a> {
    engine: &'a Engine,
    /// None after it was too slow and is ended.
    process: Option<Process>,
    /// None: the configuration's.
    languages: Option<String>,
    _permit: SemaphorePermit<'a>,
}

impl Engine {
    /// Starts all children, so that a wrong installation shows at once. `program` is the worker's own binary, by
    /// an absolute path.
    ///
    /// # Errors
    /// [`Error::Start`]: the binary, Tesseract, its languages or poppler's tools are not there.
    pub async fn start(program: PathBuf, config: OcrConfig) -> Result<Self, Error> {
        let size = config.pool_size();
        let warm = (0..size).map(|_| Process::start(&program, &config));
        let idle = futures::future::try_join_all(warm).await?;
        Ok(Self { program, config, permits: Semaphore::new(size), idle: Mutex::new(idle) })
    }

    /// Waits for a free child.
    ///
    /// # Errors
    /// [`Error::Start`] when one had to be replaced and could not.
    pub async fn lease(&self) -> Result<Lease<'_>, Error> {
        let permit = self.permits.acquire().await.map_err(|_| Error::Stopping)?;
        let process = match self.idle_child() {
            Some(process) => process,
            None => Process::start(&self.program, &self.config).await?,
        };
        Ok(Lease { engine: self, process: Some(process), languages: None, _permit: permit })
    }

    fn idle_child(&self) -> Option<Process> {
        loop {
            let mut process = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if process.is_alive() {
                return Some(process);
            }
            // Something ended it while it waited; that says nothing about the next document.
            metrics::counter!(metric::CHILDREN_ENDED_TOTAL, "why" => "idle").increment(1);
        }
    }

    fn give_back(&self, process: Process) {
        if process.documents >= self.config.documents_per_child {
            metrics::counter!(metric::CHILDREN_ENDED_TOTAL, "why" => "retired").increment(1);
            return;
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(process);
    }
}
