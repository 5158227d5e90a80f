use std::time::{Duration, Instant};

use fleet_tests::rig::Rig;
use rand::{Rng, SeedableRng, rngs::StdRng};

/// About 500 in all.
const DOCUMENTS_PER_SECOND: f64 = 7.0;
/// Undecodable messages, each seen by the three consumers of its topic.
const POISONS: usize = 24;
const POISONED_TOPIC: &str = "documents.uploaded.v1";
/// For so long is sent and killed.
const TURMOIL: Duration = Duration::from_secs(75);
const HEALING: Duration = Duration::from_secs(420);
const POSTGRES_CRASHES: u32 = 2;

/// The promise of the fleet, under SIGKILL of everything of ours, of Kafka and of PostgreSQL: nothing lost, nothing
/// doubled, every poison a dead letter. All other faults: `./dev chaos --all`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_loses_nothing_and_doubles_nothing() {
    let seed = std::env::var("CHAOS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random::<u64>);
    eprintln!("CHAOS_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut rig = Rig::start("chaos", seed).await;

    turmoil(&mut rig, &mut random).await;
    let healed = rig.recovered(HEALING).await;
    eprintln!("healed in {:.1} s", healed.as_secs_f64());
    rig.check().await;
}

/// Sends documents and poison while processes and servers die.
async fn turmoil(rig: &mut Rig, random: &mut StdRng) {
    let began = Instant::now();
    let load = rig.load.start(DOCUMENTS_PER_SECOND);
    let say = |rig: &Rig, victim| {
        eprintln!("{:5.1} s: {} documents sent, {victim} killed", began.elapsed().as_secs_f64(), rig.load.accepted());
    };
    let mut next_crash = Instant::now() + Duration::from_secs(3);
    let mut next_broker_crash = Instant::now() + Duration::from_secs(12);
    let mut postgres_crashes = 0;
    while began.elapsed() < TURMOIL || postgres_crashes < POSTGRES_CRASHES {
        tokio::time::sleep(Duration::from_millis(200)).await;
        rig.fleet.revive();
        if began.elapsed().as_secs_f64() > TURMOIL.as_secs_f64() / POISONS as f64 * rig.poisons.sent() as f64 {
            rig.poison(POISONED_TOPIC).await;
        }
        if Instant::now() >= next_crash {
            let victim = rig.fleet.crash_one(random);
            say(rig, victim);
            next_crash = Instant::now() + Duration::from_millis(random.random_range(1_000..4_000));
        }
        if Instant::now() >= next_broker_crash {
            say(rig, "Kafka");
            crash(rig, "kafka", random).await;
            next_broker_crash = Instant::now() + Duration::from_secs(random.random_range(15..30));
        }
        if postgres_crashes < POSTGRES_CRASHES && began.elapsed() >= TURMOIL / 3 * (postgres_crashes + 1) {
            say(rig, "PostgreSQL");
            crash(rig, "postgres", random).await;
            postgres_crashes += 1;
        }
    }
    while rig.poisons.sent() < POISONS {
        rig.poison(POISONED_TOPIC).await;
    }
    eprintln!("{:5.1} s: {} kills; healing", began.elapsed().as_secs_f64(), rig.fleet.kills());
    load.ended().await;
}

async fn crash(rig: &Rig, server: &str, random: &mut StdRng) {
    rig.fleet.servers.kill(server);
    tokio::time::sleep(Duration::from_millis(random.random_range(200..3_000))).await;
    rig.fleet.servers.start(server);
}
