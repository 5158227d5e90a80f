#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;
use crate::{
    Class,
    gate::{Action, BreakerConfig, Cause, Command, Judgement, Selector},
};

const START: Duration = Duration::from_secs(1_000);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    tenant: String,
    number: usize,
}

impl Placed for Item {
    fn place(&self) -> Place<'_> {
        let partition = i32::try_from(self.number % 2).unwrap();
        Place { topic: "t", partition, tenant: &self.tenant, key: None }
    }

    fn cost(&self) -> u32 {
        1
    }
}

fn item(tenant: &str, number: usize) -> Item {
    Item { tenant: tenant.into(), number }
}

fn gate(cap: usize) -> Admission<Item> {
    Admission::new(Signals::new("test", BreakerConfig::default(), cap, cap))
}

fn set(now: Duration, commands: &[(CommandId, Action, Selector)]) -> Arc<CommandSet> {
    let command = |(id, action, selector): &(CommandId, Action, Selector)| {
        let until = now + Duration::from_secs(60);
        Command { id: *id, action: *action, selector: selector.clone(), until }
    };
    Arc::new(CommandSet::new(commands.iter().map(command).collect(), 1))
}

fn start_all(gate: &mut Admission<Item>, now: Duration) -> Vec<Admitted<Item>> {
    std::iter::from_fn(|| gate.start(now)).collect()
}

fn numbers(started: &[Admitted<Item>]) -> Vec<usize> {
    started.iter().map(|admitted| admitted.item.number).collect()
}

fn tenant(name: &str) -> Selector {
    Selector::Tenant(name.into())
}

#[test]
fn a_paused_tenant_waits_and_the_others_pass_it_until_the_pause_ends() {
    let now = START;
    let mut gate = gate(100);
    gate.obey(now, set(now, &[(1, Action::Pause, tenant("acme"))]));
    (0..10).for_each(|n| gate.push(item(if n < 5 { "acme" } else { "globex" }, n)));
    assert_eq!(numbers(&start_all(&mut gate, now)), [5, 6, 7, 8, 9]);
    assert_eq!(gate.here(), [0, 5, 0]);
    assert!(gate.waiting().all(|(item, phase)| item.number < 5 && phase == Phase::Commanded { command: 1 }));
    gate.tick(now + Duration::from_secs(59));
    assert_eq!(start_all(&mut gate, now), []);
    let over = now + Duration::from_secs(60);
    gate.tick(over);
    assert_eq!(numbers(&start_all(&mut gate, over)), [0, 1, 2, 3, 4]);
    assert_eq!(gate.here(), [0, 0, 0]);
}

#[test]
fn a_drain_tells_how_much_is_out_that_was_started_before_it() {
    let now = START;
    let mut gate = gate(100);
    (0..3).for_each(|n| gate.push(item("acme", n)));
    let before = start_all(&mut gate, now);
    gate.obey(now, set(now, &[(1, Action::Drain, tenant("acme"))]));
    gate.push(item("globex", 7));
    let after = start_all(&mut gate, now);
    assert_eq!((numbers(&after), gate.obeyed()), (vec![7], BTreeMap::from([(1, 3)])));
    before.iter().for_each(|admitted| gate.finished(admitted.generation));
    assert_eq!(gate.obeyed(), BTreeMap::from([(1, 0)]), "drained, whatever of others is out");
    assert_eq!(gate.running(), 1);
    gate.obey(now, set(now, &[]));
    assert_eq!(gate.obeyed(), BTreeMap::new());
}

