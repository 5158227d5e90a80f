//! One thread per consumer polls for ever: rebalances, errors and heartbeats are served whatever the rest of the process
//! does. A thread and not a task, as a lost wake-up of a shared runtime has stalled consumers for days
//! (rust-rdkafka#638, #840).

use std::time::Duration;

use rdkafka::{
    ClientContext, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::KafkaError,
    message::{BorrowedMessage, Headers},
    types::RDKafkaErrorCode,
};
use tokio::sync::{mpsc, oneshot};

use super::{BrokerCommand, BrokerEvent, CommandSender, Connection, EVENTS_CAPACITY, Offsets};
use crate::{
    KafkaConfig,
    broker::client,
    message::{Record, TopicPartition},
    metric,
};

/// Commands wait at most this long while nothing is delivered.
const POLL: Duration = Duration::from_millis(20);

struct Context {
    consumer: &'static str,
    events: mpsc::Sender<BrokerEvent>,
    /// How long a revocation waits for the driver to settle what is in flight.
    drain: Duration,
}

impl ClientContext for Context {}

impl ConsumerContext for Context {
    // Called by the poll thread, inside poll. Blocking here is what holds the group back until our offsets are committed.
    fn pre_rebalance(&self, base: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else { return };
        let partitions = partitions_of(list);
        if base.assignment_lost() {
            self.count_rebalance("lost", &partitions);
            self.tell(BrokerEvent::Lost(partitions));
            return;
        }
        self.count_rebalance("revoked", &partitions);
        if partitions.is_empty() {
            return;
        }
        let (settled, answer) = oneshot::channel();
        self.tell(BrokerEvent::Revoked { partitions, settled });
        match wait_for(answer, self.drain) {
            Answer::Given(offsets) => self.commit(base, &offsets, CommitMode::Sync),
            Answer::Late => {
                tracing::warn!(
                    consumer = self.consumer,
                    "the drain ran out of time; open messages will be delivered again"
                );
            }
            // The driver has ended, and has committed what it had to.
            Answer::Refused => {}
        }
    }

    fn post_rebalance(&self, base: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                // A pause survives a revocation in librdkafka, and the driver begins with what is not paused.
                if let Err(error) = base.resume(list) {
                    tracing::warn!(consumer = self.consumer, %error, "resume of what is newly assigned");
                }
                let partitions = partitions_of(list);
                self.count_rebalance("assigned", &partitions);
                self.tell(BrokerEvent::Assigned(partitions));
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::error!(consumer = self.consumer, %error, "rebalance"),
        }
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, list: &TopicPartitionList) {
        let result = match result {
            Ok(()) => "ok",
            // Nothing to commit is a success.
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => "ok",
            Err(error) => {
                // A repeated delivery would cost only time, but an idle partition would show a lag for ever.
                tracing::warn!(consumer = self.consumer, %error, "offset commit failed");
                self.tell(BrokerEvent::CommitFailed(partitions_of(list)));
                "failed"
            }
        };
        metrics::counter!(metric::COMMITS_TOTAL, "consumer" => self.consumer, "result" => result).increment(1);
    }
}

impl Context {
    fn tell(&self, event: BrokerEvent) {
        if self.events.blocking_send(event).is_err() {
            tracing::debug!(consumer = self.consumer, "the driver has ended");
        }
    }

    fn count_rebalance(&self, kind: &'static str, partitions: &[TopicPartition]) {
        tracing::info!(consumer = self.consumer, kind, count = partitions.len(), "rebalance");
        metrics::counter!(metric::REBALANCES_TOTAL, "consumer" => self.consumer, "kind" => kind).increment(1);
    }

    fn commit(&self, base: &BaseConsumer<Self>, offsets: &Offsets, mode: CommitMode) {
        if offsets.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for (source, offset) in offsets {
            if let Err(error) = list.add_partition_offset(&source.topic, source.partition, Offset::Offset(*offset)) {
                tracing::error!(consumer = self.consumer, %error, "offset {offset} of {source}");
            }
        }
        if let Err(error) = base.commit(&list, mode) {
            tracing::warn!(consumer = self.consumer, %error, "offset commit");
            self.tell(BrokerEvent::CommitFailed(partitions_of(&list)));
        }
    }
}

