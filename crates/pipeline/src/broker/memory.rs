//! A broker in memory for tests of the loop: one topic's partitions, one member, and the test in the place of the group.

use tokio::sync::{mpsc, oneshot};

use super::{BrokerCommand, BrokerEvent, CommandSender, Connection, Delivery, Offsets, Outlet};
use crate::message::{Record, TopicPartition};

/// The test's end of the seam.
pub struct MemoryBroker {
    events: mpsc::UnboundedSender<BrokerEvent>,
    outlet: Outlet,
    generation: u64,
    pub commands: mpsc::UnboundedReceiver<BrokerCommand>,
    closed: Option<oneshot::Sender<()>>,
}

impl MemoryBroker {
    pub fn connect() -> (Self, Connection) {
        let (events, receiver) = mpsc::unbounded_channel();
        let (outlet, records) = Outlet::new();
        let (sender, commands) = CommandSender::new();
        let (ended, closed) = oneshot::channel();
        (
            Self { events, outlet, generation: 0, commands, closed: Some(ended) },
            Connection { events: receiver, records, commands: sender, closed },
        )
    }

    pub fn send(&self, event: BrokerEvent) {
        self.events.send(event).ok();
    }

    pub fn assign(&mut self, partitions: Vec<TopicPartition>) {
        self.generation += 1;
        self.send(BrokerEvent::Assigned { partitions, generation: self.generation });
    }

    /// Returns whether there was room for it.
    pub fn deliver(&self, record: Record) -> bool {
        matches!(self.outlet.offer(Delivery::new(record, self.generation)), Ok(None))
    }

    /// Revokes as a rebalance does; returns what the driver wants committed, or none when it gave no answer.
    pub async fn revoke(&self, partitions: Vec<TopicPartition>) -> Option<Offsets> {
        let (settled, answer) = oneshot::channel();
        self.send(BrokerEvent::Revoked { partitions, settled });
        answer.await.ok()
    }

    /// The next commit, passing over pauses and resumes. After a `Close` the broker ends.
    pub async fn next_commit(&mut self) -> Option<Offsets> {
        loop {
            match self.commands.recv().await? {
                BrokerCommand::Commit { offsets, .. } => return Some(offsets),
                BrokerCommand::Close { offsets, .. } => {
                    if let Some(closed) = self.closed.take() {
                        closed.send(()).ok();
                    }
                    return Some(offsets);
                }
                BrokerCommand::Pause(_) | BrokerCommand::Resume(_) => {}
            }
        }
    }
}
