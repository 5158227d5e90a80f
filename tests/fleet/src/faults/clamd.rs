use std::time::Duration;

use docfleet_testkit::proxy::Weather;
use tokio::io::AsyncWriteExt;

use crate::{
    fault::{Act, Fault, Nemesis},
    rig::Rig,
};

/// RELOAD, resets in the middle of streams, SIGKILL and a start, SIGSTOP and SIGCONT, over and over.
#[derive(Default)]
pub struct Clamd {
    steps: u32,
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
                    servers.freeze("clamd");
                }
                34 => servers.thaw("clamd"),
                _ => {}
            }
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { rig.fleet.servers.thaw("clamd") })
    }
}

/// It may be away just now.
async fn reload(port: u16) {
    if let Ok(mut clamd) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
        clamd.write_all(b"zRELOAD\0").await.ok();
    }
}
