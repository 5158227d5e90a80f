use std::time::Duration;

use super::random::Random;
use crate::ConsumerConfig;

/// What kind of world a seed makes: small, and each with its own mixture of faults, none among them.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub two_consumers: bool,
    pub members: usize,
    pub relays: usize,
    pub partitions: i32,
    pub aggregates: u64,
    /// All events at once, not evenly over the time of the faults.
    pub bursts: bool,
    pub events: u32,
    pub eager: bool,
    /// The consumers keep the order of a key: what fails parks it.
    pub ordered: bool,
    pub ask_inbox_first: bool,
    /// After that the faults stop.
    pub faults_for: u64,
    /// Heal and demand that everything drains; otherwise end under faults.
    pub liveness: bool,
    pub tick: u64,
    /// Per mille of the occasions.
    pub crashes: u64,
    pub pauses: u64,
    pub deafness: u64,
    pub rebalances: u64,
    pub away: u64,
    pub clock_jumps: u64,
    pub indefinite_commits: u64,
    pub failed_statements: u64,
    pub failed_produces: u64,
    pub failed_offset_commits: u64,
    pub resets: u64,
    pub retention: u64,
    pub slow_work: u64,
    /// How much longer everything takes.
    pub slowness: u64,
    pub messages_max: usize,
    pub bytes_max: usize,
    pub batch_max: usize,
    pub settlers: usize,
    pub commit_interval: u64,
    pub revoke_drain: u64,
}

impl Plan {
    pub fn draw(random: &mut Random) -> Self {
        let mut sometimes = |high: u64| if random.chance(500) { 0 } else { random.between(1, high) };
        let faults = [
            sometimes(300),
            sometimes(300),
            sometimes(300),
            sometimes(400),
            sometimes(200),
            sometimes(200),
            sometimes(300),
            sometimes(200),
            sometimes(300),
            sometimes(400),
            sometimes(100),
            sometimes(300),
            sometimes(100),
        ];
        let [
            crashes,
            pauses,
            deafness,
            rebalances,
            away,
            clock_jumps,
            indefinite_commits,
            failed_statements,
            failed_produces,
            failed_offset_commits,
            resets,
            retention,
            slow_work,
        ] = faults;
        Self {
            two_consumers: random.chance(300),
            members: 2 + random.index(2),
            relays: 1 + random.index(2),
            partitions: 1 + i32::from(random.chance(600)),
            aggregates: random.between(1, 6),
            bursts: random.chance(400),
            events: u32::try_from(random.between(5, 25)).unwrap_or(5),
            eager: random.chance(300),
            ordered: random.chance(350),
            ask_inbox_first: random.chance(500),
            faults_for: random.between(2_000, 8_000),
            liveness: random.chance(750),
            tick: random.between(50, 250),
            crashes,
            pauses,
            deafness,
            rebalances,
            away,
            clock_jumps,
            indefinite_commits,
            failed_statements,
            failed_produces,
            failed_offset_commits,
            resets,
            retention,
            slow_work,
            slowness: if random.chance(200) { random.between(2, 10) } else { 1 },
            messages_max: 1 + random.index(12),
            bytes_max: if random.chance(200) { 60 } else { 1_000_000 },
            batch_max: 1 + random.index(8),
            settlers: 1 + random.index(2),
            commit_interval: random.between(50, 500),
            revoke_drain: random.between(600, 1_500),
        }
    }

    pub fn config(&self) -> ConsumerConfig {
        ConsumerConfig {
            in_flight_messages_max: self.messages_max,
            in_flight_bytes_max: self.bytes_max,
            commit_interval: Duration::from_millis(self.commit_interval),
            revoke_drain: Duration::from_millis(self.revoke_drain),
            shutdown_drain: Duration::from_millis(1_000),
            ..ConsumerConfig::default()
        }
    }
}
