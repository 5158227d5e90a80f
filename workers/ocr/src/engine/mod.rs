//! The children in a pool: as many documents at once as configured, each child warm before it is needed, and for one tenant
//! only.

mod idle;
mod lease;
mod process;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use docfleet_jail::{Lock, Missing, Report};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::{idle::Idle, process::Process};
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
    /// By the jail, for what no reader of documents does: the document may have taken it over.
    #[error("the jail ended the child ({0})")]
    Denied(String),
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
            Self::Denied(_) => "denied",
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
pub struct Engine(Arc<Pool>);

struct Pool {
    program: PathBuf,
    config: OcrConfig,
    /// Documents that may be read at once.
    permits: Arc<Semaphore>,
    idle: Mutex<Idle<Process>>,
    /// Whether one more child starts, for another tenant.
    is_adding: AtomicBool,
}

/// A child for one document. Dropped in the middle, it ends the child: nobody knows what the child is doing then. Either
/// way a successor is started before the next document needs it.
pub struct Lease {
    pool: Arc<Pool>,
    tenant: String,
    /// None after it was too slow and is ended, or was given back.
    process: Option<Process>,
    /// None: the configuration's.
    languages: Option<String>,
    /// None when it was given back.
    permit: Option<OwnedSemaphorePermit>,
}

impl Engine {
    /// Starts all children, so that a wrong installation shows at once, and a machine that can not jail them.
    /// `program` is the worker's own binary, by an absolute path.
    ///
    /// # Errors
    /// [`Error::Start`]: the binary, Tesseract, its languages or poppler's tools are not there, or a lock of the jail.
    pub async fn start(program: PathBuf, config: OcrConfig) -> Result<Self, Error> {
        let size = config.pool_size();
        let warm = (0..size).map(|_| Process::start(&program, &config));
        let idle = futures::future::try_join_all(warm).await?;
        if let Some(first) = idle.first() {
            show(&first.jail);
        }
        let (permits, idle) = (Arc::new(Semaphore::new(size)), Mutex::new(Idle::fresh(idle)));
        Ok(Self(Arc::new(Pool { program, config, permits, idle, is_adding: AtomicBool::new(false) })))
    }

    /// Waits until one more document may be read, in a child that never had one of another tenant.
    ///
    /// # Errors
    /// [`Error::Start`] when one had to be replaced and could not.
    pub async fn lease(&self, tenant: &str) -> Result<Lease, Error> {
        let pool = Arc::clone(&self.0);
        let permit = Arc::clone(&pool.permits).acquire_owned().await.map_err(|_| Error::Stopping)?;
        let process = match pool.idle_child(tenant) {
            Some(process) => process,
            None => pool.start_child().await?,
        };
        pool.add_a_fresh_one(tenant);
        Ok(Lease { pool, tenant: tenant.to_owned(), process: Some(process), languages: None, permit: Some(permit) })
    }
}

impl Pool {
    async fn start_child(&self) -> Result<Process, Error> {
        Process::start(&self.program, &self.config).await
    }

    fn idle(&self) -> MutexGuard<'_, Idle<Process>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_child(&self, tenant: &str) -> Option<Process> {
        loop {
            let mut process = self.idle().take(tenant)?;
            if process.is_alive() {
                return Some(process);
            }
            // Something ended it while it waited; that says nothing about the next document.
            metrics::counter!(metric::CHILDREN_ENDED_TOTAL, "why" => "idle").increment(1);
        }
    }

    /// Where tenants take turns, so that the next one does not wait for a start.
    fn add_a_fresh_one(self: &Arc<Self>, tenant: &str) {
        if !self.idle().lacks_a_fresh_one(tenant) || self.is_adding.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            match pool.start_child().await {
                Ok(process) => pool.keep(process, None),
                Err(error) => tracing::warn!(%error, "a child for another tenant does not start"),
            }
            pool.is_adding.store(false, Ordering::Release);
        });
    }

    fn keep(&self, process: Process, tenant: Option<String>) {
        // Ended without the lock.
        let one_too_many = self.idle().keep(process, tenant);
        if one_too_many.is_some() {
            metrics::counter!(metric::CHILDREN_ENDED_TOTAL, "why" => "retired").increment(1);
        }
    }
}

impl Lease {
    /// After a document that was read.
    fn give_back(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        process.documents += 1;
        if process.documents >= self.pool.config.documents_per_child {
            metrics::counter!(metric::CHILDREN_ENDED_TOTAL, "why" => "retired").increment(1);
            return;
        }
        self.pool.keep(process, Some(std::mem::take(&mut self.tenant)));
        self.permit = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let ended = self.process.take();
        let Some(permit) = self.permit.take() else { return };
        drop(ended);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let pool = Arc::clone(&self.pool);
        runtime.spawn(async move {
            match pool.start_child().await {
                Ok(process) => pool.keep(process, None),
                // Who leases next tries it again, and has the error.
                Err(error) => tracing::warn!(%error, "the successor of a child does not start"),
            }
            drop(permit);
        });
    }
}

fn show(jail: &Report) {
    for lock in Lock::ALL {
        let open = if jail.holds(lock) { 0.0 } else { 1.0 };
        metrics::gauge!(metric::JAIL_OPEN_LOCKS, "lock" => lock.as_str()).set(open);
    }
    for Missing { lock, why } in &jail.missing {
        tracing::warn!(%lock, why, required = lock.is_required(), "a lock of the jail is open");
    }
    tracing::info!(held = jail.held.len(), missing = jail.missing.len(), "documents are read in a jail");
}
