use std::time::{Duration, Instant};

use fleet_tests::rig::Rig;
use rand::{Rng, SeedableRng, rngs::StdRng};

const DOCUMENTS: usize = 500;
/// Undecodable messages, each seen by the three consumers of its topic.
const POISONS: usize = 24;
const POISONED_TOPIC: &str = "documents.uploaded.v1";
/// At least so long is killed, also when the documents are through before.
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
    let mut next_crash = Instant::now() + Duration::from_secs(3);
    let mut next_broker_crash = Instant::now() + Duration::from_secs(12);
    let mut postgres_crashes = 0;
    while rig.load.accepted() < DOCUMENTS || began.elapsed() < TURMOIL {
        if rig.load.accepted() < DOCUMENTS {
            rig.load.upload_next().await;
            if rig.load.accepted().is_multiple_of(DOCUMENTS / POISONS) && rig.poisons.sent() < POISONS {
                rig.poison(POISONED_TOPIC).await;
            }
        } else {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        rig.fleet.revive();
        let say = |victim| {
            eprintln!(
                "{:5.1} s: {} documents sent, {victim} killed",
                began.elapsed().as_secs_f64(),
                rig.load.accepted()
            )
        };
        if Instant::now() >= next_crash {
            say(rig.fleet.crash_one(random));
            next_crash = Instant::now() + Duration::from_millis(random.random_range(1_000..4_000));
        }
        if Instant::now() >= next_broker_crash && began.elapsed() < TURMOIL {
            say("Kafka");
            crash(rig, "kafka", random).await;
            next_broker_crash = Instant::now() + Duration::from_secs(random.random_range(15..30));
        }
        if began.elapsed() >= TURMOIL / 3 * (postgres_crashes + 1) && postgres_crashes < POSTGRES_CRASHES {
            say("PostgreSQL");
            crash(rig, "postgres", random).await;
            postgres_crashes += 1;
        }
    }
    while rig.poisons.sent() < POISONS {
        rig.poison(POISONED_TOPIC).await;
    }
    eprintln!("{:5.1} s: {} kills; healing", began.elapsed().as_secs_f64(), rig.fleet.kills());
}

async fn crash(rig: &Rig, server: &str, random: &mut StdRng) {
    rig.fleet.servers.kill(server);
    tokio::time::sleep(Duration::from_millis(random.random_range(200..3_000))).await;
    rig.fleet.servers.start(server);
}
