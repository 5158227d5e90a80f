//! What happens to processes of ours.

use std::{path::PathBuf, time::Duration};

use nix::sys::signal::Signal;
use rand::Rng;

use crate::{
    fault::{Act, Fault, Nemesis},
    fleet::{CONSUMERS, RELAY},
    rig::Rig,
};

/// Above the drain of 25 s and the hard end 8 s later.
const ORDERLY_END: Duration = Duration::from_secs(34);

#[derive(Default)]
pub struct KillWorkers {
    kills: u32,
}

impl Nemesis for KillWorkers {
    fn fault(&self) -> Fault {
        Fault {
            row: 1,
            name: "kill-workers",
            what: "SIGKILL at random, each worker",
            how: "one process after the other, two a second, each started again at once",
            expects: "nothing lost, nothing doubled",
            hold: Duration::from_secs(20),
            ..Fault::USUAL
        }
    }

    fn step<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            let up: Vec<usize> =
                (0..rig.fleet.processes.len()).filter(|n| !rig.fleet.processes[*n].is_down()).collect();
            if !up.is_empty() {
                rig.fleet.processes[up[rig.random.random_range(0..up.len())]].crash();
                self.kills += 1;
            }
        })
    }

    fn heal<'a>(&'a mut self, _rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { eprintln!("  {} kills", self.kills) })
    }
}

pub struct StopRelay;

impl Nemesis for StopRelay {
    fn fault(&self) -> Fault {
        Fault {
            row: 3,
            name: "stop-relay",
            what: "a relay is frozen for longer than its lease and comes back",
            how: "SIGSTOP for 12 s, the lease is 4 s; SIGCONT",
            expects: "the other relay takes over; marks of the frozen one are fenced; the order holds",
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { rig.fleet.of(RELAY).next().unwrap().signal(Signal::SIGSTOP) })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { rig.fleet.of(RELAY).next().unwrap().signal(Signal::SIGCONT) })
    }
}

pub struct StopConsumers;

impl Nemesis for StopConsumers {
    fn fault(&self) -> Fault {
        Fault {
            row: 4,
            name: "stop-consumers",
            what: "a member of each group is frozen for longer than its session and comes back",
            how: "SIGSTOP of one of each worker for 14 s, the session is 6 s; SIGCONT",
            expects: "its partitions move; what it finishes afterwards neither commits nor has a second effect",
            hold: Duration::from_secs(14),
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            for name in CONSUMERS {
                rig.fleet.of(name).next().unwrap().signal(Signal::SIGSTOP);
            }
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            for name in CONSUMERS {
                rig.fleet.of(name).next().unwrap().signal(Signal::SIGCONT);
            }
        })
    }
}

#[derive(Default)]
pub struct Terminate {
    next: usize,
}

impl Nemesis for Terminate {
    fn fault(&self) -> Fault {
        Fault {
            row: 5,
            name: "terminate",
            what: "SIGTERM under load, each process",
            how: "one after the other, each started again when it has ended",
            expects: "each ends by itself with code 0, within 34 s",
            hold: Duration::from_secs(25),
            combines: false,
            ..Fault::USUAL
        }
    }

    fn step<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            // The API ends last: without it there is no load.
            let count = rig.fleet.processes.len();
            self.next = (self.next + 1) % count;
            let process = &mut rig.fleet.processes[self.next];
            match process.terminate(ORDERLY_END).await {
                Some(ended) if ended.success() => {}
                ended => rig.findings.push(format!("{}: SIGTERM, and {ended:?} within {ORDERLY_END:?}", process.name)),
            }
            process.begin();
            tokio::time::sleep(Duration::from_millis(500)).await;
        })
    }
}

pub struct StealLeases;

impl Nemesis for StealLeases {
    fn fault(&self) -> Fault {
        Fault {
            row: 9,
            name: "steal-leases",
            what: "two relays at work on the same shards",
            how: "every half second all leases are ended by SQL while their owners publish",
            expects: "a record may be repeated, never overtaken; marks of the former owner are fenced",
            ..Fault::USUAL
        }
    }

    fn step<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { rig.fleet.try_execute("UPDATE pipeline.relay_leases SET expires_at = '-infinity'").await })
    }
}

#[derive(Default)]
pub struct RebalanceStorm {
    /// Places of the members that came for the storm.
    guests: Vec<usize>,
    changes: usize,
}

impl Nemesis for RebalanceStorm {
    fn fault(&self) -> Fault {
        Fault {
            row: 25,
            name: "rebalance-storm",
            what: "members join and leave all the time",
            how: "a third member of each group comes, crashes and comes again, two changes a second",
            expects: "work goes on; nothing lost, nothing doubled",
            hold: Duration::from_secs(20),
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            self.guests = CONSUMERS.into_iter().map(|name| rig.fleet.join(name)).collect();
        })
    }

    fn step<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            let guest = &mut rig.fleet.processes[self.guests[self.changes % self.guests.len()]];
            if guest.is_down() {
                guest.begin()
            } else {
                guest.kill()
            }
            self.changes += 1;
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            // Two of each, as before.
            self.guests.sort_unstable();
            for place in self.guests.drain(..).rev() {
                rig.fleet.processes.remove(place);
            }
        })
    }
}

pub struct MixedVersions;

/// A directory with the programs of an older version.
fn old_programs() -> Option<PathBuf> {
    std::env::var_os("CHAOS_OLD_PROGRAMS").map(PathBuf::from)
}

impl Nemesis for MixedVersions {
    fn fault(&self) -> Fault {
        Fault {
            row: 52,
            name: "mixed-versions",
            what: "old and new programs at work together",
            how: "the first of each worker runs the programs of an earlier commit (`--old-commit`, `--old DIR`) under the new schema",
            expects: "nothing lost, nothing doubled",
            hold: Duration::from_secs(15),
            combines: false,
            ..Fault::USUAL
        }
    }

    fn impossible(&self, _rig: &Rig) -> Option<String> {
        old_programs()
            .is_none()
            .then(|| "needs the programs of an older version: --old-commit C or --old DIR".to_owned())
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { first_of_each(rig, old_programs()) })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { first_of_each(rig, None) })
    }
}

fn first_of_each(rig: &mut Rig, programs: Option<PathBuf>) {
    for name in [RELAY].into_iter().chain(CONSUMERS) {
        let process = rig.fleet.of(name).next().unwrap();
        process.use_programs(programs.clone());
        process.crash();
    }
}

#[derive(Default)]
pub struct NoMemory {
    next: usize,
}

impl Nemesis for NoMemory {
    fn fault(&self) -> Fault {
        Fault {
            row: 54,
            name: "no-memory",
            what: "a worker gets no more memory",
            how: "prlimit: an address space of 1 MiB, less than it has, so that each further mapping fails; one process after the other",
            expects: "it lives, or ends and is started again; nothing lost, nothing doubled",
            ..Fault::USUAL
        }
    }

    fn step<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            let process = &rig.fleet.processes[self.next % rig.fleet.processes.len()];
            self.next += 1;
            let status = std::process::Command::new("prlimit")
                .args(["--pid", &process.pid().to_string(), "--as=1048576:1048576"])
                .status()
                .unwrap();
            // It may have ended just now.
            if !status.success() {
                eprintln!("  no limit for {}", process.name);
            }
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        // A limit can be raised again by root only; a new process has none.
        Box::pin(async {
            for process in rig.fleet.processes.iter_mut().filter(|process| !process.is_down()) {
                process.crash();
            }
        })
    }
}
