//! The client's behaviour under errors that a real broker does not give on demand: librdkafka's own mock cluster.

use std::{collections::HashMap, time::Duration};

use docfleet_pipeline::Event;
use futures::future::join_all;
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use uuid::Uuid;

use crate::harness::{Bench, CONSUMER, Counted, QUICK};

type Mock = MockCluster<'static, DefaultProducerContext>;

const UNPUBLISHED: &str = "SELECT count(*) FROM pipeline.outbox_unpublished";
const EFFECTS: &str = "SELECT count(*) FROM effects";
const ID: Uuid = Uuid::from_u128(1);

fn cluster() -> Mock {
    let mock = MockCluster::new(1).unwrap();
    for topic in [Counted::TOPIC, "tests.echoed.v1"] {
        mock.create_topic(topic, 2, 1).unwrap();
    }
    for tier in ["retry.10s", "retry.1m", "retry.10m", "dlq"] {
        mock.create_topic(&format!("{CONSUMER}.{tier}"), 1, 1).unwrap();
    }
    mock
}

/// The versions of the one aggregate, in the order in which each first occurs.
async fn first_occurrences(bench: &Bench) -> Vec<i64> {
    let mut versions = Vec::new();
    for record in bench.topics.read(Counted::TOPIC).await {
        let version = record.headers["aggregate_version"].parse().unwrap();
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    versions
}

/// The `nth` request (from 0) of this kind fails while five records of one key are published.
async fn five_records(request: RDKafkaApiKey, nth: usize, error: RDKafkaRespErr) -> Vec<i64> {
    let mock = cluster();
    let bench = Bench::mocked(&mock.bootstrap_servers()).await;
    let mut errors = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR; nth];
    errors.push(error);
    mock.request_errors(request, &errors);
    bench.append((0..5).map(|number| (ID, number, "ok"))).await;
    let relay = bench.relay();
    bench.until("all published", UNPUBLISHED, 0).await;
    relay.stop().await.unwrap();
    first_occurrences(&bench).await
}

