//! Faults exactly between two steps of a protocol, seen by the links.

use std::{collections::HashSet, time::Duration};

use docfleet_testkit::proxy::{Caught, Moment, Proxy, Sight, Trap};
use tokio::sync::mpsc;

use crate::{
    fault::{Act, Fault, Nemesis},
    rig::Rig,
};

const PRODUCE: Sight = Sight::Kafka(0);
const OFFSET_COMMIT: Sight = Sight::Kafka(8);
/// What a worker was about to do, or had done without knowing it. The victims take turns, as they need time to come back.
const STEPS: [(Sight, Moment); 6] = [
    (Sight::Commit, Moment::Before),
    (PRODUCE, Moment::Before),
    (OFFSET_COMMIT, Moment::Before),
    (Sight::Commit, Moment::After),
    (PRODUCE, Moment::After),
    (OFFSET_COMMIT, Moment::After),
];
/// Half seconds until a trap that nobody fell into is laid anew: its connection may have ended by itself.
const TRAP_HOLDS: u32 = 10;

/// Kills whoever stands at a step.
#[derive(Default)]
struct Killer {
    caught: Option<mpsc::UnboundedReceiver<Caught>>,
}

impl Killer {
    fn lay(&mut self, link: &Proxy, (sight, moment): (Sight, Moment)) {
        let (tell, caught) = mpsc::unbounded_channel();
        self.caught = Some(caught);
        link.lay(Trap { sight, moment, left: 1, tell: Some(tell) });
    }

    /// Whether somebody was killed.
    fn kill(&mut self, rig: &mut Rig) -> bool {
        let Some(Ok(caught)) = self.caught.as_mut().map(mpsc::UnboundedReceiver::try_recv) else { return false };
        let owner = rig.fleet.processes.iter_mut().find(|process| process.holds_port(caught.client.port()));
        let killed = owner.is_some();
        match owner {
            Some(process) => {
                eprintln!("  {} died", process.name);
                process.crash();
            }
            None => eprintln!("  nobody holds port {}", caught.client.port()),
        }
        // Only now may the connection end.
        caught.go.send(()).ok();
        killed
    }
}

#[derive(Default)]
pub struct KillAtSteps {
    killer: Killer,
    next: usize,
    waited: u32,
    killed: HashSet<usize>,
}

impl KillAtSteps {
    fn lay_next(&mut self, rig: &Rig) {
        self.next = (self.next + 1) % STEPS.len();
        self.waited = 0;
        let step = STEPS[self.next];
        let link = if step.0 == Sight::Commit { &rig.fleet.links.postgres } else { &rig.fleet.links.kafka };
        rig.fleet.links.clear();
        self.killer.lay(link, step);
    }
}

impl Nemesis for KillAtSteps {
    fn fault(&self) -> Fault {
        Fault {
            row: 2,
            name: "kill-at-steps",
            what: "SIGKILL exactly between two steps",
            how: "a link sees COMMIT, Produce or OffsetCommit and holds it, or its answer, until the sender is dead; by turns",
            expects: "nothing lost, nothing doubled, at every step",
            hold: Duration::from_secs(40),
            combines: false,
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { self.lay_next(rig) })
    }

    fn step<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            let killed = self.killer.kill(rig);
            if killed {
                self.killed.insert(self.next);
            }
            self.waited += 1;
            if killed || self.waited > TRAP_HOLDS {
                self.lay_next(rig);
            }
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            rig.fleet.links.clear();
            self.killer.kill(rig);
            assert_eq!(self.killed.len(), STEPS.len(), "somebody died at each of the {STEPS:?}");
        })
    }
}

pub struct LoseCommits;

impl Nemesis for LoseCommits {
    fn fault(&self) -> Fault {
        Fault {
            row: 12,
            name: "lose-commits",
            what: "COMMIT was done, and its answer is lost",
            how: "the link cuts after PostgreSQL has answered, four times in each half second",
            expects: "each is asked for by its key, and its effect happens once",
            ..Fault::USUAL
        }
    }

    fn step<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            rig.fleet.links.postgres.lay(Trap { sight: Sight::Commit, moment: Moment::After, left: 4, tell: None });
        })
    }
}

#[derive(Default)]
pub struct KillAtDeadLetters {
    killer: Killer,
    waited: u32,
    kills: u32,
}

impl Nemesis for KillAtDeadLetters {
    fn fault(&self) -> Fault {
        Fault {
            row: 34,
            name: "kill-at-dead-letters",
            what: "SIGKILL between a dead letter's acknowledgement and its mark",
            how: "undecodable messages come, and a relay dies whenever Kafka has answered and it does not know yet",
            expects: "a dead letter may lie on its topic twice, and counts once",
            combines: false,
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { self.killer.lay(&rig.fleet.links.kafka, (PRODUCE, Moment::After)) })
    }

    fn step<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            rig.poison("documents.uploaded.v1").await;
            let killed = self.killer.kill(rig);
            self.kills += u32::from(killed);
            self.waited += 1;
            if killed || self.waited > TRAP_HOLDS {
                self.waited = 0;
                self.killer.lay(&rig.fleet.links.kafka, (PRODUCE, Moment::After));
            }
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            rig.fleet.links.clear();
            self.killer.kill(rig);
            assert!(self.kills > 0, "{} relays died there", self.kills);
        })
    }
}
