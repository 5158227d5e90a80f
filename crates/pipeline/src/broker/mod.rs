//! The seam to Kafka: records and assignments come in as [`BrokerEvent`]s, [`BrokerCommand`]s go out.
//!
//! Two implementations: [`kafka`] for production and, one rung down, [`memory`] for fast tests of the loop.

pub mod client;
mod continuity;
mod group;
pub mod kafka;
pub mod memory;
mod poll;

use std::sync::Arc;

pub(crate) use continuity::lost_records;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::message::{Record, TopicPartition};

/// Offsets to commit: each one past the last settled.
pub type Offsets = Vec<(TopicPartition, i64)>;

/// What is not a record. On a channel of its own: it is served also while records wait for room.
#[derive(Debug)]
pub enum BrokerEvent {
    /// Records of these that were handed over under an older generation belong to an assignment that is over.
    Assigned { partitions: Vec<TopicPartition>, generation: u64 },
    /// The partitions are to be handed over: answer with the offsets to commit, soon. Without an answer in time the
    /// broker's side goes on and nothing is committed.
    Revoked { partitions: Vec<TopicPartition>, settled: oneshot::Sender<Offsets> },
    /// The partitions belong to someone else already; a commit would be refused.
    Lost(Vec<TopicPartition>),
    /// A commit of these was refused or lost; the next one must name them again, also if nothing moves any more.
    CommitFailed(Vec<TopicPartition>),
    /// The client can not go on; the process must end.
    Fatal(String),
}

/// A record on its way to the driver.
#[derive(Debug)]
pub struct Delivery {
    pub record: Record,
    /// How many assignments the client had seen when it gave the record out.
    pub generation: u64,
    /// Its bytes' share of what may wait between the poll thread and the driver.
    room: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
pub enum BrokerCommand {
    Pause(Vec<TopicPartition>),
    Resume(Vec<TopicPartition>),
    /// `generation` is that of the last assignment the driver has seen. Whatever has changed hands since is left out: the
    /// command may have waited behind a rebalance that committed more.
    Commit {
        offsets: Offsets,
        generation: u64,
    },
    /// Commit, wait for the answer, leave the group, end.
    Close {
        offsets: Offsets,
        generation: u64,
    },
}

/// Both ends of the seam as the driver holds them. Commands to a broker that has ended are dropped.
pub struct Connection {
    pub events: mpsc::UnboundedReceiver<BrokerEvent>,
    /// Not taken from while the budget is used up: that is the back-pressure.
    pub records: mpsc::Receiver<Delivery>,
    pub commands: CommandSender,
    /// Resolves when the broker's side has ended.
    pub closed: oneshot::Receiver<()>,
}

#[derive(Clone)]
pub struct CommandSender(mpsc::UnboundedSender<BrokerCommand>);

impl CommandSender {
    pub fn new() -> (Self, mpsc::UnboundedReceiver<BrokerCommand>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    pub fn send(&self, command: BrokerCommand) {
        // The broker's side ends only after a fatal event, which ends the driver as well.
        if self.0.send(command).is_err() {
            tracing::debug!("the broker's side has ended");
        }
    }
}

/// Where records wait between the poll thread and the driver, bounded in number and in bytes.
pub(crate) struct Outlet {
    records: mpsc::Sender<Delivery>,
    room: Arc<Semaphore>,
}

const RECORDS_MAX: usize = 1_024;
const BYTES_MAX: u32 = 8 * 1024 * 1024;

impl Outlet {
    pub fn new() -> (Self, mpsc::Receiver<Delivery>) {
        let (records, receiver) = mpsc::channel(RECORDS_MAX);
        (Self { records, room: Arc::new(Semaphore::new(BYTES_MAX as usize)) }, receiver)
    }

    /// Gives the delivery back while there is no room.
    ///
    /// # Errors
    /// When the driver has ended: the record will be delivered again, to somebody else.
    pub fn offer(&self, mut delivery: Delivery) -> Result<Option<Delivery>, ()> {
        if delivery.room.is_none() {
            // The largest record has room when nothing else waits.
            let bytes = u32::try_from(delivery.record.size_bytes()).unwrap_or(BYTES_MAX).clamp(1, BYTES_MAX);
            delivery.room = Arc::clone(&self.room).try_acquire_many_owned(bytes).ok();
            if delivery.room.is_none() {
                return Ok(Some(delivery));
            }
        }
        match self.records.try_send(delivery) {
            Ok(()) => Ok(None),
            Err(mpsc::error::TrySendError::Full(delivery)) => Ok(Some(delivery)),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(()),
        }
    }
}

impl Delivery {
    pub fn new(record: Record, generation: u64) -> Self {
        Self { record, generation, room: None }
    }
}
