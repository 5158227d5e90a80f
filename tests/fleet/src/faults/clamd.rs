use std::time::Duration;

use docfleet_testkit::proxy::Weather;
use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt;

use crate::{
    fault::{Act, Fault, Nemesis, nothing},
    rig::Rig,
};

/// RELOAD, resets in the middle of streams, SIGKILL and a start, SIGSTOP and SIGCONT, over and over.
#[derive(Default)]
pub struct Clamd {
    steps: u32,
    frozen: bool,
}

impl Nemesis for Clamd {
    fn fault(&self) -> Fault {
        Fault {
            row: 39,
            name: "clamd",
            what: "clamd reloads, dies in the middle of a document, hangs",
            how: "RELOAD; a link that resets every third piece; SIGKILL and a start 2 s later; SIGSTOP for 5 s",
            expects: "documents wait or are tried again; no infected one is ever called clean",
            hold: Duration::from_secs(24),
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, _rig: &'a mut Rig) -> Act<'a> {
        nothing()
    }

    fn step<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            self.steps += 1;
            let servers = &rig.fleet.servers;
            match self.steps % 44 {
                1 | 3 | 5 => reload(servers.port("clamd")).await,
                6 => rig.fleet.links.clamd.set(Weather { resets: 0.3, ..Weather::default() }),
                14 => {
                    rig.fleet.links.clamd.clear();
                    servers.kill("clamd");
                }
                18 => servers.start("clamd"),
                24 => {
                    servers.signal("clamd", Signal::SIGSTOP);
                    self.frozen = true;
                }
                34 => self.thaw(rig),
                _ => {}
            }
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { self.thaw(rig) })
    }
}

impl Clamd {
    fn thaw(&mut self, rig: &Rig) {
        if std::mem::take(&mut self.frozen) {
            rig.fleet.servers.signal("clamd", Signal::SIGCONT);
        }
    }
}

/// It may be away just now.
async fn reload(port: u16) {
    if let Ok(mut clamd) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
        clamd.write_all(b"zRELOAD\0").await.ok();
    }
}
