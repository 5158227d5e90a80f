//! Every fault that is injected, a family a file. Rows that are not here are in [`ELSEWHERE`], with the test that has them.

mod clamd;
mod kafka;
mod messages;
mod network;
mod postgres;
mod processes;
mod redis;
mod registry;
mod steps;
mod topics;

use crate::fault::Nemesis;

/// All of them, in the order of their rows.
pub fn all() -> Vec<Box<dyn Nemesis>> {
    vec![
        Box::new(processes::KillWorkers::default()),
        Box::new(steps::KillAtSteps::default()),
        Box::new(processes::StopRelay),
        Box::new(processes::StopConsumers),
        Box::new(processes::Terminate::default()),
        Box::new(processes::StealLeases),
        Box::new(postgres::OpenTransaction::default()),
        Box::new(postgres::Restart::default()),
        Box::new(steps::LoseCommits),
        Box::new(postgres::HalfOpen),
        Box::new(postgres::NoConnections::default()),
        Box::new(postgres::DiskFull),
        Box::new(kafka::KillBroker::default()),
        Box::new(kafka::StopBroker),
        Box::new(processes::RebalanceStorm::default()),
        Box::new(topics::RecordsDeleted::default()),
        Box::new(topics::TopicDeleted),
        Box::new(topics::PartitionsAdded),
        Box::new(kafka::AcknowledgedAndLost),
        Box::new(topics::TenTimes),
        Box::new(messages::BrokenMessages::default()),
        Box::new(messages::PoisonStorm::default()),
        Box::new(topics::NoDeadLetterTopic),
        Box::new(steps::KillAtDeadLetters::default()),
        Box::new(messages::KeyFails),
        Box::new(redis::Redis::default()),
        Box::new(clamd::Clamd::default()),
        Box::new(registry::Registry),
        Box::new(messages::ColdStart),
        Box::new(messages::HotKey),
        Box::new(network::Slow),
        Box::new(network::Resets),
        Box::new(network::OneWay),
        Box::new(processes::MixedVersions),
        Box::new(postgres::Migrations),
        Box::new(processes::NoMemory::default()),
    ]
}

/// Row, fault, and the test that has it, as in docs/guarantees.md; or why it does not apply.
pub const ELSEWHERE: [(u8, &str, &str); 12] = [
    (
        6,
        "a slow transaction has the smaller id",
        "`pipeline::it::relaying::a_slow_transaction_with_a_smaller_id_is_published_too`",
    ),
    (
        7,
        "an early transaction id, a late lock",
        "`pipeline::it::relaying::a_slow_transaction_with_a_smaller_id_is_published_too`",
    ),
    (
        8,
        "an outbox row before the aggregate's lock",
        "`outbox::it::writing::a_row_that_was_inserted_before_its_predecessor_is_refused`",
    ),
    (15, "failover to a standby without the slot", "does not apply: the relay polls, there is no slot"),
    (16, "the slot is invalidated", "does not apply: the relay polls, there is no slot"),
    (
        20,
        "record 2 of 5 fails",
        "`pipeline::it::mock_cluster::the_second_of_five_records_fails_and_the_topic_shows_all_in_order`",
    ),
    (
        21,
        "the idempotent producer fails for good",
        "`pipeline::it::mock_cluster::the_second_of_five_records_fails_and_the_topic_shows_all_in_order`",
    ),
    (
        22,
        "a commit fails within a rebalance",
        "`pipeline::it::mock_cluster::offset_commits_that_fail_are_repeated_and_nothing_stalls`",
    ),
    (
        24,
        "a silent stall",
        "`pipeline::consumer::watchdog::the_clock_of_a_stall_runs_only_while_the_frontier_stands_with_lag_and_without_a_reason`",
    ),
    (37, "Redis calls an unseen content seen", "`dedup::it::contents::what_the_cache_believes_changes_no_answer`"),
    (
        40,
        "what clamd does not look into",
        "`av-scan::it::archives::archives_nested_deeper_than_the_engine_follows_are_not_clean`",
    ),
    (
        45,
        "the receiver's answer is lost",
        "`webhook-dispatcher::it::hostile::when_the_answer_is_lost_the_delivery_comes_again_under_the_same_id`",
    ),
];
