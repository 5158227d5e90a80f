use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::{
    fault::{Act, Fault, Nemesis},
    rig::Rig,
};

/// FLUSHALL, SIGKILL and a start, SIGSTOP and SIGCONT, over and over.
#[derive(Default)]
pub struct Redis {
    steps: u32,
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

    fn step<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            self.steps += 1;
            let servers = &rig.fleet.servers;
            match self.steps % 24 {
                1 | 3 => flush(servers.port("redis")).await,
                5 => servers.kill("redis"),
                9 => servers.start("redis"),
                12 => {
                    servers.freeze("redis");
                }
                20 => servers.thaw("redis"),
                _ => {}
            }
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { rig.fleet.servers.thaw("redis") })
    }
}

/// It may be away just now.
async fn flush(port: u16) {
    if let Ok(mut redis) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
        redis.write_all(b"FLUSHALL\r\n").await.ok();
    }
}
