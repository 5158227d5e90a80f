#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const START: Duration = Duration::from_secs(1_000);
const POISON: Cause = Cause { class: Class::Poison, reason: "undecodable" };
const CRASH: Cause = Cause { class: Class::Transient, reason: "engine-crashed" };

fn tripped(now: Duration) -> Breaker {
    let mut breaker = Breaker::new(BreakerConfig::default());
    let held = (0..20).filter(|_| breaker.judge(now, Turn::Normal, POISON) == Judgement::Hold).count();
    assert_eq!((held, breaker.trips()), (1, 1), "the twentieth trips it and is held");
    breaker
}

/// A consumer over a topic, of which each message says whether it is good at a time.
struct Simulation {
    breaker: Breaker,
    now: Duration,
    held: VecDeque<usize>,
    done: usize,
    settled_failed: usize,
    out: VecDeque<(usize, Turn)>,
}

impl Simulation {
    fn new(config: BreakerConfig) -> Self {
        let breaker = Breaker::new(config);
        let (held, out) = (VecDeque::new(), VecDeque::new());
        Self { breaker, now: START, held, done: 0, settled_failed: 0, out }
    }

    /// Ten milliseconds: starts what may start, up to eight at once, and ends what was started before.
    fn step(&mut self, topic: &mut VecDeque<usize>, is_good: impl Fn(usize) -> bool) {
        self.now += Duration::from_millis(10);
        for (message, turn) in std::mem::take(&mut self.out) {
            if is_good(message) {
                self.breaker.succeeded(self.now, turn, 1);
                self.done += 1;
            } else {
                match self.breaker.judge(self.now, turn, POISON) {
                    Judgement::Settle => self.settled_failed += 1,
                    Judgement::Hold => self.held.push_back(message),
                }
            }
        }
        while self.out.len() < 8 {
            let (message, turn) = match self.breaker.start(self.now, !topic.is_empty(), self.held.len()) {
                None => return,
                Some(Start::Fresh(turn)) => (topic.pop_front(), turn),
                Some(Start::Held(turn)) => (self.held.pop_front(), turn),
            };
            self.out.push_back((message.expect("it was told that there is one"), turn));
        }
    }
}

/// So many of a hundred, at random (splitmix64).
fn share(message: usize, percent: u64, seed: u64) -> bool {
    let mut z = (message as u64).wrapping_add(seed << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) % 100 < percent
}

#[test]
fn a_poison_storm_fills_no_dead_letter_topic_and_lets_good_messages_through() {
    for seed in 0..5 {
        let config = BreakerConfig::default();
        let died_max = config.failures_min + config.window_messages;
        let mut topic: VecDeque<usize> = (0..100_000).collect();
        let mut simulation = Simulation::new(config);
        // An hour.
        for _ in 0..360_000 {
            simulation.step(&mut topic, |message| !share(message, 30, seed));
        }
        assert!(simulation.breaker.trips() >= 1);
        assert!(simulation.settled_failed <= died_max, "{} died", simulation.settled_failed);
        assert!(simulation.done > 100, "one by one good ones pass: {}", simulation.done);
        assert!(simulation.held.len() < 600, "{} are held", simulation.held.len());
    }
}

#[test]
fn after_a_bad_deployment_is_rolled_back_everything_is_done_and_almost_nothing_died() {
    let mut topic: VecDeque<usize> = (0..5_000).collect();
    let mut simulation = Simulation::new(BreakerConfig::default());
    for _ in 0..60_000 {
        simulation.step(&mut topic, |_| false);
    }
    assert_eq!(simulation.settled_failed, 19, "ten minutes of nothing but failures");
    for _ in 0..60_000 {
        simulation.step(&mut topic, |_| true);
    }
    assert_eq!((simulation.done, simulation.settled_failed), (5_000 - 19, 19));
    assert!(simulation.breaker.open().is_none() && topic.is_empty() && simulation.held.is_empty());
}

