//! The poll thread's loop: commands in, events and records out, for ever.

use std::{
    collections::{HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, KafkaResult},
    message::{BorrowedMessage, Headers},
    types::RDKafkaErrorCode,
};
use tokio::sync::mpsc;

use super::{
    BrokerCommand, BrokerEvent, Delivery, Outlet,
    continuity::Continuity,
    group::{Context, partitions_of},
};
use crate::message::{Record, TopicPartition};

/// Commands wait at most this long while nothing is delivered.
const POLL: Duration = Duration::from_millis(20);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the thread waits for room before it pauses all partitions. Pausing throws away what the client has fetched
/// ahead, which costs more than a short wait; a long one would keep it from polling.
const PATIENCE: Duration = Duration::from_millis(250);

pub(super) struct PollLoop<'c> {
    base: &'c BaseConsumer<Context>,
    outlet: Outlet,
    orders: mpsc::UnboundedReceiver<BrokerCommand>,
    /// Paused by the driver; the end of an overload does not resume them.
    paused: HashSet<TopicPartition>,
    /// Given out by the client and without room. While it is not empty all partitions are paused.
    stash: VecDeque<Delivery>,
    /// Of the record before: records come in runs of one topic, and share its name.
    topic: Arc<str>,
    continuity: Continuity,
}

/// Why the loop goes on or ends.
enum Next {
    Go,
    End,
}

impl<'c> PollLoop<'c> {
    pub fn new(
        base: &'c BaseConsumer<Context>,
        outlet: Outlet,
        orders: mpsc::UnboundedReceiver<BrokerCommand>,
        continuity: Continuity,
    ) -> Self {
        Self { base, outlet, orders, paused: HashSet::new(), stash: VecDeque::new(), topic: "".into(), continuity }
    }

    pub fn run(mut self) {
        while let (Next::Go, Next::Go) = (self.obey_orders(), self.poll_once()) {}
    }

    fn obey_orders(&mut self) -> Next {
        loop {
            match self.orders.try_recv() {
                Ok(BrokerCommand::Close { offsets, generation }) => {
                    let offsets = self.base.context().still_owned(offsets, generation);
                    self.base.context().commit(self.base, &offsets, CommitMode::Sync);
                    self.base.unsubscribe();
                    return Next::End;
                }
                Ok(command) => self.obey(command),
                Err(mpsc::error::TryRecvError::Empty) => return Next::Go,
                // The driver is gone without a word: nothing may be committed any more.
                Err(mpsc::error::TryRecvError::Disconnected) => return Next::End,
            }
        }
    }

    fn obey(&mut self, command: BrokerCommand) {
        match command {
            BrokerCommand::Pause(partitions) => {
                self.warn("pause", self.base.pause(&list_of(&partitions)));
                self.paused.extend(partitions);
            }
            BrokerCommand::Resume(partitions) => {
                self.paused.retain(|source| !partitions.contains(source));
                if self.stash.is_empty() {
                    self.warn("resume", self.base.resume(&list_of(&partitions)));
                }
            }
            BrokerCommand::Commit { offsets, generation } => {
                let offsets = self.base.context().still_owned(offsets, generation);
                self.base.context().commit(self.base, &offsets, CommitMode::Async);
            }
            BrokerCommand::Close { .. } => {}
        }
    }

