//! Injects, holds under load, heals, waits for the recovery, checks; once for each fault, or for several at once.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    path::Path,
    time::{Duration, Instant},
};

use futures::FutureExt;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{
    fault::{Fault, Nemesis},
    faults,
    record::{Journal, Outcome, Record},
    rig::Rig,
    servers::{OwnServers, root},
};

const STATE: &str = "chaos";
const DOCUMENTS_PER_SECOND: f64 = 12.0;
/// Load before and after the injection proves that the fleet was at work.
const CALM: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(500);
/// Of injection or healing alone. A server that starts on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs faults one after the other on one rig, for as long as they end well.
pub struct Runner {
    seed: u64,
    /// Multiplies the time that a recovery may take: for a machine that is busy with something else.
    patience: u32,
    random: StdRng,
    rig: Option<Rig>,
    journal: Journal,
}

impl Runner {
    pub fn new(seed: u64, patience: u32) -> Self {
        Self { seed, patience, random: StdRng::seed_from_u64(seed), rig: None, journal: Journal::of(STATE) }
    }

    /// One fault alone; its record is in the journal, too.
    pub async fn one(&mut self, nemesis: Box<dyn Nemesis>) -> Record {
        let fault = nemesis.fault();
        self.several(vec![nemesis], fault).await
    }

    /// Some of those that combine, or none, so that a recovery without any is seen, too.
    pub async fn some(&mut self) -> Record {
        let mut all = faults::all();
        all.retain(|nemesis| nemesis.fault().combines);
        let count = self.random.random_range(0..=3);
        let chosen: Vec<&'static str> = {
            let names: Vec<&'static str> = all.iter().map(|nemesis| nemesis.fault().name).collect();
            names.choose_multiple(&mut self.random, count).copied().collect()
        };
        all.retain(|nemesis| chosen.contains(&nemesis.fault().name));
        eprintln!("at once: {chosen:?}");
        let hold = all.iter().map(|nemesis| nemesis.fault().hold).max().unwrap_or(CALM);
        let recovers_within = Duration::from_secs(150);
        let fault = Fault { name: "rotation", what: "several at once", hold, recovers_within, ..Fault::USUAL };
        self.several(all, fault).await
    }

    async fn several(&mut self, nemeses: Vec<Box<dyn Nemesis>>, fault: Fault) -> Record {
        eprintln!("\n=== {} {}: {}", fault.row, fault.name, fault.what);
        let mut record = Record::new(&fault, self.seed);
        let began = Instant::now();
        let ended = AssertUnwindSafe(self.attempt(nemeses, &fault, &mut record)).catch_unwind().await;
        if let Err(panic) = ended {
            let findings = self.rig.as_mut().map(|rig| std::mem::take(&mut rig.findings)).unwrap_or_default();
            let all: Vec<String> = std::iter::once(sentence(&*panic)).chain(findings).collect();
            (record.outcome, record.detail) = (Outcome::Failed, all.join("\n"));
        }
        keep_logs(&record);
        if record.outcome == Outcome::Failed {
            // Nobody knows what it is worth now. The next one gets servers without a past.
            self.rig = None;
            OwnServers::forget(STATE);
        }
        let seconds =
            record.recovered_seconds.map(|seconds| format!(", recovered in {seconds:.1} s")).unwrap_or_default();
        eprintln!(
            "--- {} {}: {:?}{seconds}, {} documents, {:.0} s in all{}{}",
            record.row,
            record.name,
            record.outcome,
            record.documents,
            began.elapsed().as_secs_f64(),
            if record.detail.is_empty() { "" } else { "\n" },
            record.detail
        );
        self.journal.append(&record);
        record
    }

    async fn attempt(&mut self, mut nemeses: Vec<Box<dyn Nemesis>>, fault: &Fault, record: &mut Record) {
        if self.rig.is_none() {
            self.rig = Some(Rig::start(STATE, self.random.random()).await);
        }
        let rig = self.rig.as_mut().unwrap();
        if let Some(why) = nemeses.iter().find_map(|nemesis| nemesis.impossible(rig)) {
            (record.outcome, record.detail) = (Outcome::Impossible, why);
            return;
        }
        let before = rig.load.accepted();
        let load = rig.load.start(DOCUMENTS_PER_SECOND);
        tokio::time::sleep(CALM).await;
        for nemesis in &mut nemeses {
            in_time("the injection", nemesis.inject(rig)).await;
        }
        let began = Instant::now();
        while began.elapsed() < fault.hold {
            rig.fleet.revive();
            for nemesis in &mut nemeses {
                in_time("a step", nemesis.step(rig)).await;
            }
            tokio::time::sleep(STEP).await;
        }
        load.stop();
        for nemesis in nemeses.iter_mut().rev() {
            in_time("the healing", nemesis.heal(rig)).await;
        }
        rig.heal();
        let healed = Instant::now();
        in_time("the last uploads", load.ended()).await;
        rig.recovered(fault.recovers_within * self.patience).await;
        record.recovered_seconds = Some(healed.elapsed().as_secs_f64());
        record.documents = rig.load.accepted() - before;
        rig.check().await;
        let findings = std::mem::take(&mut rig.findings);
        if !findings.is_empty() {
            (record.outcome, record.detail) = (Outcome::Finding, findings.join("\n"));
        }
    }
}

async fn in_time(what: &str, act: impl Future<Output = ()>) {
    let done = tokio::time::timeout(PATIENCE, act).await;
    assert!(done.is_ok(), "{what} took more than {} s", PATIENCE.as_secs());
}

fn sentence(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "a panic".to_owned())
}

/// Of a fault that was not green: the logs of fleet and servers, before the next one writes over them.
fn keep_logs(record: &Record) {
    if matches!(record.outcome, Outcome::Green | Outcome::Impossible) {
        return;
    }
    let state = root().join(".docfleet").join(STATE);
    let kept = state.join("kept").join(format!("{:02}-{}", record.row, record.name));
    std::fs::remove_dir_all(&kept).ok();
    std::fs::create_dir_all(&kept).unwrap();
    let copy = |from: &Path, name: &str| drop(std::fs::copy(from, kept.join(name)));
    for log in std::fs::read_dir(state.join("logs")).into_iter().flatten().flatten() {
        copy(&log.path(), &log.file_name().to_string_lossy());
    }
    for server in OwnServers::NAMES {
        copy(&state.join(server).join("log"), &format!("{server}.log"));
    }
    std::fs::write(kept.join("why"), &record.detail).unwrap();
}
