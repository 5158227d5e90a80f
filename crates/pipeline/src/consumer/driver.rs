//! The loop. It owns all state of the consumption by value; the select's order is part of its correctness:
//!
//! 1. *the end of the process* first, or a busy topic could hold it off;
//! 2. *results* before new records, so that the budget is freed before it is charged;
//! 3. *the tick*, or a busy topic could hold off commits and handovers;
//! 4. *the broker's events* before its records: a rebalance is served whatever the load;
//! 5. *records* last, and none while the budget is used up. They wait in a bounded channel; the poll thread never stops.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    budget::Budget,
    in_flight::{Done, InFlight, Lane, Ticket},
    lanes::Lanes,
    partition::{Handover, Partition},
    progress::Progress,
    waiting::Waiting,
};
use crate::{
    ConsumerConfig, Handler, Record,
    broker::{BrokerCommand, BrokerEvent, Connection, Delivery, Offsets},
    clock,
    message::TopicPartition,
    metric,
    process::Processor,
};

const TICK: Duration = Duration::from_millis(50);
/// An idle partition's last commit may have been lost without a word, and would show a lag for ever.
const RENEW_COMMITS: Duration = Duration::from_secs(15);
/// The driver answers a handover so much before the poll thread stops waiting for it.
const HANDOVER_MARGIN: Duration = Duration::from_millis(500);

pub(crate) struct Driver<H: Handler> {
    processor: Arc<Processor<H>>,
    connection: Connection,
    config: ConsumerConfig,
    shutdown: CancellationToken,
    progress: Progress,
    owned: HashMap<TopicPartition, Partition>,
    lanes: Lanes<Lane, (Ticket, Record)>,
    budget: Budget,
    waiting: Waiting,
    /// How the names of this consumer's retry topics begin: nobody else writes there.
    own_topics: String,
    handovers: Vec<Handover>,
    committed_at: Instant,
    /// When all frontiers were last named, moved or not.
    renewed_at: Instant,
    /// Set when the process is to end: until when what is out may settle.
    draining_until: Option<Instant>,
    done: (mpsc::UnboundedSender<Done>, mpsc::UnboundedReceiver<Done>),
}

impl<H: Handler> Driver<H> {
    pub fn new(
        processor: Arc<Processor<H>>,
        connection: Connection,
        config: ConsumerConfig,
        shutdown: CancellationToken,
        progress: Progress,
        topic_prefix: &str,
    ) -> Self {
        Self {
            own_topics: format!("{topic_prefix}{}.retry.", processor.consumer),
            budget: Budget::new(config.in_flight_messages_max, config.in_flight_bytes_max),
            processor,
            connection,
            config,
            shutdown,
            progress,
            owned: HashMap::new(),
            lanes: Lanes::default(),
            waiting: Waiting::default(),
            handovers: Vec::new(),
            committed_at: Instant::now(),
            renewed_at: Instant::now(),
            draining_until: None,
            done: mpsc::unbounded_channel(),
        }
    }

