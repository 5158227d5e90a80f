#![allow(clippy::unwrap_used)]
use super::*;
use crate::{gate::BreakerConfig, header};

fn core(config: &ConsumerConfig, own_topics: &str) -> Core {
    let cap = config.in_flight_messages_max;
    let signals = Signals::new("idle", BreakerConfig::default(), cap, cap);
    Core::new(config, own_topics.to_owned(), signals, RetryConfig::default())
}

fn source(partition: i32) -> TopicPartition {
    TopicPartition { topic: "idle.retry.10s".into(), partition }
}

fn record(partition: i32, offset: i64, not_before_ms: Option<i64>) -> Record {
    Record {
        source: source(partition),
        offset,
        timestamp_ms: 0,
        key: None,
        payload: Some(vec![0; 10]),
        headers: not_before_ms.map(|at| (header::NOT_BEFORE.to_owned(), at.to_string())).into_iter().collect(),
        headers_unreadable: false,
    }
}

fn at(seconds: u64) -> Now {
    Now { elapsed: Duration::from_secs(seconds), wall_ms: i64::try_from(seconds).unwrap() * 1_000 }
}

/// What the inputs, taken at once, lead to.
fn feed(core: &mut Core, now: Now, inputs: Vec<Input>) -> Vec<Effect> {
    let mut effects = Vec::new();
    for input in inputs {
        core.on(now, input, &mut effects);
    }
    core.flush(now, &mut effects);
    effects
}

fn started(effects: &[Effect]) -> Vec<i64> {
    effects.iter().filter_map(|e| if let Effect::Start(ticket, _) = e { Some(ticket.offset) } else { None }).collect()
}

#[test]
fn many_that_become_due_at_once_stay_within_the_budget() {
    let config = ConsumerConfig { in_flight_messages_max: 4, ..ConsumerConfig::default() };
    let mut core = core(&config, "idle.retry.");
    let mut inputs = vec![Input::Assigned { partitions: vec![source(0)], generation: 1 }];
    inputs.extend((0..10).map(|n| Input::Record { record: record(0, n, Some(5_000)), generation: 1 }));
    let effects = feed(&mut core, at(1), inputs);
    assert!(matches!(effects[..], [Effect::Resume(_), Effect::Pause(_)]), "{effects:?}");
    let effects = feed(&mut core, at(5), vec![Input::Tick]);
    assert_eq!(started(&effects), [0, 1, 2, 3]);
    let done = effects.into_iter().filter_map(|e| match e {
        Effect::Start(ticket, _) => Some(Input::Done(Done::Settled(ticket))),
        _ => None,
    });
    let effects = feed(&mut core, at(5), done.collect());
    assert_eq!(started(&effects), [4, 5, 6, 7]);
    assert_eq!(core.budget().messages(), 4);
}

#[test]
fn nothing_happens_any_more_after_a_failure() {
    let mut core = core(&ConsumerConfig::default(), "");
    let inputs = vec![
        Input::Assigned { partitions: vec![source(0)], generation: 1 },
        Input::Record { record: record(0, 0, None), generation: 1 },
        Input::Fatal("fenced".to_owned()),
        Input::BeginDrain,
        Input::Tick,
    ];
    let effects = feed(&mut core, at(60), inputs);
    assert!(matches!(effects[..], [Effect::Resume(_), Effect::Fail(_)]), "{effects:?}");
}

#[test]
fn an_assignment_of_what_is_still_ours_begins_anew() {
    let mut core = core(&ConsumerConfig::default(), "idle.retry.");
    let effects = feed(
        &mut core,
        at(0),
        vec![
            Input::Assigned { partitions: vec![source(0)], generation: 1 },
            Input::Record { record: record(0, 7, Some(9_000)), generation: 1 },
            Input::Assigned { partitions: vec![source(0)], generation: 2 },
            Input::Record { record: record(0, 5, None), generation: 2 },
        ],
    );
    assert_eq!(started(&effects), [5]);
    assert_eq!(started(&feed(&mut core, at(9), vec![Input::Tick])), [] as [i64; 0]);
}

#[test]
fn what_is_ready_and_not_started_goes_with_its_partition() {
    let mut core = core(&ConsumerConfig::default(), "idle.retry.");
    let with_key = |partition, offset| Record { key: Some(b"k".to_vec()), ..record(partition, offset, None) };
    let inputs = vec![
        Input::Assigned { partitions: vec![source(0), source(1)], generation: 1 },
        Input::Record { record: with_key(0, 0), generation: 1 },
        Input::Record { record: with_key(0, 1), generation: 1 },
        Input::Record { record: with_key(1, 7), generation: 1 },
        Input::Lost(vec![source(0)]),
    ];
    let effects = feed(&mut core, at(0), inputs);
    assert_eq!(started(&effects), [7], "its lane is free");
    assert_eq!((core.budget().messages(), core.running()), (1, 1));
}
