//! Kafka Connect, standalone, with Debezium's connector for PostgreSQL and its outbox router.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context;
use sqlx::{PgConnection, PgPool};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use url::Url;
use uuid::Uuid;

use crate::{carrier::START, process::Measured};

/// Its settings, as one would set them for the one or the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tuning {
    Throughput,
    Latency,
}

impl Tuning {
    fn settings(self) -> &'static str {
        match self {
            Self::Throughput => {
                "poll.interval.ms=5\nmax.batch.size=8192\nmax.queue.size=32768\n\
                 producer.override.linger.ms=5\nproducer.override.batch.size=262144\n"
            }
            Self::Latency => {
                "poll.interval.ms=1\nmax.batch.size=8192\nmax.queue.size=32768\n\
                 producer.override.linger.ms=0\nproducer.override.batch.size=262144\n"
            }
        }
    }
}

pub struct Connect {
    pub java: PathBuf,
    pub jars: PathBuf,
    pub folder: PathBuf,
    pub brokers: String,
    pub database: Url,
    pub pool: PgPool,
    pub topic: String,
    pub tuning: Tuning,
    pub port: u16,
    pub running: Option<Measured>,
}

const SLOT: &str = "docfleet_bench_peer";

impl Connect {
    pub fn name(&self) -> &'static str {
        match self.tuning {
            Tuning::Throughput => "Debezium, for throughput",
            Tuning::Latency => "Debezium, for latency",
        }
    }

    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.tables().await?;
        let (worker, connector) = (self.folder.join("worker.properties"), self.folder.join("outbox.properties"));
        std::fs::write(&worker, self.worker())?;
        std::fs::write(&connector, self.connector())?;
        let log = std::fs::File::create(self.folder.join("connect.log"))?;
        let child = tokio::process::Command::new(&self.java)
            .args(["-Xms512m", "-Xmx512m", "-XX:+UseG1GC", "-cp"])
            .arg(self.jars.join("*"))
            .arg("org.apache.kafka.connect.cli.ConnectStandalone")
            .args([&worker, &connector])
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("Java")?;
        self.running = Some(Measured::new(child));
        self.until_streaming().await
    }

    /// A slot that somebody reads.
    pub async fn until_streaming(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let active: Option<bool> =
                sqlx::query_scalar("SELECT active FROM pg_replication_slots WHERE slot_name = $1")
                    .bind(SLOT)
                    .fetch_optional(&self.pool)
                    .await?;
            if active == Some(true) {
                return Ok(());
            }
            let log = self.folder.join("connect.log");
            anyhow::ensure!(began.elapsed() < START, "Debezium does not stream; its log is {}", log.display());
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    pub async fn end(&mut self) -> anyhow::Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.end().await?;
        let began = Instant::now();
        // The server notices a moment later that its reader is gone; a slot that stays would keep the log.
        while let Err(error) = sqlx::query("SELECT pg_drop_replication_slot($1)").bind(SLOT).execute(&self.pool).await {
            anyhow::ensure!(began.elapsed() < START, "the slot stays: {error}");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Of Connect's REST interface; only whether it worked.
    pub async fn ask(&self, method: &str, path: &str) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.context("Connect")?;
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::ensure!(
            answer.starts_with("HTTP/1.1 2"),
            "{method} {path}: {}",
            answer.lines().next().unwrap_or_default()
        );
        Ok(())
    }

    /// The table of Debezium's own documentation.
    async fn tables(&self) -> anyhow::Result<()> {
        sqlx::query("CREATE SCHEMA IF NOT EXISTS peer").execute(&self.pool).await?;
        sqlx::query(
            "CREATE TABLE IF NOT EXISTS peer.outbox (id uuid PRIMARY KEY, aggregatetype text NOT NULL,
                    aggregateid text NOT NULL, type text NOT NULL, payload bytea)",
        )
        .execute(&self.pool)
        .await?;
        sqlx::query("DROP PUBLICATION IF EXISTS docfleet_bench_peer").execute(&self.pool).await?;
        sqlx::query("CREATE PUBLICATION docfleet_bench_peer FOR TABLE peer.outbox WITH (publish = 'insert')")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub async fn insert(connection: &mut PgConnection, payloads: Vec<Vec<u8>>) -> anyhow::Result<()> {
        let ids: Vec<Uuid> = payloads.iter().map(|_| Uuid::now_v7()).collect();
        sqlx::query(
            "INSERT INTO peer.outbox SELECT i, 'item', i::text, 'Loaded', p FROM UNNEST($1::uuid[], $2::bytea[]) AS u (i, p)",
        )
        .bind(ids)
        .bind(payloads)
        .execute(connection)
        .await?;
        Ok(())
    }

    fn worker(&self) -> String {
        let offsets = self.folder.join("offsets");
        std::fs::remove_file(&offsets).ok();
        format!(
            "bootstrap.servers={}\nlisteners=http://127.0.0.1:{}\noffset.storage.file.filename={}\noffset.flush.interval.ms=5000\n\
             key.converter=org.apache.kafka.connect.storage.StringConverter\n\
             value.converter=io.debezium.converters.BinaryDataConverter\nconnector.client.config.override.policy=All\n",
            self.brokers,
            self.port,
            offsets.display()
        )
    }

    fn connector(&self) -> String {
        let url = &self.database;
        format!(
            "name=outbox\nconnector.class=io.debezium.connector.postgresql.PostgresConnector\ntasks.max=1\n\
             plugin.name=pgoutput\nslot.name={SLOT}\npublication.name=docfleet_bench_peer\npublication.autocreate.mode=disabled\n\
             database.hostname={}\ndatabase.port={}\ndatabase.user={}\ndatabase.password={}\ndatabase.dbname={}\n\
             topic.prefix=peer\ntable.include.list=peer.outbox\nsnapshot.mode=no_data\ntombstones.on.delete=false\n\
             transforms=outbox\ntransforms.outbox.type=io.debezium.transforms.outbox.EventRouter\n\
             transforms.outbox.route.topic.replacement={}\ntransforms.outbox.table.fields.additional.placement=type:header:eventType\n{}",
            url.host_str().unwrap_or_default(),
            url.port().unwrap_or(5432),
            url.username(),
            url.password().unwrap_or_default(),
            url.path().trim_start_matches('/'),
            self.topic,
            self.tuning.settings()
        )
    }
}

/// A port that is free now.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A folder for a peer's files.
pub fn folder(within: &Path) -> anyhow::Result<PathBuf> {
    let folder = within.join("debezium");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