#[tokio::test]
async fn the_second_of_five_records_fails_and_the_topic_shows_all_in_order() {
    use RDKafkaRespErr as E;
    let errors = [
        // Refused for good, as by a missing right.
        E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        // Fatal to an idempotent producer: it must be made anew.
        E::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        E::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
        // Passing, retried by the client itself.
        E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        // Taken by librdkafka for "written before", and so for a success: here nothing was.
        E::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER,
        // The connection is cut: nobody knows whether the record was written.
        E::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    for error in errors {
        assert_eq!(five_records(RDKafkaApiKey::Produce, 1, error).await, [1, 2, 3, 4, 5], "{error:?}");
    }
}

#[tokio::test]
async fn whatever_a_broker_says_of_the_first_record_all_five_come_in_order() {
    use RDKafkaRespErr as E;
    let errors = [
        // Passing: the leader moves, the broker is slow, the disk was misread.
        E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        // Of the row: it waits, with what follows it, and is tried again.
        E::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        E::RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
        // The broker has forgotten the producer.
        E::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
    ];
    for error in errors {
        assert_eq!(five_records(RDKafkaApiKey::Produce, 0, error).await, [1, 2, 3, 4, 5], "{error:?}");
    }
}

#[tokio::test]
async fn a_producer_that_gets_no_id_is_made_anew() {
    use RDKafkaRespErr as E;
    let errors = [
        // Passing.
        E::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        E::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        // Fatal to the client.
        E::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
    ];
    for error in errors {
        assert_eq!(five_records(RDKafkaApiKey::InitProducerId, 0, error).await, [1, 2, 3, 4, 5], "{error:?}");
    }
}

#[tokio::test]
async fn a_new_producer_does_not_forget_what_kafka_refuses() {
    use RDKafkaRespErr as E;
    let mock = cluster();
    let bench = Bench::mocked_with(&mock.bootstrap_servers(), &QUICK.replace("'1s'", "'1h'")).await;
    // The first record is refused; the second one takes the producer along.
    mock.request_errors(
        RDKafkaApiKey::Produce,
        &[E::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, E::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER],
    );
    let relay = bench.relay();
    // At work, so that it reads these two before what is appended below.
    docfleet_testkit::eventually("the relay is at work", 45, || async {
        let held = "SELECT count(*) FROM pipeline.relay_leases WHERE expires_at > clock_timestamp()";
        (bench.count(held).await > 0).then_some(())
    })
    .await;
    bench.append([(ID, 0, "ok"), (ID, 1, "ok")]).await;
    // Each of another aggregate: on a busy machine one may travel, and be refused, with the first record.
    docfleet_testkit::eventually("a new producer is at work", 45, || async {
        bench.append([(Uuid::now_v7(), 0, "ok")]).await;
        (bench.count("SELECT (SELECT count(*) FROM pipeline.outbox_events) - (SELECT count(*) FROM pipeline.outbox_unpublished)").await > 0)
            .then_some(())
    })
    .await;
    let refused = "SELECT count(*) FROM pipeline.outbox_events
        WHERE id IN (SELECT id FROM pipeline.outbox_unpublished) AND aggregate_id = (SELECT aggregate_id FROM pipeline.outbox_events ORDER BY id LIMIT 1)";
    assert_eq!(bench.count(refused).await, 2, "the refused one, and what follows it");
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn offset_commits_that_fail_are_repeated_and_nothing_stalls() {
    let mock = cluster();
    let bench = Bench::mocked(&mock.bootstrap_servers()).await;
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
    mock.request_errors(RDKafkaApiKey::OffsetCommit, &[refused; 6]);
    let (relay, consumer) = (bench.relay(), bench.consumer());
    for number in 0..10 {
        bench.append((0..10).map(|id| (Uuid::from_u128(id), number, "ok"))).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    bench.until("all effects", EFFECTS, 100).await;
    bench.until_committed(Counted::TOPIC).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_member_thrown_out_of_its_group_comes_back_and_doubles_nothing() {
    let mock = cluster();
    let bench = Bench::mocked(&mock.bootstrap_servers()).await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    bench.append((0..10).map(|id| (Uuid::from_u128(id), 0, "ok"))).await;
    bench.until("the first effects", EFFECTS, 10).await;
    mock.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    for number in 1..6 {
        bench.append((0..10).map(|id| (Uuid::from_u128(id), number, "slow"))).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    bench.until("all effects", EFFECTS, 60).await;
    bench.until_committed(Counted::TOPIC).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(bench.count("SELECT count(*) FROM pipeline.outbox_events WHERE event_type = 'Echoed'").await, 60);
}

#[tokio::test]
async fn a_broker_that_goes_and_comes_back_costs_only_time() {
    let mock = cluster();
    let bench = Bench::mocked(&mock.bootstrap_servers()).await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    bench.append((0..10).map(|id| (Uuid::from_u128(id), 0, "ok"))).await;
    bench.until("the first effects", EFFECTS, 10).await;
    mock.broker_down(1).unwrap();
    for number in 1..6 {
        bench.append((0..10).map(|id| (Uuid::from_u128(id), number, "ok"))).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(bench.count(EFFECTS).await, 10);
    mock.broker_up(1).unwrap();
    bench.until("all effects", EFFECTS, 60).await;
    bench.until_committed(Counted::TOPIC).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    // Versions on this topic have gaps, as the echoes take some; what is new must still be newer.
    let mut seen: HashMap<Vec<u8>, Vec<i64>> = HashMap::new();
    for record in bench.topics.read(Counted::TOPIC).await {
        let version: i64 = record.headers["aggregate_version"].parse().unwrap();
        let seen = seen.entry(record.key.unwrap()).or_default();
        assert!(seen.contains(&version) || seen.iter().all(|earlier| *earlier < version), "{version} after {seen:?}");
        seen.push(version);
    }
    assert_eq!(seen.len(), 10);
}

/// Forty events are worked on while `request` is answered by `errors`; each has its effect once, and all is committed.
async fn consumed_despite(request: RDKafkaApiKey, errors: Vec<RDKafkaRespErr>) {
    let mock = cluster();
    let mut bench = Bench::mocked(&mock.bootstrap_servers()).await;
    // A member that joins anew waits for its old self to be silent for so long.
    bench.reset(bench.configuration().replace("[kafka]\n", "[kafka]\nsession_timeout = '6s'\n"));
    let (relay, consumer) = (bench.relay(), bench.consumer());
    bench.append((0..10).map(|id| (Uuid::from_u128(id), 0, "ok"))).await;
    bench.until("the first effects", EFFECTS, 10).await;
    mock.request_errors(request, &errors);
    for number in 1..4 {
        bench.append((0..10).map(|id| (Uuid::from_u128(id), number, "ok"))).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bench.until("all effects", EFFECTS, 40).await;
    bench.until_committed(Counted::TOPIC).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    let echoes = bench.count("SELECT count(*) FROM pipeline.outbox_events WHERE event_type = 'Echoed'").await;
    assert_eq!(echoes, 40, "{request:?} {errors:?}");
}

#[tokio::test]
async fn a_commit_that_the_coordinator_does_not_take_is_made_again_or_by_the_next_member() {
    use RDKafkaRespErr as E;
    let errors = [
        // The group is at it: the commit comes again after the rebalance.
        E::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        // Nobody is there to take it.
        E::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        E::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        // Of a member that the group has left behind: it joins again, and what it had is delivered again.
        E::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        E::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    ];
    join_all(errors.map(|error| consumed_despite(RDKafkaApiKey::OffsetCommit, vec![error]))).await;
}

#[tokio::test]
async fn a_member_whose_heartbeat_is_refused_goes_on_or_joins_again() {
    use RDKafkaRespErr as E;
    let errors = [
        E::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        E::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        E::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        E::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
    ];
    join_all(errors.map(|error| consumed_despite(RDKafkaApiKey::Heartbeat, vec![error]))).await;
}

#[tokio::test]
async fn a_fetch_that_fails_is_made_again() {
    use RDKafkaRespErr as E;
    let errors = [
        E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        E::RD_KAFKA_RESP_ERR_UNKNOWN,
        E::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    join_all(errors.map(|error| consumed_despite(RDKafkaApiKey::Fetch, vec![error; 3]))).await;
}

/// A member starts while its first requests of this kind fail.
async fn begun_despite(request: RDKafkaApiKey, errors: [RDKafkaRespErr; 2]) {
    let mock = cluster();
    let bench = Bench::mocked(&mock.bootstrap_servers()).await;
    let relay = bench.relay();
    bench.append((0..10).map(|id| (Uuid::from_u128(id), 0, "ok"))).await;
    bench.until("all published", UNPUBLISHED, 0).await;
    mock.request_errors(request, &errors);
    let consumer = bench.consumer();
    bench.until("all effects", EFFECTS, 10).await;
    bench.until_committed(Counted::TOPIC).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_member_that_is_not_let_in_at_once_tries_again_and_misses_nothing() {
    use RDKafkaApiKey as Api;
    use RDKafkaRespErr as E;
    let refusals = [
        (Api::JoinGroup, E::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID),
        (Api::JoinGroup, E::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS),
        (Api::JoinGroup, E::RD_KAFKA_RESP_ERR_NOT_COORDINATOR),
        (Api::SyncGroup, E::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS),
        (Api::FindCoordinator, E::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE),
        // Without the committed offsets it begins nowhere, least of all at the end.
        (Api::OffsetFetch, E::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS),
        (Api::ListOffsets, E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION),
        (Api::ListOffsets, E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT),
    ];
    join_all(refusals.map(|(request, error)| begun_despite(request, [error; 2]))).await;
}
