//! The seam to Kafka: records and assignments come in as [`BrokerEvent`]s, [`BrokerCommand`]s go out.
//!
//! Two implementations: [`kafka`] for production and, one rung down, [`memory`] for fast tests of the loop.

pub mod client;
pub mod kafka;
pub mod memory;

use tokio::sync::{mpsc, oneshot};

use crate::message::{Record, TopicPartition};

/// Offsets to commit: each one past the last settled.
pub type Offsets = Vec<(TopicPartition, i64)>;

#[derive(Debug)]
pub enum BrokerEvent {
    Record(Record),
    Assigned(Vec<TopicPartition>),
    /// The partitions are to be handed over: answer with the offsets to commit, soon. Without an answer in time the
    /// broker's side goes on and nothing is committed.
    Revoked {
        partitions: Vec<TopicPartition>,
        settled: oneshot::Sender<Offsets>,
    },
    /// The partitions belong to someone else already; a commit would be refused.
    Lost(Vec<TopicPartition>),
    /// A commit of these was refused or lost; the next one must name them again, also if nothing moves any more.
    CommitFailed(Vec<TopicPartition>),
    /// The client can not go on; the process must end.
    Fatal(String),
}

#[derive(Debug)]
pub enum BrokerCommand {
    Pause(Vec<TopicPartition>),
    Resume(Vec<TopicPartition>),
    Commit(Offsets),
    /// Commit, wait for the answer, leave the group, end.
    Close(Offsets),
}

/// Both ends of the seam as the driver holds them. Commands to a broker that has ended are dropped.
pub struct Connection {
    pub events: mpsc::Receiver<BrokerEvent>,
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

/// Records that may wait between the poll thread and the driver. Pausing takes effect behind these.
pub(crate) const EVENTS_CAPACITY: usize = 512;