#[test]
fn when_the_bad_producer_is_mended_the_bad_messages_die_and_the_rest_flows() {
    let mut topic: VecDeque<usize> = (0..3_000).collect();
    let mut simulation = Simulation::new(BreakerConfig::default());
    let is_good = |message: usize| message >= 200 || !share(message, 50, 0);
    for _ in 0..1_000_000 {
        simulation.step(&mut topic, is_good);
    }
    let bad = (0..3_000).filter(|message| !is_good(*message)).count();
    assert_eq!((simulation.settled_failed, simulation.done), (bad, 3_000 - bad));
    assert!(simulation.breaker.open().is_none() && simulation.held.is_empty());
}

#[test]
fn a_storm_of_many_reasons_trips_it_and_its_bound_is_that_of_the_class() {
    let mut breaker = Breaker::new(BreakerConfig::default());
    let reasons = ["not-framed", "empty-payload", "undecodable", "oversized", "unexpected-event"];
    let died = (0..600)
        .filter(|nth| {
            breaker.succeeded(START, Turn::Normal, 1);
            let cause = Cause { class: Class::Poison, reason: reasons[nth % reasons.len()] };
            breaker.judge(START, Turn::Normal, cause) == Judgement::Settle
        })
        .count();
    assert_eq!((died, breaker.trips()), (19, 1));
}

/// A healed server, and a topic that has fallen silent.
#[test]
fn without_fresh_messages_the_held_ones_find_out_that_all_is_well_and_close_it() {
    let mut topic: VecDeque<usize> = (0..50).collect();
    let mut simulation = Simulation::new(BreakerConfig::default());
    for _ in 0..360_000 {
        simulation.step(&mut topic, |_| false);
    }
    assert_eq!((simulation.settled_failed, topic.len()), (19, 0), "the rest is held");
    for _ in 0..6_100 {
        simulation.step(&mut topic, |_| true);
    }
    assert_eq!((simulation.done, simulation.settled_failed, simulation.held.len()), (31, 19, 0));
    assert!(simulation.breaker.open().is_none());
}

/// They would wait for hours if each that fails made the next one's pause longer.
#[test]
fn each_held_message_has_its_turn_before_the_pauses_grow() {
    let mut topic: VecDeque<usize> = (0..27).collect();
    let mut simulation = Simulation::new(BreakerConfig::default());
    while !topic.is_empty() {
        simulation.step(&mut topic, |_| false);
    }
    for _ in 0..2_000 {
        simulation.step(&mut topic, |message| message == 20 || message == 26);
    }
    assert_eq!((simulation.done, simulation.settled_failed), (2, 19), "within twenty seconds");
    assert!(simulation.breaker.open().is_some(), "what fails alike stays held");
}

#[test]
fn when_nothing_is_held_and_nothing_comes_it_closes_and_what_follows_is_bounded_anew() {
    let mut breaker = tripped(START);
    assert!(!breaker.rest(START + Duration::from_secs(59)));
    assert!(breaker.rest(START + Duration::from_secs(60)) && breaker.open().is_none());
    assert!(!breaker.rest(START + Duration::from_secs(600)), "it is closed");
    let now = START + Duration::from_secs(61);
    let died = (0..50).filter(|_| breaker.judge(now, Turn::Normal, POISON) == Judgement::Settle).count();
    assert_eq!((died, breaker.trips(), breaker.required), (19, 2, 40), "it closed in vain");
}

#[test]
fn few_failures_and_mixed_ones_do_not_trip_it() {
    let now = START;
    let mut breaker = Breaker::new(BreakerConfig::default());
    for nth in 0..2_000 {
        let at = now + Duration::from_millis(nth);
        match nth % 10 {
            0 => assert_eq!(breaker.judge(at, Turn::Normal, POISON), Judgement::Settle),
            1 => assert_eq!(breaker.judge(at, Turn::Normal, CRASH), Judgement::Settle),
            _ => assert!(!breaker.succeeded(at, Turn::Normal, 1)),
        }
    }
    let mut breaker = Breaker::new(BreakerConfig::default());
    for nth in 0..1_000 {
        let rare = now + Duration::from_secs(5 * nth);
        assert_eq!(breaker.judge(rare, Turn::Normal, POISON), Judgement::Settle, "twelve a minute, and nothing else");
    }
    assert_eq!(breaker.trips(), 0);
}

