use std::{collections::HashMap, time::Duration};

use rand::{SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use crate::{
    checks::{self, Poisons},
    documents::Document,
    fleet::Fleet,
    load::Load,
    process::docfleet,
    receiver::Receiver,
};

/// All that the outbox still has.
const REPUBLISH: &[&str] = &[
    "relay",
    "republish",
    "--from",
    "1970-01-01T00:00:00Z",
    "--to",
    "2999-01-01T00:00:00Z",
    "--why",
    "a test took records away",
];

/// Everything that a fault is tried on. Good for many faults, for as long as all end well.
pub struct Rig {
    pub fleet: Fleet,
    pub load: Load,
    pub poisons: Poisons,
    pub random: StdRng,
    /// What was not as it must be, though everything recovered.
    pub findings: Vec<String>,
    receiver: Receiver,
    /// Documents that were found to be true after an earlier fault.
    checked: HashMap<String, Document>,
}

impl Rig {
    pub async fn start(state: &'static str, seed: u64) -> Self {
        let fleet = Fleet::start(state).await;
        let receiver = Receiver::default();
        fleet.client.subscribe(&receiver.serve().await).await;
        let load = Load::new(fleet.client.clone());
        let random = StdRng::seed_from_u64(seed);
        Self {
            fleet,
            load,
            poisons: Poisons::default(),
            random,
            findings: Vec::new(),
            receiver,
            checked: HashMap::new(),
        }
    }

    /// The links are well, and everything that is down is started, as an orchestrator does.
    pub fn heal(&mut self) {
        self.fleet.links.clear();
        self.fleet.servers.revive();
        for process in &mut self.fleet.processes {
            process.begin();
        }
    }

    /// Until everything is through and the audit is green; how long that took.
    ///
    /// # Panics
    /// When it is not so within `patience`; with what was missing last.
    pub async fn recovered(&mut self, patience: Duration) -> Duration {
        let began = Instant::now();
        loop {
            self.fleet.revive();
            let Err(missing) = checks::drained(&self.fleet, self.load.accepted()).await else {
                return began.elapsed();
            };
            assert!(began.elapsed() < patience, "not healed in {} s: {missing}", patience.as_secs());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// What the audit does not know: the documents' own truth, the dead letters, the webhooks.
    ///
    /// # Panics
    /// When something is not as it must be.
    pub async fn check(&mut self) {
        let all = self.load.documents();
        let mut new = all.clone();
        new.retain(|id, _| !self.checked.contains_key(id));
        checks::check_documents(&self.fleet, &new, all.len()).await;
        checks::check_contents(&self.fleet, &all).await;
        checks::check_dead_letters(&self.fleet, &self.poisons).await;
        checks::check_webhooks(&self.fleet, &self.receiver, &all).await;
        self.checked = all;
    }

    /// Brings every event of the outbox to its topic again, as an operator does after Kafka has lost some.
    pub async fn republish(&self) {
        let (code, said) = docfleet(&self.fleet.direct, REPUBLISH).await;
        assert_eq!(code, 0, "{said}");
    }

    /// An undecodable message, one of the usual kinds by turns.
    pub async fn poison(&mut self, topic: &'static str) {
        self.poisons.send_usual(&self.fleet, topic).await;
    }
}
