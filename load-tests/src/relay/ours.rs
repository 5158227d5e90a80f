use std::path::PathBuf;

use docfleet_outbox::{Kind, OutboxRow, insert_rows};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::process::Measured;

pub struct Ours {
    pub program: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    pub topic: String,
    pub running: Option<Measured>,
}

impl Ours {
    pub fn start(&mut self) -> anyhow::Result<()> {
        let child = tokio::process::Command::new(&self.program)
            .env("DOCFLEET_CONFIG", &self.config)
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        self.running = Some(Measured::new(child));
        Ok(())
    }

    pub async fn end(&mut self) -> anyhow::Result<()> {
        match self.running.take() {
            Some(running) => running.end().await,
            None => Ok(()),
        }
    }

    /// By the statements of the library, without its encoding: the payload is given.
    pub async fn insert(&self, connection: &mut PgConnection, payloads: Vec<Vec<u8>>) -> anyhow::Result<()> {
        let ids: Vec<Uuid> = payloads.iter().map(|_| Uuid::now_v7()).collect();
        sqlx::query("INSERT INTO pipeline.aggregates (aggregate_type, aggregate_id) SELECT 'item', UNNEST($1::uuid[])")
            .bind(&ids)
            .execute(&mut *connection)
            .await?;
        let row = |(id, payload): (Uuid, Vec<u8>)| {
            let event_id = Uuid::now_v7();
            let headers = [
                ("event_id", event_id.to_string()),
                ("event_type", "Loaded".to_owned()),
                ("aggregate_version", "1".to_owned()),
                ("tenant", "load".to_owned()),
                ("region", "load".to_owned()),
            ];
            OutboxRow {
                kind: Kind::Event,
                event_id,
                event_type: "Loaded".to_owned(),
                aggregate: Some(("item".to_owned(), id, 1)),
                consumer: None,
                attempt: 0,
                topic: self.topic.clone(),
                key: Some(id.to_string().into_bytes()),
                headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
                payload: Some(payload),
                tenant: "load".to_owned(),
                region: "load".to_owned(),
            }
        };
        Ok(insert_rows(connection, ids.into_iter().zip(payloads).map(row).collect()).await?)
    }
}
