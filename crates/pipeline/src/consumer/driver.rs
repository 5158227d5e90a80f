//! The shell around [`Core`]: channels in, channels out. The select's order is part of its correctness:
//!
//! 1. *the end of the process* first, or a busy topic could hold it off;
//! 2. *results* before new records, so that the budget is freed before it is charged;
//! 3. *the tick*, or a busy topic could hold off commits and handovers, and beside it *operators' commands*;
//! 4. *the broker's events* before its records: a rebalance is served whatever the load;
//! 5. *records* last, and none while the budget is used up. They wait in a bounded channel; the poll thread never stops.
//!
//! Results and records are taken many at a time, so that a busy process wakes up seldom.

use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use super::{
    core::{Core, Effect, Input, Now},
    in_flight::{Done, InFlight},
    progress::{PartitionProgress, Progress},
};
use crate::{
    ConsumerConfig, Handler,
    broker::{BrokerCommand, BrokerEvent, Connection, Delivery, Offsets},
    clock,
    gate::{self, GateReport, Heads},
    message::TopicPartition,
    metric,
    process::Processor,
};

const TICK: Duration = Duration::from_millis(50);
/// Taken at one wake-up; more would hold off the tick and the broker's events.
const BATCH: usize = 256;
/// The process exits in any case; waiting longer for a broker that is away would gain nothing.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Renewed at each report: what the gate holds back is no stall.
const HELD_EXCUSE: Duration = Duration::from_secs(30);

pub(crate) struct Driver<H: Handler> {
    processor: Arc<Processor<H>>,
    connection: Connection,
    shutdown: CancellationToken,
    progress: Progress,
    core: Core,
    effects: Vec<Effect>,
    /// Taken from the channel; the budget closed before the last of them.
    taken: VecDeque<Delivery>,
    /// Who waits for the answer to a revocation.
    handovers: HashMap<u64, oneshot::Sender<Offsets>>,
    handovers_seen: u64,
    gate: gate::Handle,
    heads: Heads,
    done: (mpsc::UnboundedSender<Done>, mpsc::UnboundedReceiver<Done>),
}

/// How the loop ended.
enum End {
    /// In order: these are the last offsets.
    Closed {
        offsets: Offsets,
        generation: u64,
    },
    Failed(String),
}

