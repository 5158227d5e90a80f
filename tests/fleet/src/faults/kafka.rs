//! What happens to the broker.

use std::{fs, path::Path, time::Duration};

use crate::{
    fault::{Act, Fault, Nemesis},
    rig::Rig,
};

#[derive(Default)]
pub struct KillBroker {
    steps: u32,
}

impl Nemesis for KillBroker {
    fn fault(&self) -> Fault {
        Fault {
            row: 18,
            name: "kill-broker",
            what: "the broker crashes and comes back",
            how: "SIGKILL twice in 24 s, each followed by a start 2 s later",
            expects: "nothing lost; a delay of the restart and some seconds",
            hold: Duration::from_secs(24),
            ..Fault::USUAL
        }
    }

    fn step<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            self.steps += 1;
            match self.steps % 20 {
                1 => rig.fleet.servers.kill("kafka"),
                5 => rig.fleet.servers.start("kafka"),
                _ => {}
            }
        })
    }
}

pub struct StopBroker;

impl Nemesis for StopBroker {
    fn fault(&self) -> Fault {
        Fault {
            row: 19,
            name: "stop-broker",
            what: "the broker is frozen for longer than a delivery may take",
            how: "SIGSTOP for 40 s, the producer's deadline is 30 s; SIGCONT",
            expects: "no gap, no record before its predecessor",
            hold: Duration::from_secs(40),
            combines: false,
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { rig.fleet.servers.freeze("kafka") })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { rig.fleet.servers.thaw("kafka") })
    }
}

pub struct AcknowledgedAndLost;

impl Nemesis for AcknowledgedAndLost {
    fn fault(&self) -> Fault {
        Fault {
            row: 29,
            name: "acknowledged-and-lost",
            what: "the broker loses power, and acknowledged records with it",
            how: "SIGKILL; the last third of every partition of the events' topics is cut off; start; republish",
            expects: "republishing brings all back, and repeats no effect",
            hold: Duration::from_secs(6),
            combines: false,
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            // So that something is there to be lost.
            tokio::time::sleep(Duration::from_secs(4)).await;
            rig.fleet.servers.kill("kafka");
            let data = rig.fleet.servers.directory().join("kafka/data");
            let cut: u64 = segments(&data, &format!("{}documents.", rig.fleet.prefix));
            assert!(cut > 0, "something was lost");
            eprintln!("  {cut} bytes of acknowledged records are lost");
            rig.fleet.servers.start("kafka");
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(rig.republish())
    }
}

/// Cuts the last third off the newest segment of each partition of these topics; how many bytes that were.
fn segments(data: &Path, prefix: &str) -> u64 {
    let mut cut = 0;
    for partition in fs::read_dir(data).unwrap().map(|entry| entry.unwrap()) {
        if !partition.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        let files = fs::read_dir(partition.path()).unwrap().map(|entry| entry.unwrap().path());
        let newest = files.filter(|path| path.extension().is_some_and(|ending| ending == "log")).max();
        let Some(segment) = newest else { continue };
        let length = segment.metadata().unwrap().len();
        fs::File::options().write(true).open(&segment).unwrap().set_len(length - length / 3).unwrap();
        cut += length / 3;
    }
    cut
}