#[test]
fn a_throttle_lets_its_rate_through_and_never_a_burst() {
    let start = START;
    let mut gate = gate(1_000);
    gate.obey(start, set(start, &[(1, Action::Throttle { per_second: 10.0 }, tenant("acme"))]));
    (0..500).for_each(|n| gate.push(item("acme", n)));
    let mut by_tick = Vec::new();
    for tick in 0..200 {
        let now = start + Duration::from_millis(50 * tick);
        gate.tick(now);
        by_tick.push(start_all(&mut gate, now).len());
    }
    let total: usize = by_tick.iter().sum();
    assert!((95..=101).contains(&total), "{total} in 10 s");
    assert!(by_tick.windows(20).all(|second| second.iter().sum::<usize>() <= 20));
    gate.push(item("globex", 999));
    assert_eq!(numbers(&start_all(&mut gate, start)), [999], "others are not throttled");
}

#[test]
fn under_an_open_breaker_throttled_messages_do_not_gather_for_a_burst() {
    let start = START;
    let mut gate = gate(1_000);
    let cause = Cause { class: Class::Poison, reason: "x" };
    while gate.signals.judge(start, Turn::Normal, cause) == Judgement::Settle {}
    gate.obey(start, set(start, &[(1, Action::Throttle { per_second: 10.0 }, Selector::All)]));
    (0..500).for_each(|n| gate.push(item("acme", n)));
    let probe = gate.start(start + Duration::from_secs(1));
    assert!(probe.is_none(), "no token yet: the tick gives them");
    for tick in 0..1_000 {
        gate.tick(start + Duration::from_millis(50 * tick));
    }
    assert!(gate.granted.len() <= 10);
}

#[test]
fn what_failed_is_held_and_goes_first_when_it_is_let() {
    let now = START;
    let mut gate = gate(100);
    gate.push(item("acme", 1));
    let out = gate.start(now).unwrap();
    gate.hold(out.generation, "undecodable", out.item);
    assert_eq!((gate.running(), gate.here()), (0, [0, 0, 1]));
    gate.push(item("acme", 2));
    let started = start_all(&mut gate, now);
    assert_eq!(
        started.iter().map(|a| (a.item.number, a.turn)).collect::<Vec<_>>(),
        [(1, Turn::Second), (2, Turn::Normal)]
    );
    let held = item("acme", 3);
    gate.push(held);
    let out = gate.start(now).unwrap();
    gate.hold(out.generation, "undecodable", out.item);
    gate.obey(now, set(now, &[(1, Action::Pause, tenant("acme"))]));
    let later = now + Duration::from_secs(59);
    assert_eq!(start_all(&mut gate, later), [], "a pause holds what the breaker held, too");
}

#[test]
fn no_more_are_out_than_the_ramp_allows() {
    let now = START;
    let mut gate = Admission::new(Signals::new("test", BreakerConfig::default(), 2, 8));
    (0..20).for_each(|n| gate.push(item("acme", n)));
    let first = start_all(&mut gate, now);
    assert_eq!(first.len(), 2);
    first.iter().for_each(|admitted| gate.finished(admitted.generation));
    gate.signals.succeeded(now, Turn::Normal, 2);
    assert_eq!(start_all(&mut gate, now).len(), 4);
    gate.signals.unavailable(now);
    assert_eq!(gate.start(now), None);
}

#[test]
fn a_tenant_with_a_flood_does_not_delay_a_small_one() {
    let now = START;
    let mut gate = gate(10);
    (0..1_000).for_each(|n| gate.push(item("flood", n)));
    let mut out = start_all(&mut gate, now);
    (0..5).for_each(|n| gate.push(item("small", 5_000 + n)));
    let mut passed = 0;
    while gate.ready.withdraw(|_| false).is_empty() && passed < 50 && out.iter().all(|a| a.item.number != 5_004) {
        let first = out.remove(0);
        gate.finished(first.generation);
        passed += 1;
        out.extend(start_all(&mut gate, now));
    }
    assert!(passed < 30, "{passed} of the flood went before");
}

