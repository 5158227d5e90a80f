//! The consumer at the other end: counts what comes, and when.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};

/// What has arrived since the last [`Receiver::reset`].
#[derive(Default)]
struct Arrived {
    first: Option<Instant>,
    last: Option<Instant>,
    /// Number in the payload and time, only while latency is measured.
    each: Vec<(u64, Instant)>,
}

pub struct Receiver {
    count: Arc<AtomicU64>,
    arrived: Arc<Mutex<Arrived>>,
    stop: Arc<AtomicBool>,
}

/// A partition that has just been made has no leader for a moment.
fn end_of(consumer: &BaseConsumer, topic: &str, partition: i32) -> Result<i64, KafkaError> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match consumer.fetch_watermarks(topic, partition, Duration::from_secs(20)) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(200)),
            answered => return answered.map(|(_, end)| end),
        }
    }
}

impl Receiver {
    /// Reads all partitions of a topic from their present ends, on a thread.
    pub fn new(brokers: &str, topic: &str, partitions: i32) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "bench")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "100")
            .create()?;
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions {
            all.add_partition_offset(topic, partition, Offset::Offset(end_of(&consumer, topic, partition)?))?;
        }
        consumer.assign(&all)?;
        let receiver = Self { count: Arc::default(), arrived: Arc::default(), stop: Arc::default() };
        let (count, arrived, stop) =
            (Arc::clone(&receiver.count), Arc::clone(&receiver.arrived), Arc::clone(&receiver.stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) else { continue };
                let now = Instant::now();
                let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
                arrived.first.get_or_insert(now);
                arrived.last = Some(now);
                if let Some(number) = record.payload().and_then(number_of) {
                    arrived.each.push((number, now));
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(receiver)
    }

    pub fn reset(&self) {
        self.count.store(0, Ordering::Relaxed);
        *self.arrived.lock().unwrap_or_else(PoisonError::into_inner) = Arrived::default();
    }

    /// Waits for so many records; returns when the first and the last came.
    pub async fn until(&self, count: u32, patience: Duration) -> anyhow::Result<(Instant, Instant)> {
        let began = Instant::now();
        while self.count.load(Ordering::Relaxed) < u64::from(count) {
            let there = self.count.load(Ordering::Relaxed);
            anyhow::ensure!(began.elapsed() < patience, "{there} of {count} records within {patience:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.first.zip(arrived.last).ok_or_else(|| anyhow::anyhow!("nothing came"))
    }

    pub fn each(&self) -> Vec<(u64, Instant)> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).each.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Payloads begin with their number, in 20 digits.
fn number_of(payload: &[u8]) -> Option<u64> {
    std::str::from_utf8(payload.get(..20)?).ok()?.parse().ok()
}
