use std::time::Duration;

use crate::{
    fault::{Act, Fault, Nemesis},
    fleet::CONSUMERS,
    rig::Rig,
};

pub struct Registry;

impl Nemesis for Registry {
    fn fault(&self) -> Fault {
        Fault {
            row: 47,
            name: "registry",
            what: "the schema registry is away, also for workers that start",
            how: "SIGKILL; one of each worker is killed and started meanwhile; the registry starts 15 s later",
            expects: "known schemas go on; who does not know them waits; all heals alone",
            hold: Duration::from_secs(15),
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            rig.fleet.servers.kill("registry");
            for name in CONSUMERS {
                rig.fleet.of(name).next().unwrap().crash();
            }
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { rig.fleet.servers.start("registry") })
    }
}