proptest! {
    /// Whatever is commanded, withdrawn and finished in between: each message starts once or is withdrawn once, and in the
    /// end, without commands, nothing is left.
    #[test]
    fn nothing_is_lost_and_nothing_starts_twice(
        steps in prop::collection::vec((0_u8..7, 0_u8..3), 1..300),
    ) {
        let mut now = START;
        let mut gate = gate(4);
        let (mut pushed, mut seen, mut out) = (0_usize, Vec::new(), VecDeque::new());
        for (step, value) in steps {
            now += Duration::from_millis(50);
            let name = value.to_string();
            match step {
                0 | 1 => { gate.push(item(&name, pushed)); pushed += 1; }
                2 => gate.obey(now, set(now, &[(1, Action::Pause, tenant(&name))])),
                3 => gate.obey(now, set(now, &[(2, Action::Throttle { per_second: 5.0 }, tenant(&name))])),
                4 => gate.obey(now, set(now, &[])),
                5 => seen.extend(gate.withdraw(|item| item.place().partition == 1).into_iter().map(|item| item.number)),
                _ => if let Some(done) = out.pop_front() {
                    let done: Admitted<Item> = done;
                    seen.push(done.item.number);
                    gate.finished(done.generation);
                },
            }
            gate.tick(now);
            out.extend(start_all(&mut gate, now));
            prop_assert!(gate.running() == out.len() && out.len() <= 4);
        }
        gate.obey(now, set(now, &[]));
        loop {
            out.extend(start_all(&mut gate, now));
            let Some(done) = out.pop_front() else { break };
            seen.push(done.item.number);
            gate.finished(done.generation);
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..pushed).collect::<Vec<_>>());
        prop_assert_eq!((gate.here(), gate.running(), gate.out.len()), ([0, 0, 0], 0, 0));
    }
}

/// The whole gate as a driver uses it: a budget, settlements in batches, a third of the messages bad, each tenant's alike.
#[test]
fn a_poison_storm_behind_the_gate_stops_short_of_the_dead_letter_topic_and_nothing_is_lost() {
    const BUDGET: usize = 1_024;
    let cause = Cause { class: Class::Poison, reason: "undecodable" };
    let mut gate = Admission::new(Signals::new("test", BreakerConfig::default(), 8, 512));
    let is_bad = |number: usize| number % 10 < 3;
    let (mut next, mut done, mut dead) = (0, 0, 0);
    let mut out: Vec<Admitted<Item>> = Vec::new();
    for step in 0..36_000 {
        let now = START + Duration::from_millis(50 * step);
        for admitted in std::mem::take(&mut out) {
            if !is_bad(admitted.item.number) {
                gate.finished(admitted.generation);
                gate.signals.succeeded(now, admitted.turn, 1);
                done += 1;
            } else if gate.signals.judge(now, admitted.turn, cause) == Judgement::Hold {
                gate.hold(admitted.generation, cause.reason, admitted.item);
            } else {
                gate.finished(admitted.generation);
                dead += 1;
            }
        }
        while gate.here().iter().sum::<usize>() + gate.running() < BUDGET && next < 100_000 {
            gate.push(item(&(next % 7).to_string(), next));
            next += 1;
        }
        gate.tick(now);
        out = start_all(&mut gate, now);
    }
    let (open, trips, _) = gate.signals.look();
    assert!(open.is_some() && trips == 1);
    assert!(dead <= 20, "{dead} of {next} died in half an hour");
    assert!(done > 300, "good ones trickle through: {done}");
    assert_eq!(done + dead + out.len() + gate.here().iter().sum::<usize>(), next);
    gate.obey(START, set(START + Duration::from_secs(1_800), &[(1, Action::LetFail, Selector::All)]));
    let now = START + Duration::from_secs(1_810);
    gate.tick(now);
    let first = start_all(&mut gate, now);
    assert!(first.iter().any(|admitted| admitted.turn == Turn::Second), "an operator lets the held ones go");
    assert!(first.iter().all(|admitted| gate.signals.judge(now, admitted.turn, cause) == Judgement::Settle));
}