/// Joins the group and starts the poll thread.
///
/// # Errors
/// When the configuration is refused. An unreachable broker is no error here: the client keeps trying.
pub fn connect(
    config: &KafkaConfig,
    consumer: &'static str,
    topics: &[String],
    drain: Duration,
) -> Result<Connection, String> {
    let group = format!("{}{consumer}", config.topic_prefix);
    let (events, receiver) = mpsc::channel(EVENTS_CAPACITY);
    let context = Context { consumer, events, drain };
    let base: BaseConsumer<Context> =
        client::consumer(config, &group)?.create_with_context(context).map_err(|e| e.to_string())?;
    base.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>()).map_err(|e| e.to_string())?;
    let (commands, orders) = CommandSender::new();
    let (ended, closed) = oneshot::channel();
    std::thread::Builder::new()
        .name(format!("poll-{consumer}"))
        .spawn(move || {
            poll_for_ever(&base, orders);
            drop(base);
            ended.send(()).ok();
        })
        .map_err(|e| e.to_string())?;
    Ok(Connection { events: receiver, commands, closed })
}

fn poll_for_ever(base: &BaseConsumer<Context>, mut orders: mpsc::UnboundedReceiver<BrokerCommand>) {
    let context = base.context();
    loop {
        loop {
            match orders.try_recv() {
                Ok(BrokerCommand::Close(offsets)) => {
                    context.commit(base, &offsets, CommitMode::Sync);
                    base.unsubscribe();
                    return;
                }
                Ok(command) => obey(base, command),
                Err(mpsc::error::TryRecvError::Empty) => break,
                // The driver is gone without a word: nothing may be committed any more.
                Err(mpsc::error::TryRecvError::Disconnected) => return,
            }
        }
        match base.poll(POLL) {
            None => {}
            Some(Ok(message)) => context.tell(BrokerEvent::Record(record_of(&message))),
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                context.tell(BrokerEvent::Fatal(format!("the Kafka client failed for good: {code}")));
                return;
            }
            Some(Err(error)) => {
                if let Some((code, detail)) = base.client().fatal_error() {
                    context.tell(BrokerEvent::Fatal(format!("the Kafka client failed for good: {code}: {detail}")));
                    return;
                }
                // Brokers that are away and the like: the client recovers by itself, the watchdog watches.
                tracing::warn!(consumer = context.consumer, %error, "Kafka");
            }
        }
    }
}

fn obey(base: &BaseConsumer<Context>, command: BrokerCommand) {
    let context = base.context();
    let result = match command {
        BrokerCommand::Pause(partitions) => base.pause(&list_of(&partitions)),
        BrokerCommand::Resume(partitions) => base.resume(&list_of(&partitions)),
        BrokerCommand::Commit(offsets) => {
            context.commit(base, &offsets, CommitMode::Async);
            Ok(())
        }
        BrokerCommand::Close(_) => Ok(()),
    };
    if let Err(error) = result {
        tracing::warn!(consumer = context.consumer, %error, "pause or resume");
    }
}

enum Answer<T> {
    Given(T),
    Late,
    Refused,
}

/// The poll thread is no task, so it may block; but a plain `blocking_recv` has no deadline.
fn wait_for<T>(mut answer: oneshot::Receiver<T>, limit: Duration) -> Answer<T> {
    let deadline = std::time::Instant::now() + limit;
    loop {
        match answer.try_recv() {
            Ok(value) => return Answer::Given(value),
            Err(oneshot::error::TryRecvError::Closed) => return Answer::Refused,
            Err(oneshot::error::TryRecvError::Empty) if std::time::Instant::now() >= deadline => return Answer::Late,
            Err(oneshot::error::TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let source = |topic: &str, partition| TopicPartition { topic: topic.into(), partition };
    list.elements().iter().map(|element| source(element.topic(), element.partition())).collect()
}

fn list_of(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for source in partitions {
        list.add_partition(&source.topic, source.partition);
    }
    list
}

fn record_of(message: &BorrowedMessage<'_>) -> Record {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // rdkafka panics on a header name that is not UTF-8 (`BorrowedHeaders::try_get`); a panic here would end this process
    // and, at the same record, its successors.
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| (header.key.to_owned(), header.value.map_or_else(String::new, text))).collect()
        })
    }));
    let headers_unreadable = read.is_err();
    Record {
        source: TopicPartition { topic: message.topic().into(), partition: message.partition() },
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers: read.unwrap_or_default(),
        headers_unreadable,
    }
}
