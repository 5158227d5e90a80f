//! The peer: Bento doing consume → insert on conflict → produce, one statement a message, as its users would.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use docfleet_testkit::Topics;

use crate::report::Measured;

const PATIENCE: Duration = Duration::from_secs(300);
/// Statements at once, as many as the best of 2, 4, 8 and 16 on two cores.
const THREADS: usize = 4;

/// Where Bento finds everything.
pub struct Bento<'a> {
    pub program: &'a Path,
    pub brokers: &'a str,
    pub postgres_url: &'a str,
    pub topics: &'a Topics,
    /// With their prefix.
    pub source: &'a str,
    pub target: &'a str,
}

impl Bento<'_> {
    /// Passes `count` records from `source` to `target`; the clock starts when the first is seen there. `target_name` is the target without its prefix.
    ///
    /// # Errors
    /// When the program can not be started, ends by itself or is not done in time.
    pub async fn pass_on(&self, target_name: &str, count: u32) -> anyhow::Result<Measured> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("bento.yaml");
        std::fs::write(&config, self.config())?;
        let log = std::fs::File::create(directory.path().join("log"))?;
        let started = Instant::now();
        let program = Command::new(self.program)
            .args(["-c".as_ref(), config.as_os_str()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        let mut running = Running(program);
        let mut first = None;
        loop {
            let there: i64 = self.topics.ends(target_name).await.values().sum();
            if there > 0 {
                let (from, since) = *first.get_or_insert((there, Instant::now()));
                if there >= i64::from(count) {
                    return Ok(Measured { messages: u32::try_from(there - from)?, took: since.elapsed() });
                }
            }
            if let Some(ended) = running.0.try_wait()? {
                let said = std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
                anyhow::bail!("Bento ended with {ended}: {said}");
            }
            anyhow::ensure!(started.elapsed() < PATIENCE, "Bento passed {there} of {count} records in {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn config(&self) -> String {
        let Self { brokers, postgres_url, source, target, .. } = self;
        format!(
            r#"http: {{ enabled: false }}
logger: {{ level: WARN }}
input:
  kafka_franz:
    seed_brokers: ["{brokers}"]
    topics: ["{source}"]
    consumer_group: "{source}.bento"
    start_from_oldest: true
    checkpoint_limit: 10000
pipeline:
  threads: {THREADS}
  processors:
    - sql_raw:
        driver: postgres
        dsn: "{postgres_url}?sslmode=disable"
        init_statement: "CREATE TABLE IF NOT EXISTS bento_inbox (event_id text PRIMARY KEY, payload bytea)"
        query: "INSERT INTO bento_inbox (event_id, payload) VALUES ($1, $2) ON CONFLICT DO NOTHING"
        args_mapping: 'root = [ meta("event_id"), content() ]'
        exec_only: true
        conn_max_open: {THREADS}
        conn_max_idle: {THREADS}
output:
  kafka_franz:
    seed_brokers: ["{brokers}"]
    topic: "{target}"
    key: '${{! meta("kafka_key") }}'
    idempotent_write: true
    max_in_flight: 256
    batching: {{ count: 256, period: 20ms }}
"#
        )
    }
}

/// Ends with its measurement.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
