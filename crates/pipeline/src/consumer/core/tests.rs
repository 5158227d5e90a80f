#![allow(clippy::unwrap_used)]
use super::*;
use crate::{
    consumer::in_flight::Hold,
    gate::{Action, BreakerConfig, Command, Judgement, Selector, Turn},
    header,
};

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

fn tickets(effects: Vec<Effect>) -> Vec<(Ticket, Record)> {
    let start = |effect| if let Effect::Start(ticket, record) = effect { Some((ticket, record)) } else { None };
    effects.into_iter().filter_map(start).collect()
}

fn held((ticket, record): (Ticket, Record), why: Hold) -> Input {
    Input::Done(Done::Held(ticket, Box::new(record), why))
}

const UNKNOWN: Hold = Hold::Partition("unknown-schema");

#[test]
fn messages_that_wait_for_a_schema_leave_the_budget_to_other_partitions_and_go_on_together() {
    let config = ConsumerConfig { in_flight_messages_max: 4, ..ConsumerConfig::default() };
    let mut core = core(&config, "idle.retry.");
    let mut inputs = vec![Input::Assigned { partitions: vec![source(0), source(1)], generation: 1 }];
    inputs.extend((0..4).map(|n| Input::Record { record: record(0, n, None), generation: 1 }));
    let out = tickets(feed(&mut core, at(0), inputs));
    assert_eq!((out.len(), core.takes_records()), (4, false));
    let effects = feed(&mut core, at(0), out.into_iter().map(|message| held(message, UNKNOWN)).collect());
    assert!(matches!(&effects[..], [Effect::Pause(paused)] if *paused == [source(0)]), "{effects:?}");
    assert_eq!((core.running(), core.budget().messages(), core.takes_records()), (0, 0, true));
    assert!(core.progress().any(|(of, progress)| *of == source(0) && progress.waits), "no stall");
    let reason = core.reason_of(&source(0), 2).map(|note| note.phase);
    assert_eq!(reason, Some(Phase::Waiting { reason: "unknown-schema" }));
    // What the client had fetched already stays outside, and another partition flows.
    let more = |partition, offset| Input::Record { record: record(partition, offset, None), generation: 1 };
    let other = tickets(feed(&mut core, at(0), vec![more(0, 4), more(1, 0)]));
    assert_eq!(other.iter().map(|(_, record)| record.source.partition).collect::<Vec<_>>(), [1]);
    // One of them asks again, later each time.
    let mut probe = tickets(feed(&mut core, at(1), vec![Input::Tick]));
    assert_eq!(probe.len(), 1);
    feed(&mut core, at(1), vec![held(probe.remove(0), UNKNOWN)]);
    assert!(started(&feed(&mut core, at(1), vec![Input::Tick])).is_empty());
    let probe = tickets(feed(&mut core, at(20), vec![Input::Tick]));
    assert_eq!(probe.iter().map(|(ticket, _)| ticket.offset).collect::<Vec<_>>(), [0]);
    let effects = feed(&mut core, at(20), vec![Input::Done(Done::Settled(probe[0].0))]);
    assert_eq!(started(&effects), [1, 2, 3]);
    // The budget is used up for now: three, and the one of the other partition.
    assert_eq!(core.budget().messages(), 4);
}

#[test]
fn a_blocked_partition_that_is_revoked_takes_all_it_holds_along() {
    let mut core = core(&ConsumerConfig::default(), "idle.retry.");
    let with_key = |partition, offset| Record { key: Some(b"k".to_vec()), ..record(partition, offset, None) };
    let inputs = vec![
        Input::Assigned { partitions: vec![source(0), source(1)], generation: 1 },
        Input::Record { record: with_key(0, 0), generation: 1 },
        Input::Record { record: with_key(0, 1), generation: 1 },
        Input::Record { record: with_key(1, 7), generation: 1 },
    ];
    let mut out = tickets(feed(&mut core, at(0), inputs));
    assert_eq!(out.len(), 1);
    feed(&mut core, at(0), vec![held(out.remove(0), UNKNOWN)]);
    let effects = feed(&mut core, at(0), vec![Input::Revoked { partitions: vec![source(0)], handover: 3 }]);
    assert_eq!(started(&effects), [7], "its lane is free");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::HandOver { handover: 3, .. })), "nobody waits for it");
    assert_eq!((core.budget().messages(), core.running()), (1, 1));
}

#[test]
fn a_message_that_the_breaker_holds_keeps_its_lane_and_no_drain_waits_for_it() {
    let mut core = core(&ConsumerConfig::default(), "");
    let with_key = |offset| Record { key: Some(b"k".to_vec()), ..record(0, offset, None) };
    let cause = crate::gate::Cause { class: crate::Class::Poison, reason: "x" };
    while core.admission.signals().judge(at(0).elapsed, Turn::Normal, cause) == Judgement::Settle {}
    let mut inputs = vec![Input::Assigned { partitions: vec![source(0)], generation: 1 }];
    inputs.extend((0..2).map(|n| Input::Record { record: with_key(n), generation: 1 }));
    let mut out = tickets(feed(&mut core, at(2), inputs));
    let first = out.remove(0);
    let judged = core.admission.signals().judge(at(2).elapsed, first.0.turn, cause);
    assert_eq!((first.0.turn, judged), (Turn::Probe, Judgement::Hold));
    let again = tickets(feed(&mut core, at(2), vec![held(first, Hold::Breaker("x"))])).remove(0);
    assert_eq!((again.0.turn, again.0.offset), (Turn::Retest, 0), "what follows it in its key waits");
    let judged = core.admission.signals().judge(at(2).elapsed, again.0.turn, cause);
    assert_eq!(judged, Judgement::Hold);
    let effects = feed(&mut core, at(2), vec![held(again, Hold::Breaker("x"))]);
    assert!(started(&effects).is_empty(), "the pauses grow");
    assert_eq!((core.running(), core.budget().messages(), core.holds_back()), (0, 2, true));
    let effects = feed(&mut core, at(3), vec![Input::BeginDrain]);
    let closed =
        effects.iter().find_map(|e| if let Effect::Close { offsets, .. } = e { Some(offsets.clone()) } else { None });
    assert_eq!(closed, Some(vec![(source(0), 0)].into_iter().collect()), "it will be delivered again");
}

#[test]
fn a_command_pauses_its_partition_and_its_end_resumes_it() {
    let mut core = core(&ConsumerConfig::default(), "");
    let selector = Selector::Partition("idle.retry.10s".to_owned(), 0);
    let pause = Command { id: 1, action: Action::Pause, selector, until: at(10).elapsed };
    let commands = Arc::new(CommandSet::new(vec![pause], 1));
    let inputs = vec![
        Input::Assigned { partitions: vec![source(0), source(1)], generation: 1 },
        Input::Commands(commands),
        Input::Record { record: record(0, 0, None), generation: 1 },
        Input::Record { record: record(1, 0, None), generation: 1 },
    ];
    let effects = feed(&mut core, at(1), inputs);
    assert_eq!(tickets(effects).len(), 1);
    assert!(core.progress().any(|(of, progress)| *of == source(0) && progress.waits));
    let effects = feed(&mut core, at(9), vec![Input::Tick]);
    assert!(started(&effects).is_empty());
    let mut effects = feed(&mut core, at(10), vec![Input::Tick]);
    effects.extend(feed(&mut core, at(11), vec![Input::Tick]));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Resume(of) if *of == [source(0)])), "{effects:?}");
    assert_eq!(started(&effects), [0]);
}
