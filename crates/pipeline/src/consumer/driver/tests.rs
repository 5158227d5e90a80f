//! The loop against the broker in memory; the settlement is played by the test, so no server is needed.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use docfleet_outbox::{Registry, RegistryConfig};
use sqlx::PgPool;
use tokio::{sync::Semaphore, task::JoinHandle, time::timeout};

use super::*;
use crate::{
    Message, Outcome, Policy, Record, Recorded, Settlement, WorkContext, Worked, broker::memory::MemoryBroker,
    handler::Nothing, header, message::TopicPartition, process::Finished,
};

/// Never works: the records of these tests are not framed, so each arrives at the settlement as a failure.
struct Idle;

impl Handler for Idle {
    type In = Nothing;
    type Finding = ();
    const POLICY: Policy = Policy::UNORDERED;

    async fn work(&self, _: &Message<Nothing>, _: &WorkContext) -> Outcome<()> {
        Ok(())
    }

    async fn record(&self, _: &[Worked<Nothing, ()>], _: &mut Settlement<'_>) -> Recorded {
        Ok(())
    }
}

struct Bench {
    broker: MemoryBroker,
    finished: mpsc::Receiver<Finished<Idle>>,
    shutdown: CancellationToken,
    driver: JoinHandle<Result<(), String>>,
    /// Messages that the test has received and not settled.
    out: BTreeMap<(i32, i64), Finished<Idle>>,
}

const PATIENCE: Duration = Duration::from_secs(5);
/// Long enough for the loop to do what it must not do.
const A_WHILE: Duration = Duration::from_millis(150);

impl Bench {
    fn start(config: ConsumerConfig) -> Self {
        let (broker, connection) = MemoryBroker::connect();
        let (settle, finished) = mpsc::channel(1_024);
        let shutdown = CancellationToken::new();
        let progress = Progress::default();
        // Its messages are settled by the test, which tells nobody of a success.
        let breaker = gate::BreakerConfig { enabled: false, ..gate::BreakerConfig::default() };
        let config = ConsumerConfig { concurrency: config.in_flight_messages_max, ..config };
        let processor = Processor {
            handler: Arc::new(Idle),
            consumer: "idle",
            registry: Registry::new(&RegistryConfig::default()).unwrap(),
            pool: PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/nothing").unwrap(),
            slots: Semaphore::new(8),
            retry: crate::RetryConfig::default(),
            record_bytes_max: 1_000,
            retention: docfleet_outbox::RetentionConfig::default(),
            shutdown: shutdown.clone(),
            progress: progress.clone(),
            settle,
            parked: crate::parked::Hints::default(),
            gate: gate::Handle::new("idle", breaker, &config, &Idle::POLICY).0,
        };
        let driver = Driver::new(Arc::new(processor), connection, &config, shutdown.clone(), progress, "");
        Self { broker, finished, shutdown, driver: tokio::spawn(driver.run()), out: BTreeMap::new() }
    }

    fn quick() -> Self {
        Self::start(ConsumerConfig { commit_interval: Duration::from_millis(10), ..ConsumerConfig::default() })
    }

    fn assign(&mut self, partitions: &[i32]) {
        self.broker.assign(partitions.iter().map(|p| source(*p)).collect());
    }

    fn deliver(&self, partition: i32, offset: i64, key: &str) {
        assert!(self.broker.deliver(record(partition, offset, key, &[])), "there is room");
    }

    /// Waits until the message has arrived at the settlement.
    async fn arrived(&mut self, partition: i32, offset: i64) {
        while !self.out.contains_key(&(partition, offset)) {
            let next = timeout(PATIENCE, self.finished.recv()).await;
            self.take(next.unwrap_or_else(|_| panic!("{partition}/{offset} does not arrive")).unwrap());
        }
    }

    fn take(&mut self, finished: Finished<Idle>) {
        self.out.insert((finished.record.source.partition, finished.record.offset), finished);
    }

    /// Just these have arrived and are not settled, and nothing else comes.
    async fn only_these_are_out(&mut self, expected: &[(i32, i64)]) {
        if let Ok(Some(finished)) = timeout(A_WHILE, self.finished.recv()).await {
            panic!("{} {} arrives", finished.record.source, finished.record.offset);
        }
        assert_eq!(self.out.keys().copied().collect::<Vec<_>>(), expected);
    }

    fn settle(&mut self, partition: i32, offset: i64) {
        self.out.remove(&(partition, offset)).unwrap().in_flight.settled();
    }