    fn poll_once(&mut self) -> Next {
        if let Next::End = self.empty_stash() {
            return Next::End;
        }
        let context = self.base.context();
        match self.base.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                if &*self.topic != message.topic() {
                    self.topic = message.topic().into();
                }
                let record = record_of(&message, Arc::clone(&self.topic));
                if let Err(why) = self.continuity.check(self.base, &record.source, record.offset) {
                    context.tell(BrokerEvent::Fatal(why));
                    return Next::End;
                }
                let delivery = Delivery::new(record, context.generation());
                return self.hand_over(delivery);
            }
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                context.tell(BrokerEvent::Fatal(format!("the Kafka client failed for good: {code}")));
                return Next::End;
            }
            Some(Err(error)) => {
                if let Some((code, detail)) = self.base.client().fatal_error() {
                    context.tell(BrokerEvent::Fatal(format!("the Kafka client failed for good: {code}: {detail}")));
                    return Next::End;
                }
                if is_of_an_unknown_topic(&error)
                    && let Some(topic) = self.topic_that_is_gone()
                {
                    context.tell(BrokerEvent::Fatal(format!(
                        "the topic {topic} is gone while it was read: make it by `docfleet setup`, then bring back what was \
                         on it by `docfleet relay republish`"
                    )));
                    return Next::End;
                }
                // Brokers that are away and the like: the client recovers by itself, the watchdog watches.
                tracing::warn!(consumer = context.consumer, %error, "Kafka");
            }
        }
        Next::Go
    }

    /// Of those we own partitions of. Their offsets must not be committed any more: on a new topic of that name they would
    /// hide as many records.
    fn topic_that_is_gone(&self) -> Option<Arc<str>> {
        let is_gone = |topic: &Arc<str>| {
            let metadata = self.base.fetch_metadata(Some(topic), ANSWER_TIMEOUT);
            metadata.is_ok_and(|metadata| metadata.topics().iter().all(|found| found.partitions().is_empty()))
        };
        self.base.context().owned_topics().into_iter().find(is_gone)
    }

    fn hand_over(&mut self, mut delivery: Delivery) -> Next {
        if !self.stash.is_empty() {
            // Of a partition that was assigned after the others were paused.
            self.stash.push_back(delivery);
            self.pause_all();
            return Next::Go;
        }
        let began = Instant::now();
        loop {
            delivery = match self.outlet.offer(delivery) {
                Ok(None) => return Next::Go,
                Ok(Some(delivery)) => delivery,
                Err(()) => return Next::End,
            };
            if began.elapsed() >= PATIENCE {
                self.stash.push_back(delivery);
                self.pause_all();
                return Next::Go;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    fn empty_stash(&mut self) -> Next {
        if self.stash.is_empty() {
            return Next::Go;
        }
        while let Some(delivery) = self.stash.pop_front() {
            match self.outlet.offer(delivery) {
                Ok(None) => {}
                Ok(Some(delivery)) => {
                    self.stash.push_front(delivery);
                    return Next::Go;
                }
                Err(()) => return Next::End,
            }
        }
        self.resume_all();
        Next::Go
    }

    fn pause_all(&self) {
        self.warn("pause", self.base.assignment().and_then(|all| self.base.pause(&all)));
    }

    fn resume_all(&self) {
        let resumed = self.base.assignment().and_then(|all| {
            let theirs = partitions_of(&all).into_iter().filter(|source| !self.paused.contains(source));
            self.base.resume(&list_of(&theirs.collect::<Vec<_>>()))
        });
        self.warn("resume", resumed);
    }

    fn warn(&self, what: &str, result: KafkaResult<()>) {
        if let Err(error) = result {
            tracing::warn!(consumer = self.base.context().consumer, %error, "{what}");
        }
    }
}

fn is_of_an_unknown_topic(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    code.is_some_and(|code| {
        [
            RDKafkaErrorCode::UnknownTopicOrPartition,
            RDKafkaErrorCode::UnknownTopic,
            RDKafkaErrorCode::UnknownPartition,
            RDKafkaErrorCode::UnknownTopicId,
        ]
        .contains(&code)
    })
}

fn list_of(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for source in partitions {
        list.add_partition(&source.topic, source.partition);
    }
    list
}

fn record_of(message: &BorrowedMessage<'_>, topic: Arc<str>) -> Record {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // rdkafka panics on a header name that is not UTF-8 (`BorrowedHeaders::try_get`); a panic here would end this process
    // and, at the same record, its successors.
    let read = catch_unwind(AssertUnwindSafe(|| {
        message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| (header.key.to_owned(), header.value.map_or_else(String::new, text))).collect()
        })
    }));
    let headers_unreadable = read.is_err();
    Record {
        source: TopicPartition { topic, partition: message.partition() },
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers: read.unwrap_or_default(),
        headers_unreadable,
    }
}
