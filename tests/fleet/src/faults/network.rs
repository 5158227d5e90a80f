//! What happens on all links at once.

use std::time::Duration;

use docfleet_testkit::proxy::Weather;

use crate::{
    fault::{Act, Fault, Nemesis},
    rig::Rig,
};

const FAULT: Fault = Fault {
    row: 51,
    expects: "slower; nothing lost, nothing doubled",
    hold: Duration::from_secs(15),
    combines: false,
    ..Fault::USUAL
};

pub struct Slow;

impl Nemesis for Slow {
    fn fault(&self) -> Fault {
        Fault {
            name: "slow-network",
            what: "the network is slow and narrow",
            how: "250 ms each way on every link, 64 KB/s each way",
            ..FAULT
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            let delay = Duration::from_millis(250);
            rig.fleet.links.set_all(Weather { delay, bytes_per_second: Some(64_000), ..Weather::default() });
        })
    }
}

pub struct Resets;

impl Nemesis for Resets {
    fn fault(&self) -> Fault {
        Fault {
            name: "resets",
            what: "connections are reset all the time",
            how: "each piece of at most 16 KiB on any link resets its connection (RST) with a probability of 5 %",
            ..FAULT
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { rig.fleet.links.set_all(Weather { resets: 0.05, ..Weather::default() }) })
    }
}

pub struct OneWay;

impl Nemesis for OneWay {
    fn fault(&self) -> Fault {
        Fault {
            name: "one-way",
            what: "requests arrive and answers do not",
            how: "the answers of every server are held for 12 s, and come then",
            hold: Duration::from_secs(12),
            ..FAULT
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { rig.fleet.links.set_all(Weather { holds_answers: true, ..Weather::default() }) })
    }
}