    /// Commits come until one says this.
    async fn committed(&mut self, partition: i32, offset: i64) {
        let found = timeout(PATIENCE, async {
            while let Some(offsets) = self.broker.next_commit().await {
                if offsets.contains(&(source(partition), offset)) {
                    return;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("{partition} is never committed at {offset}"));
    }

    async fn no_commit(&mut self) {
        if let Ok(offsets) = timeout(A_WHILE, self.broker.next_commit()).await {
            panic!("a commit of {offsets:?}");
        }
    }
}

/// Of the consumer's own retry topic: only there the runtime's headers are believed.
fn source(partition: i32) -> TopicPartition {
    TopicPartition { topic: "idle.retry.10s".into(), partition }
}

fn record(partition: i32, offset: i64, key: &str, headers: &[(&str, String)]) -> Record {
    Record {
        source: source(partition),
        offset,
        timestamp_ms: 0,
        key: Some(key.as_bytes().to_vec()),
        payload: Some(b"not framed".to_vec()),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        headers_unreadable: false,
    }
}

#[tokio::test]
async fn commits_land_at_the_contiguous_frontier_only() {
    let mut bench = Bench::quick();
    bench.assign(&[0]);
    for offset in 0..3 {
        bench.deliver(0, offset, &format!("k{offset}"));
        bench.arrived(0, offset).await;
    }
    // The frontier before anything is settled: what is known to be done by those before us.
    bench.committed(0, 0).await;
    bench.settle(0, 1);
    bench.settle(0, 2);
    bench.no_commit().await;
    bench.settle(0, 0);
    bench.committed(0, 3).await;
}

#[tokio::test]
async fn one_key_goes_one_by_one_and_other_keys_pass_it() {
    let mut bench = Bench::quick();
    bench.assign(&[0, 1]);
    bench.deliver(0, 0, "a");
    bench.deliver(0, 1, "a");
    bench.deliver(1, 0, "a");
    bench.deliver(0, 2, "b");
    bench.arrived(0, 0).await;
    bench.arrived(0, 2).await;
    bench.only_these_are_out(&[(0, 0), (0, 2)]).await;
    bench.settle(0, 0);
    bench.arrived(0, 1).await;
    bench.only_these_are_out(&[(0, 1), (0, 2)]).await;
    bench.settle(0, 1);
    bench.arrived(1, 0).await;
}

#[tokio::test]
async fn a_revocation_waits_for_what_is_out_and_drops_what_is_queued() {
    let mut bench = Bench::quick();
    bench.assign(&[0, 1]);
    bench.deliver(0, 0, "a");
    bench.deliver(0, 1, "a");
    bench.deliver(1, 0, "b");
    bench.arrived(0, 0).await;
    bench.arrived(1, 0).await;
    let settled = {
        let revoking = bench.broker.revoke(vec![source(0)]);
        tokio::pin!(revoking);
        assert!(timeout(A_WHILE, &mut revoking).await.is_err(), "it waits");
        bench.out.remove(&(0, 0)).unwrap().in_flight.settled();
        timeout(PATIENCE, revoking).await.unwrap()
    };
    assert_eq!(settled, Some(vec![(source(0), 1)]), "the queued one will be delivered to the next owner");
    bench.only_these_are_out(&[(1, 0)]).await;
    bench.settle(1, 0);
    bench.committed(1, 1).await;
}

#[tokio::test]
async fn results_of_an_old_assignment_can_not_commit_in_a_new_one() {
    let mut bench = Bench::quick();
    bench.assign(&[0]);
    bench.deliver(0, 5, "a");
    bench.arrived(0, 5).await;
    let old = bench.out.remove(&(0, 5)).unwrap();
    bench.broker.send(BrokerEvent::Lost(vec![source(0)]));
    bench.assign(&[0]);
    bench.deliver(0, 4, "b");
    bench.deliver(0, 5, "b");
    bench.arrived(0, 4).await;
    bench.committed(0, 4).await;
    bench.settle(0, 4);
    bench.committed(0, 5).await;
    old.in_flight.settled();
    bench.no_commit().await;
    bench.arrived(0, 5).await;
    bench.settle(0, 5);
    bench.committed(0, 6).await;
}

#[tokio::test]
async fn a_full_budget_lets_records_wait_and_serves_a_rebalance_all_the_same() {
    let mut bench = Bench::start(ConsumerConfig { in_flight_messages_max: 4, ..ConsumerConfig::default() });
    bench.assign(&[0, 1]);
    for offset in 0..8 {
        bench.deliver(0, offset, &format!("k{offset}"));
    }
    for offset in 0..4 {
        bench.arrived(0, offset).await;
    }
    bench.only_these_are_out(&[(0, 0), (0, 1), (0, 2), (0, 3)]).await;
    let handed_over = timeout(PATIENCE, bench.broker.revoke(vec![source(1)])).await;
    assert_eq!(handed_over.unwrap(), Some(vec![]), "although records wait");
    for offset in 0..2 {
        bench.settle(0, offset);
    }
    bench.arrived(0, 4).await;
}

#[tokio::test]
async fn a_record_that_waited_while_its_partition_went_and_came_is_not_taken_for_a_new_one() {
    let mut bench = Bench::start(ConsumerConfig {
        in_flight_messages_max: 1,
        commit_interval: Duration::from_millis(10),
        ..ConsumerConfig::default()
    });
    bench.assign(&[0, 1]);
    bench.deliver(1, 0, "a");
    bench.arrived(1, 0).await;
    // No budget: this one waits in the channel.
    bench.deliver(0, 7, "b");
    assert_eq!(timeout(PATIENCE, bench.broker.revoke(vec![source(0)])).await.unwrap(), Some(vec![]));
    bench.assign(&[0]);
    // Others have settled less than that in the meantime.
    bench.deliver(0, 5, "b");
    bench.settle(1, 0);
    bench.arrived(0, 5).await;
    bench.settle(0, 5);
    bench.committed(0, 6).await;
}

#[tokio::test]
async fn a_message_that_is_not_due_waits_with_its_partition_and_no_other() {
    let mut bench = Bench::quick();
    bench.assign(&[0, 1]);
    let due = (clock::now_ms() + 400).to_string();
    assert!(bench.broker.deliver(record(0, 0, "a", &[(header::NOT_BEFORE, due)])));
    bench.deliver(0, 1, "b");
    bench.deliver(1, 0, "c");
    bench.arrived(1, 0).await;
    bench.only_these_are_out(&[(1, 0)]).await;
    bench.arrived(0, 0).await;
    bench.arrived(0, 1).await;
}

#[tokio::test]
async fn a_pause_does_not_outlive_the_assignment_it_was_made_in() {
    let mut bench = Bench::quick();
    bench.assign(&[0]);
    let due = (clock::now_ms() + 60_000).to_string();
    assert!(bench.broker.deliver(record(0, 0, "a", &[(header::NOT_BEFORE, due)])));
    let told = |command: &BrokerCommand| match command {
        BrokerCommand::Pause(_) => Some("pause"),
        BrokerCommand::Resume(_) => Some("resume"),
        BrokerCommand::Commit { .. } | BrokerCommand::Close { .. } => None,
    };
    let mut all = Vec::new();
    for _ in 0..2 {
        all.extend(timeout(PATIENCE, bench.broker.commands.recv()).await.unwrap().as_ref().and_then(told));
    }
    assert_eq!(timeout(PATIENCE, bench.broker.revoke(vec![source(0)])).await.unwrap(), Some(vec![]));
    bench.assign(&[0]);
    all.extend(timeout(PATIENCE, bench.broker.commands.recv()).await.unwrap().as_ref().and_then(told));
    assert_eq!(all, ["resume", "pause", "resume"]);
}

#[tokio::test]
async fn a_message_that_vanishes_ends_the_process_instead_of_being_lost() {
    let mut bench = Bench::quick();
    bench.assign(&[0]);
    bench.deliver(0, 0, "a");
    bench.arrived(0, 0).await;
    bench.out.clear();
    let ended = timeout(PATIENCE, bench.driver).await.unwrap().unwrap();
    assert!(ended.unwrap_err().contains("was dropped"));
}

#[tokio::test]
async fn an_orderly_end_drains_what_is_out_and_commits_it() {
    let mut bench = Bench::start(ConsumerConfig::default());
    bench.assign(&[0]);
    bench.deliver(0, 0, "a");
    bench.deliver(0, 1, "a");
    bench.arrived(0, 0).await;
    bench.shutdown.cancel();
    tokio::time::sleep(A_WHILE).await;
    assert!(!bench.driver.is_finished(), "it waits");
    bench.settle(0, 0);
    bench.committed(0, 1).await;
    assert_eq!(timeout(PATIENCE, bench.driver).await.unwrap().unwrap(), Ok(()));
}

#[tokio::test]
async fn a_drain_has_a_deadline() {
    let mut bench =
        Bench::start(ConsumerConfig { shutdown_drain: Duration::from_millis(200), ..ConsumerConfig::default() });
    bench.assign(&[0]);
    bench.deliver(0, 0, "a");
    bench.arrived(0, 0).await;
    bench.shutdown.cancel();
    bench.committed(0, 0).await;
    assert_eq!(timeout(PATIENCE, bench.driver).await.unwrap().unwrap(), Ok(()));
}

#[tokio::test]
async fn a_fatal_error_of_the_client_ends_the_process() {
    let bench = Bench::quick();
    bench.broker.send(BrokerEvent::Fatal("fenced".into()));
    assert_eq!(timeout(PATIENCE, bench.driver).await.unwrap().unwrap(), Err("fenced".to_owned()));
}
