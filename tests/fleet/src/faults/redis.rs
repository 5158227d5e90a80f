use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt;

use crate::{
    fault::{Act, Fault, Nemesis, nothing},
    rig::Rig,
};

/// FLUSHALL, SIGKILL and a start, SIGSTOP and SIGCONT, over and over.
#[derive(Default)]
pub struct Redis {
    steps: u32,
    frozen: bool,
}

impl Nemesis for Redis {
    fn fault(&self) -> Fault {
        Fault {
            row: 36,
            name: "redis",
            what: "Redis forgets everything, dies, hangs",
            how: "FLUSHALL; SIGKILL and a start 2 s later; SIGSTOP for 4 s; twice",
            expects: "the same answers, a little slower",
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
            match self.steps % 24 {
                1 | 3 => flush(servers.port("redis")).await,
                5 => servers.kill("redis"),
                9 => servers.start("redis"),
                12 => {
                    servers.signal("redis", Signal::SIGSTOP);
                    self.frozen = true;
                }
                20 => self.thaw(rig),
                _ => {}
            }
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { self.thaw(rig) })
    }
}

impl Redis {
    fn thaw(&mut self, rig: &Rig) {
        if std::mem::take(&mut self.frozen) {
            rig.fleet.servers.signal("redis", Signal::SIGCONT);
        }
    }
}

/// It may be away just now.
async fn flush(port: u16) {
    if let Ok(mut redis) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
        redis.write_all(b"FLUSHALL\r\n").await.ok();
    }
}
