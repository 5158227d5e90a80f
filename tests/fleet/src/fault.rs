use std::{future::Future, pin::Pin, time::Duration};

use crate::rig::Rig;

/// What a nemesis does; it panics when something is not as it must be.
pub type Act<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// What goes wrong, and what must come of it.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Its number in docs/faults.md.
    pub row: u8,
    pub name: &'static str,
    pub what: &'static str,
    pub how: &'static str,
    pub expects: &'static str,
    /// How long it lasts, under load.
    pub hold: Duration,
    /// From the healing until everything is through and the audit is green.
    pub recovers_within: Duration,
    /// It may come together with others: it takes away no data, and means nothing by the load.
    pub combines: bool,
}

impl Fault {
    /// For the fields that are not named; a fault is written with `..Fault::USUAL`.
    pub const USUAL: Self = Self {
        row: 0,
        name: "",
        what: "",
        how: "",
        expects: "",
        hold: Duration::from_secs(12),
        recovers_within: Duration::from_secs(90),
        combines: true,
    };
}

/// One fault, as something that can be done and undone.
pub trait Nemesis {
    fn fault(&self) -> Fault;

    /// Why it can not be done here.
    fn impossible(&self, _rig: &Rig) -> Option<String> {
        None
    }

    /// Once, at its beginning.
    fn inject<'a>(&'a mut self, _rig: &'a mut Rig) -> Act<'a> {
        nothing()
    }

    /// Again and again while the fault lasts, about twice a second.
    fn step<'a>(&'a mut self, _rig: &'a mut Rig) -> Act<'a> {
        nothing()
    }

    /// All that an operator or an orchestrator would do. The links are cleared and what is down is started anyway.
    fn heal<'a>(&'a mut self, _rig: &'a mut Rig) -> Act<'a> {
        nothing()
    }
}

fn nothing<'a>() -> Act<'a> {
    Box::pin(async {})
}