    /// Runs until the shutdown token is cancelled and what is out has settled.
    ///
    /// # Errors
    /// Why the process must end with a failure. Nothing is committed then; all open messages will be delivered again.
    pub async fn run(mut self) -> Result<(), String> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled(), if self.draining_until.is_none() => self.begin_drain(),
                Some(done) = self.done.1.recv() => self.on_done(done)?,
                _ = tick.tick() => self.on_tick(),
                event = self.connection.events.recv() => match event {
                    Some(event) => self.on_event(event)?,
                    None => return Err("the poll thread ended".to_owned()),
                },
                Some(delivery) = self.connection.records.recv(), if self.takes_records() => self.on_record(delivery),
            }
            if self.draining_until.is_some_and(|until| self.running() == 0 || Instant::now() >= until) {
                return self.close().await;
            }
            self.apply_pauses();
        }
    }

    fn on_event(&mut self, event: BrokerEvent) -> Result<(), String> {
        match event {
            BrokerEvent::Assigned { partitions, generation } => {
                for source in &partitions {
                    self.owned.insert(source.clone(), Partition::new(generation));
                }
                // A pause survives a revocation, in librdkafka and in the poll thread; a new partition begins without one.
                self.connection.commands.send(BrokerCommand::Resume(partitions));
            }
            BrokerEvent::Revoked { partitions, settled } => {
                let deadline = Instant::now() + self.config.revoke_drain.saturating_sub(HANDOVER_MARGIN);
                self.withdraw(&partitions);
                for source in &partitions {
                    if let Some(partition) = self.owned.get_mut(source) {
                        partition.leaving = true;
                    }
                }
                self.handovers.push(Handover::new(partitions, settled, deadline, &self.owned));
                self.finish_handovers();
            }
            BrokerEvent::Lost(partitions) => {
                self.withdraw(&partitions);
                for source in &partitions {
                    self.owned.remove(source);
                }
            }
            BrokerEvent::CommitFailed(partitions) => {
                for source in &partitions {
                    if let Some(partition) = self.owned.get_mut(source) {
                        partition.ledger.commit_again();
                    }
                }
            }
            BrokerEvent::Fatal(why) => return Err(why),
        }
        Ok(())
    }

    /// Records wait in their channel while the budget is used up, and so, in the end, at the broker.
    fn takes_records(&self) -> bool {
        !self.budget.is_closed() && self.draining_until.is_none()
    }

    fn on_record(&mut self, delivery: Delivery) {
        let mut record = delivery.record;
        // What waited in the channel while its partition was revoked, perhaps to come back later, will be delivered again.
        let is_current = |p: &Partition| !p.leaving && delivery.generation >= p.epoch;
        if !self.owned.get(&record.source).is_some_and(is_current) {
            return;
        }
        if !record.source.topic.starts_with(&self.own_topics) {
            record.distrust();
        }
        if let Some(record) = self.waiting.admit(record, clock::now_ms()) {
            self.admit(record);
        }
    }

    fn admit(&mut self, record: Record) {
        let Some(partition) = self.owned.get_mut(&record.source) else { return };
        if self.draining_until.is_some() || !partition.ledger.charge(record.offset, record.timestamp_ms) {
            return;
        }
        let ticket = Ticket {
            source: record.source.clone(),
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            epoch: partition.epoch,
            bytes: record.size_bytes(),
            lane: lane_of(&record),
        };
        self.budget.charge(ticket.bytes);
        if let Some((ticket, record)) = self.lanes.push(ticket.lane.clone(), (ticket, record)) {
            self.start(ticket, record);
        }
    }

    fn start(&mut self, ticket: Ticket, record: Record) {
        if let Some(partition) = self.owned.get_mut(&ticket.source).filter(|p| p.epoch == ticket.epoch) {
            partition.running += 1;
        }
        let in_flight = InFlight::new(ticket, self.done.0.clone());
        tokio::spawn(Arc::clone(&self.processor).process(in_flight, record));
    }

    fn on_done(&mut self, done: Done) -> Result<(), String> {
        let (ticket, settled) = match done {
            Done::Settled(ticket) => (ticket, true),
            Done::Abandoned(ticket) => (ticket, false),
            Done::Fatal(why) => return Err(why),
        };
        self.budget.release(ticket.bytes);
        if let Some(partition) = self.owned.get_mut(&ticket.source).filter(|p| p.epoch == ticket.epoch) {
            partition.running -= 1;
            if settled {
                partition.ledger.settle(ticket.offset);
                partition.last_settled_ms = Some(ticket.timestamp_ms);
            }
        }
        if let Some((next, record)) = self.lanes.finish(&ticket.lane) {
            self.start(next, record);
        }
        self.finish_handovers();
        Ok(())
    }

    fn on_tick(&mut self) {
        for record in self.waiting.due(clock::now_ms()) {
            self.admit(record);
        }
        self.finish_handovers();
        if self.committed_at.elapsed() >= self.config.commit_interval {
            self.committed_at = Instant::now();
            if self.renewed_at.elapsed() >= RENEW_COMMITS {
                self.renewed_at = Instant::now();
                self.owned.values_mut().for_each(|partition| partition.ledger.commit_again());
            }
            let offsets = self.take_frontiers();
            if !offsets.is_empty() {
                self.connection.commands.send(BrokerCommand::Commit(offsets));
            }
            self.publish();
        }
    }

    /// Nothing queued of these partitions will start any more; it will be delivered again to their next owner.
    fn withdraw(&mut self, partitions: &[TopicPartition]) {
        for source in partitions {
            self.waiting.forget(source);
        }
        for (ticket, _) in self.lanes.drain_queued(|(ticket, _)| partitions.contains(&ticket.source)) {
            self.budget.release(ticket.bytes);
        }
    }

    fn finish_handovers(&mut self) {
        let now = Instant::now();
        let (over, open) = std::mem::take(&mut self.handovers).into_iter().partition(|h| h.is_over(&self.owned, now));
        self.handovers = open;
        for handover in over {
            handover.finish(&mut self.owned);
        }
    }

    fn begin_drain(&mut self) {
        tracing::info!(running = self.running(), "draining");
        self.draining_until = Some(Instant::now() + self.config.shutdown_drain);
        let all: Vec<_> = self.owned.keys().cloned().collect();
        self.withdraw(&all);
    }

    async fn close(mut self) -> Result<(), String> {
        if self.running() > 0 {
            tracing::warn!(
                running = self.running(),
                "the drain ran out of time; open messages will be delivered again"
            );
        }
        let offsets = self.take_frontiers();
        self.publish();
        let Connection { events, records, commands, closed } = self.connection;
        commands.send(BrokerCommand::Close(offsets));
        // The poll thread must find nobody for a handover, the one that is open or one that begins now: it would wait for
        // an answer.
        drop((events, records, self.handovers));
        // The process exits in any case; waiting longer for a broker that is away would gain nothing.
        if tokio::time::timeout(Duration::from_secs(5), closed).await.is_err() {
            tracing::warn!("the Kafka client did not close in time");
        }
        Ok(())
    }

    fn take_frontiers(&mut self) -> Offsets {
        let frontier = |(source, partition): (&TopicPartition, &mut Partition)| {
            partition.ledger.take_frontier().map(|offset| (source.clone(), offset))
        };
        self.owned.iter_mut().filter_map(frontier).collect()
    }

    fn apply_pauses(&mut self) {
        let all = self.draining_until.is_some();
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for (source, partition) in &mut self.owned {
            let wanted = all || self.waiting.holds(source);
            if wanted != partition.paused {
                partition.paused = wanted;
                if wanted { pause.push(source.clone()) } else { resume.push(source.clone()) }
            }
        }
        if !pause.is_empty() {
            self.connection.commands.send(BrokerCommand::Pause(pause));
        }
        if !resume.is_empty() {
            self.connection.commands.send(BrokerCommand::Resume(resume));
        }
    }

    fn running(&self) -> usize {
        self.lanes.busy()
    }

    fn publish(&self) {
        let consumer = self.processor.consumer;
        self.progress.replace(
            self.owned
                .iter()
                .map(|(source, p)| (source.clone(), p.progress(self.waiting.holds(source), self.budget.is_closed())))
                .collect(),
        );
        metrics::gauge!(metric::IN_FLIGHT_MESSAGES, "consumer" => consumer).set(metric::count(self.budget.messages()));
        metrics::gauge!(metric::IN_FLIGHT_BYTES, "consumer" => consumer).set(metric::count(self.budget.bytes()));
        metrics::gauge!(metric::ASSIGNED_PARTITIONS, "consumer" => consumer).set(metric::count(self.owned.len()));
    }
}

fn lane_of(record: &Record) -> Lane {
    let mut hasher = DefaultHasher::new();
    if let Some(key) = &record.key {
        key.hash(&mut hasher);
        return Lane::Key(hasher.finish());
    }
    (&record.source, record.offset).hash(&mut hasher);
    Lane::Alone(hasher.finish())
}

#[cfg(test)]
mod tests;