/// When the next message is let in, in seconds from `now`, and by which turn.
fn next(breaker: &mut Breaker, now: &mut Duration, fresh: bool, held: usize) -> (u64, Start) {
    let asked = *now;
    loop {
        if let Some(start) = breaker.start(*now, fresh, held) {
            let much_later = *now + Duration::from_secs(900);
            assert_eq!(breaker.start(much_later, true, 9), None, "one at a time");
            return ((*now - asked).as_secs(), start);
        }
        *now += Duration::from_millis(500);
    }
}

#[test]
fn while_it_is_open_one_message_at_a_time_is_let_in_at_growing_intervals() {
    let mut now = START;
    let mut breaker = tripped(now);
    assert_eq!(breaker.start(now, true, 5), None, "not at once");
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(next(&mut breaker, &mut now, true, 0), (expected, Start::Fresh(Turn::Probe)));
        assert_eq!(breaker.judge(now, Turn::Probe, POISON), Judgement::Hold);
    }
    let mut breaker = tripped(now);
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(next(&mut breaker, &mut now, false, 1), (expected, Start::Held(Turn::Retest)));
        assert_eq!(breaker.judge(now, Turn::Retest, POISON), Judgement::Hold);
    }
    assert_eq!(next(&mut breaker, &mut now, true, 1), (0, Start::Fresh(Turn::Probe)), "each has a pace of its own");
    assert!(!breaker.succeeded(now, Turn::Probe, 1));
    assert_eq!(next(&mut breaker, &mut now, true, 200), (0, Start::Fresh(Turn::Probe)), "after a success at once");
    assert_eq!(breaker.judge(now, Turn::Probe, POISON), Judgement::Hold);
    let (seconds, _) = next(&mut breaker, &mut now, true, 0);
    assert_eq!(seconds, 11, "the more are held, the longer");
}

#[test]
fn one_that_closed_in_vain_asks_for_more_the_next_time() {
    let mut now = START;
    let mut breaker = tripped(now);
    let mut asked = Vec::new();
    for _ in 0..5 {
        let mut successes = 0;
        loop {
            successes += 1;
            let (_, start) = next(&mut breaker, &mut now, true, 0);
            assert_eq!(start, Start::Fresh(Turn::Probe));
            if breaker.succeeded(now, Turn::Probe, 1) {
                break;
            }
        }
        asked.push(successes);
        while breaker.judge(now, Turn::Normal, POISON) == Judgement::Settle {}
    }
    assert_eq!(asked, [20, 40, 80, 160, 160]);
}

#[test]
fn what_was_out_when_it_tripped_is_held_too_and_does_not_close_it() {
    let now = START;
    let mut breaker = tripped(now);
    assert_eq!(breaker.judge(now, Turn::Normal, POISON), Judgement::Hold);
    assert_eq!(breaker.judge(now, Turn::Normal, CRASH), Judgement::Hold);
    assert!(!breaker.succeeded(now, Turn::Normal, 1_000));
    assert!(breaker.open().is_some_and(|open| open.successes == 0 && open.cause == POISON));
}

#[test]
fn a_probe_that_is_withdrawn_makes_room_for_the_next() {
    let now = START;
    let mut breaker = tripped(now);
    let later = now + Duration::from_secs(1);
    assert_eq!(breaker.start(later, true, 0), Some(Start::Fresh(Turn::Probe)));
    assert_eq!(breaker.start(later, true, 0), None);
    breaker.gave_up(Turn::Probe);
    assert_eq!(breaker.start(later, false, 1), Some(Start::Held(Turn::Retest)));
}