impl<H: Handler> Driver<H> {
    pub fn new(
        processor: Arc<Processor<H>>,
        connection: Connection,
        config: &ConsumerConfig,
        shutdown: CancellationToken,
        progress: Progress,
        topic_prefix: &str,
    ) -> Self {
        let own_topics = format!("{topic_prefix}{}.retry.", processor.consumer);
        let gate = processor.gate.clone();
        Self {
            core: Core::new(config, own_topics, gate.signals.clone(), processor.retry.clone()),
            processor,
            connection,
            shutdown,
            progress,
            effects: Vec::new(),
            taken: VecDeque::new(),
            handovers: HashMap::new(),
            handovers_seen: 0,
            gate,
            heads: Heads::default(),
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
        let (mut results, mut records) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        loop {
            let takes_records = self.taken.is_empty() && self.core.takes_records();
            let input = tokio::select! {
                biased;
                () = self.shutdown.cancelled(), if !self.core.is_draining() => {
                    tracing::info!(running = self.core.running(), "draining");
                    Some(Input::BeginDrain)
                }
                _ = self.done.1.recv_many(&mut results, BATCH) => None,
                _ = tick.tick() => Some(Input::Tick),
                // It ends with the one who reads them, as the process ends.
                Ok(()) = self.gate.commands.changed() => {
                    Some(Input::Commands(self.gate.commands.borrow_and_update().clone()))
                }
                event = self.connection.events.recv() => Some(self.input_of(event)),
                // None when the poll thread has ended; then the events end too.
                1.. = self.connection.records.recv_many(&mut records, BATCH), if takes_records => None,
            };
            let now = self.now();
            for input in input.into_iter().chain(results.drain(..).map(Input::Done)) {
                self.core.on(now, input, &mut self.effects);
            }
            // An assignment is in its channel before its records are in theirs, but this loop may have looked there first: a
            // record that overtook it would be taken for one of no partition, and the next one's frontier would pass it.
            if !records.is_empty() {
                while let Ok(event) = self.connection.events.try_recv() {
                    let input = self.input_of(Some(event));
                    self.core.on(now, input, &mut self.effects);
                }
            }
            self.taken.extend(records.drain(..));
            while self.core.takes_records()
                && let Some(Delivery { record, generation, .. }) = self.taken.pop_front()
            {
                self.core.on(now, Input::Record { record, generation }, &mut self.effects);
            }
            self.core.flush(now, &mut self.effects);
            match self.perform() {
                None => {}
                Some(End::Failed(why)) => return Err(why),
                Some(End::Closed { offsets, generation }) => return self.close(offsets, generation).await,
            }
        }
    }

    fn now(&self) -> Now {
        Now { elapsed: self.gate.now(), wall_ms: clock::now_ms() }
    }

    fn input_of(&mut self, event: Option<BrokerEvent>) -> Input {
        match event {
            Some(BrokerEvent::Assigned { partitions, generation }) => Input::Assigned { partitions, generation },
            Some(BrokerEvent::Revoked { partitions, settled }) => {
                self.handovers_seen += 1;
                self.handovers.insert(self.handovers_seen, settled);
                Input::Revoked { partitions, handover: self.handovers_seen }
            }
            Some(BrokerEvent::Lost(partitions)) => Input::Lost(partitions),
            Some(BrokerEvent::CommitFailed(partitions)) => Input::CommitFailed(partitions),
            Some(BrokerEvent::Fatal(why)) => Input::Fatal(why),
            None => Input::Fatal("the poll thread ended".to_owned()),
        }
    }

    fn perform(&mut self) -> Option<End> {
        let mut effects = std::mem::take(&mut self.effects);
        let mut end = None;
        for effect in effects.drain(..) {
            match effect {
                Effect::Start(ticket, record) => {
                    let in_flight = InFlight::new(ticket, self.done.0.clone());
                    start(Arc::clone(&self.processor).process(in_flight, record));
                }
                Effect::Pause(partitions) => self.connection.commands.send(BrokerCommand::Pause(partitions)),
                Effect::Resume(partitions) => self.connection.commands.send(BrokerCommand::Resume(partitions)),
                Effect::Commit { offsets, generation } => {
                    self.connection.commands.send(BrokerCommand::Commit { offsets, generation });
                }
                Effect::HandOver { handover, settled } => {
                    // No one listens when the rebalance ran out of time; then nothing is committed, and all is
                    // delivered again.
                    self.handovers.remove(&handover).map(|waiting| waiting.send(settled).ok());
                }
                Effect::Report => self.publish(),
                Effect::Close { offsets, generation } => end = Some(End::Closed { offsets, generation }),
                Effect::Fail(why) => end = Some(End::Failed(why)),
            }
        }
        self.effects = effects;
        end
    }

    async fn close(mut self, offsets: Offsets, generation: u64) -> Result<(), String> {
        if self.core.running() > 0 {
            tracing::warn!(
                running = self.core.running(),
                "the drain ran out of time; open messages will be delivered again"
            );
        }
        self.publish();
        let Connection { events, records, commands, closed } = self.connection;
        commands.send(BrokerCommand::Close { offsets, generation });
        // The poll thread must find nobody for a handover, the one that is open or one that begins now: it would wait for
        // an answer.
        drop((events, records, self.handovers));
        if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::warn!("the Kafka client did not close in time");
        }
        Ok(())
    }

    fn publish(&mut self) {
        let consumer = self.processor.consumer;
        let partitions: HashMap<_, _> =
            self.core.progress().map(|(source, progress)| (source.clone(), progress)).collect();
        let budget = self.core.budget();
        metrics::gauge!(metric::IN_FLIGHT_MESSAGES, "consumer" => consumer).set(metric::count(budget.messages()));
        metrics::gauge!(metric::IN_FLIGHT_BYTES, "consumer" => consumer).set(metric::count(budget.bytes()));
        metrics::gauge!(metric::ASSIGNED_PARTITIONS, "consumer" => consumer).set(metric::count(partitions.len()));
        self.report_gate(&partitions);
        self.progress.replace(partitions);
    }

    fn report_gate(&mut self, partitions: &HashMap<TopicPartition, PartitionProgress>) {
        if self.core.holds_back() {
            self.progress.excuse_until(std::time::Instant::now() + HELD_EXCUSE);
        }
        let (now, core, notes) = (self.gate.now(), &self.core, &self.gate.notes);
        let note =
            |source: &TopicPartition, offset| notes.read(source, offset).or_else(|| core.reason_of(source, offset));
        let oldest = partitions.iter().map(|(source, progress)| (source, progress.oldest_open));
        let heads = self.heads.look(now, oldest, note);
        let report = GateReport::of(now, core.admission(), heads, core.top_keys());
        report.publish(self.processor.consumer);
        self.progress.report_gate(report);
    }
}

/// Cheap work ends at its first poll, and a task of its own would cost more than the work. What has to wait gets one: whatever
/// wakes it, it is polled once more then.
fn start(processing: impl Future<Output = ()> + Send + 'static) {
    let mut processing = Box::pin(processing);
    let first = AssertUnwindSafe(|| processing.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    // A panic drops the message, which says so to the driver; it must not take the driver along.
    if matches!(catch_unwind(first), Ok(Poll::Pending)) {
        tokio::spawn(processing);
    }
}

#[cfg(test)]
mod tests;
