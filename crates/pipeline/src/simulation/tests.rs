use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use super::{
    bug::{self, Bug},
    seeds,
    world::World,
};

const SEEDS: u64 = 10_000;
/// A planted bug must be found by so many, which takes seconds.
const CAUGHT_WITHIN: u64 = 500;
/// Lines of the trace that a failure prints.
const TRACE_LINES: usize = 250;

const REACHED: &[&str] = &[
    "a drainer is fenced off",
    "a key is parked",
    "a message finds its key free again",
    "a message goes behind its parked key",
    "a parked key becomes dead letters",
    "a parked key is free again",
    "10m",
    "10s",
    "1m",
    "a client goes back",
    "a commit is applied and its answer lost",
    "a commit is lost",
    "a commit of an old member is refused",
    "a commit waited behind a rebalance",
    "a healed world comes to rest",
    "a mark is fenced off",
    "a member misses a rebalance",
    "a member's session ends",
    "a message dies",
    "a message has its outcome already",
    "a partition is paused",
    "a process ends in order",
    "a record that was given up appears",
    "a revocation runs out of time",
    "a settlement fails and each message is settled alone",
    "a settlement waits for an aggregate's lock",
    "an assignment is lost",
    "an event is on its topic again",
    "it is not known whether a settlement took place",
    "many messages are settled at once",
    "a message is abandoned at the end of its process",
    "a partition waits for a schema",
    "an operator commands something",
    "the breaker holds a message",
    "an operator lets fail what the breaker holds",
];

fn world(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    World::new(seed, bug, false).run()
}

/// Runs a seed again and tells its story.
fn story(seed: u64, bug: Option<Bug>) -> String {
    let mut world = World::new(seed, bug, true);
    let ended = world.run();
    let trace = world.trace.unwrap_or_default();
    let last = &trace[trace.len().saturating_sub(TRACE_LINES)..];
    format!("seed {seed}, {:?}\n{}\nseed {seed}: {ended:?}", world.plan, last.join("\n"))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seeds from `from` on that fail, in a thread for each processor.
fn failing(from: u64, count: u64, progress: bool) -> Vec<(u64, String)> {
    let (next, failed) = (AtomicU64::new(0), std::sync::Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth >= count || failed.lock().unwrap().len() >= 5 {
                        return;
                    }
                    let seed = from + nth;
                    let ended =
                        std::panic::catch_unwind(|| world(seed, None)).unwrap_or_else(|_| Err("a panic".into()));
                    if let Err(violation) = ended {
                        failed.lock().unwrap().push((seed, violation));
                    }
                    if progress && nth % 1_000 == 999 {
                        eprintln!("{} of {count} seeds, {:?}", nth + 1, began.elapsed());
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    failed
}

/// `./dev simulate` says how many and from where.
#[test]
fn ten_thousand_worlds_lose_nothing_and_double_nothing() {
    if let Some(seed) = number("SIMULATE_SEED") {
        let told = story(seed, None);
        eprintln!("{told}");
        assert!(told.ends_with("Ok(())"), "seed {seed} fails");
        return;
    }
    let count = number("SIMULATE_SEEDS");
    let from = number("SIMULATE_FROM").unwrap_or(0);
    let failed = failing(from, count.unwrap_or(SEEDS), count.is_some());
    if let Some((seed, _)) = failed.first() {
        eprintln!("{}", story(*seed, None));
    }
    assert!(failed.is_empty(), "./dev simulate --seed SEED tells the story of one: {failed:#?}");
}

#[test]
fn seeds_that_found_a_bug_once_are_green() {
    for (seed, what) in seeds::KEPT {
        assert_eq!(world(*seed, None), Ok(()), "seed {seed}: {what} is back");
    }
}

/// Whatever the simulation is about happens in it, and not once in a hundred years.
#[test]
fn the_worlds_reach_what_they_are_about() {
    let mut reached = std::collections::BTreeMap::<&str, u64>::new();
    for seed in 0..200 {
        let mut world = World::new(seed, None, false);
        assert_eq!(world.run(), Ok(()), "seed {seed}");
        for (what, times) in world.reached {
            *reached.entry(what).or_default() += times;
        }
    }
    eprintln!("{reached:#?}");
    let seldom: Vec<_> = REACHED.iter().filter(|what| reached.get(**what).copied().unwrap_or(0) < 5).collect();
    assert!(seldom.is_empty(), "these hardly happen any more: {seldom:?}");
}

#[test]
fn a_seed_makes_the_same_world_again() {
    for seed in 0..20 {
        assert_eq!(story(seed, None), story(seed, None));
    }
}

/// The check of the checks. The same seeds are green without the bug.
#[test]
fn every_planted_bug_is_caught() {
    for bug in bug::ALL {
        let caught =
            (0..CAUGHT_WITHIN).find_map(|seed| world(seed, Some(bug)).err().map(|violation| (seed, violation)));
        let Some((seed, violation)) = caught else { panic!("{bug:?} is not caught by {CAUGHT_WITHIN} seeds") };
        eprintln!("{bug:?}: caught after {} seeds: {violation}", seed + 1);
        for seed in 0..=seed {
            assert_eq!(world(seed, None), Ok(()), "seed {seed} without {bug:?}");
        }
    }
}