#[test]
fn what_was_held_dies_no_faster_than_others_succeed() {
    let now = START;
    let mut breaker = tripped(now);
    let later = now + Duration::from_secs(1);
    for nth in 1..=20 {
        assert_eq!(breaker.start(later, true, 0), Some(Start::Fresh(Turn::Probe)));
        assert_eq!(breaker.succeeded(later, Turn::Probe, 1), nth == 20);
    }
    assert_eq!(breaker.start(later, false, 1), None, "nothing has succeeded since it closed");
    breaker.succeeded(later, Turn::Normal, 2);
    let seconds = (0..5).filter(|_| breaker.start(later, false, 1).is_some()).count();
    assert_eq!(seconds, 2);
    assert_eq!(breaker.judge(later, Turn::Second, POISON), Judgement::Settle);
    let much_later = later + Duration::from_secs(60);
    assert_eq!(breaker.start(much_later, false, 1), Some(Start::Held(Turn::Second)), "nothing else comes");
    assert_eq!(breaker.start(much_later, false, 1), None);
}

#[test]
fn an_operator_overrides_it_and_it_can_be_switched_off() {
    let now = START;
    let mut breaker = tripped(now);
    assert!(breaker.let_fail(true));
    assert!(breaker.open().is_none());
    assert_eq!(breaker.start(now, true, 1), Some(Start::Held(Turn::Second)));
    assert_eq!(breaker.start(now, true, 0), Some(Start::Fresh(Turn::Normal)));
    assert!((0..500).all(|_| breaker.judge(now, Turn::Normal, POISON) == Judgement::Settle));
    assert!(!breaker.let_fail(false));
    assert!((0..19).all(|_| breaker.judge(now, Turn::Normal, POISON) == Judgement::Settle), "it begins anew");
    assert_eq!(breaker.judge(now, Turn::Normal, POISON), Judgement::Hold);
    let mut off = Breaker::new(BreakerConfig { enabled: false, ..BreakerConfig::default() });
    assert!((0..500).all(|_| off.judge(now, Turn::Normal, POISON) == Judgement::Settle));
}

proptest! {
    /// Whatever comes: of any `window_messages` outcomes in a row no more than `failures_min` or the allowed share die of
    /// one reason before it opens, and the numbers in the window are right.
    #[test]
    fn no_storm_gets_more_than_its_share_past_a_closed_breaker(
        outcomes in prop::collection::vec((any::<bool>(), 0_u64..300), 1..800),
        window_messages in 1_usize..100, failures_min in 1_usize..30, failures_percent in 0_u32..100,
    ) {
        let config = BreakerConfig { window_messages, failures_min, failures_percent, ..BreakerConfig::default() };
        let mut breaker = Breaker::new(config);
        let mut now = START;
        let mut run: VecDeque<bool> = VecDeque::new();
        for (good, wait_ms) in outcomes {
            now += Duration::from_millis(wait_ms);
            if good {
                breaker.succeeded(now, Turn::Normal, 1);
            } else if breaker.judge(now, Turn::Normal, POISON) == Judgement::Hold {
                prop_assert!(breaker.open().is_some());
                break;
            }
            run.push_back(good);
            if run.len() > window_messages {
                run.pop_front();
            }
            let died = run.iter().filter(|good| !**good).count();
            // Old ones leave the window by age as well, so the share is of what is left of it.
            let by_share = window_messages * failures_percent as usize / 100;
            let aged = run.len() > breaker.window.total;
            prop_assert!(aged || died <= failures_min.max(by_share + 1), "{died} of {}", run.len());
            let counted: usize = breaker.window.entries.iter().map(|entry| entry.count).sum();
            prop_assert_eq!(counted, breaker.window.total);
            prop_assert!(breaker.window.total <= window_messages);
        }
    }
}
