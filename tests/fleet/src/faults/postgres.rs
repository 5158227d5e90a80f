use std::{io::Write as _, time::Duration};

use nix::sys::signal::Signal;
use sqlx::{Connection, PgConnection};

use crate::{
    fault::{Act, Fault, Nemesis},
    process::docfleet,
    rig::Rig,
};

#[derive(Default)]
pub struct OpenTransaction {
    holder: Option<PgConnection>,
    published_before: i64,
}

impl OpenTransaction {
    async fn published(rig: &Rig) -> i64 {
        rig.fleet.count("SELECT (SELECT count(*) FROM pipeline.outbox_events) - (SELECT count(*) FROM pipeline.outbox_unpublished)").await
    }
}

impl Nemesis for OpenTransaction {
    fn fault(&self) -> Fault {
        Fault {
            row: 10,
            name: "open-transaction",
            what: "a transaction is left open",
            how: "BEGIN; SELECT pg_current_xact_id(), for 15 s",
            expects: "publishing goes on",
            hold: Duration::from_secs(15),
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            let mut holder = PgConnection::connect(rig.fleet.database.url()).await.unwrap();
            sqlx::raw_sql("BEGIN; SELECT pg_current_xact_id()").execute(&mut holder).await.unwrap();
            self.holder = Some(holder);
            self.published_before = Self::published(rig).await;
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            let published = Self::published(rig).await;
            if published <= self.published_before {
                rig.findings.push("nothing was published while a transaction was open".to_owned());
            }
            // It may be gone with its server.
            if let Some(holder) = self.holder.take() {
                holder.close().await.ok();
            }
        })
    }
}

/// By turns an immediate shutdown and SIGKILL.
#[derive(Default)]
pub struct Restart {
    steps: u32,
}

impl Nemesis for Restart {
    fn fault(&self) -> Fault {
        Fault {
            row: 11,
            name: "restart-postgres",
            what: "PostgreSQL crashes and comes back",
            how: "SIGQUIT (immediate shutdown) and SIGKILL by turns, four crashes in 20 s, each followed by a start",
            expects: "everybody connects again; nothing lost, nothing doubled",
            hold: Duration::from_secs(20),
            ..Fault::USUAL
        }
    }

    fn step<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            self.steps += 1;
            let servers = &rig.fleet.servers;
            match self.steps % 16 {
                1 => servers.signal("postgres", Signal::SIGQUIT),
                9 => servers.kill("postgres"),
                4 | 12 => servers.start("postgres"),
                _ => {}
            }
        })
    }
}

pub struct HalfOpen;

impl Nemesis for HalfOpen {
    fn fault(&self) -> Fault {
        Fault {
            row: 13,
            name: "half-open-postgres",
            what: "connections to PostgreSQL are half-open",
            how: "the link swallows everything on the connections that are open, without an end; new ones are well",
            expects: "noticed within 10 s each, and replaced",
            hold: Duration::from_secs(5),
            recovers_within: Duration::from_secs(60),
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { rig.fleet.links.postgres.half_open() })
    }
}

#[derive(Default)]
pub struct NoConnections {
    idle: Vec<PgConnection>,
}

impl NoConnections {
    async fn take_all(&mut self, rig: &Rig) {
        while self.idle.len() < 1_000 {
            match PgConnection::connect(rig.fleet.database.url()).await {
                Ok(connection) => self.idle.push(connection),
                Err(_) => return,
            }
        }
    }
}

impl Nemesis for NoConnections {
    fn fault(&self) -> Fault {
        Fault {
            row: 14,
            name: "no-connections",
            what: "PostgreSQL has no connection left",
            how: "the fleet's connections are ended, and idle ones take all 400 places, for 10 s",
            expects: "everybody waits with a deadline; no deadlock; heals alone",
            hold: Duration::from_secs(10),
            combines: false,
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            self.take_all(rig).await;
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE datname = current_database() AND application_name <> ''";
            rig.fleet.try_execute(end).await;
            self.take_all(rig).await;
        })
    }

    fn step<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(self.take_all(rig))
    }

    fn heal<'a>(&'a mut self, _rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { self.idle.clear() })
    }
}

pub struct DiskFull;

impl DiskFull {
    fn data(rig: &Rig) -> std::path::PathBuf {
        rig.fleet.servers.directory().join("postgres/data")
    }
}

impl Nemesis for DiskFull {
    fn fault(&self) -> Fault {
        Fault {
            row: 17,
            name: "disk-full",
            what: "PostgreSQL's disk is full",
            how: "a ballast file fills the small disk that holds the cluster, for 15 s; who died of it is started again",
            expects: "writes fail cleanly, the relay pauses, all heals alone",
            hold: Duration::from_secs(15),
            combines: false,
            ..Fault::USUAL
        }
    }

    fn impossible(&self, rig: &Rig) -> Option<String> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let small = mounts.contains(&*Self::data(rig).to_string_lossy());
        (!small).then(|| "needs root, to give PostgreSQL a small disk of its own".to_owned())
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            let mut ballast = std::fs::File::create(Self::data(rig).join("ballast")).unwrap();
            let block = vec![0; 1 << 20];
            while ballast.write_all(&block).is_ok() {}
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { std::fs::remove_file(Self::data(rig).join("ballast")).unwrap() })
    }
}

pub struct Migrations;

impl Nemesis for Migrations {
    fn fault(&self) -> Fault {
        Fault {
            row: 53,
            name: "migrations",
            what: "migrations under load",
            how: "`docfleet setup` again and again",
            expects: "it succeeds each time, and holds up nobody",
            ..Fault::USUAL
        }
    }

    fn step<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            let (code, said) = docfleet(&rig.fleet.direct, &["setup", "--wait", "60s"]).await;
            if code != 0 {
                rig.findings.push(format!("docfleet setup ended with {code}: {said}"));
            }
        })
    }
}
