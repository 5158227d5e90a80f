use docfleet_blobs::{Blobs, BlobsConfig, text_key};
use docfleet_events::{
    DocumentDeduplicated, DocumentErased, DocumentEvent, DocumentInfectionFound, DocumentTextExtracted,
    DocumentUploaded, DocumentVirusScanned, EventMeta,
};
use docfleet_outbox::{Draft, Input, Outbox, Registry, RegistryConfig, codec};
use docfleet_testkit::{Database, Servers};
use projection_builder::{
    Table,
    rebuild::Builder,
    text,
    view::{Fact, apply},
};
use sqlx::PgPool;
use tempfile::TempDir;
use uuid::Uuid;

use crate::facts::{erased, found_infected, read_its_own, story};

/// A database whose view is built as the worker does it, from events of a real outbox.
pub struct Fleet {
    pub pool: PgPool,
    pub registry: Registry,
    pub blobs: Blobs,
    outbox: Outbox,
    _directory: TempDir,
}

impl Fleet {
    pub async fn fresh() -> Self {
        let registry =
            Registry::new(&RegistryConfig { url: Servers::running().registry_url(), ..Default::default() }).unwrap();
        registry.pin::<DocumentUploaded>().await.unwrap();
        registry.pin::<DocumentVirusScanned>().await.unwrap();
        registry.pin::<DocumentDeduplicated>().await.unwrap();
        registry.pin::<DocumentTextExtracted>().await.unwrap();
        registry.pin::<DocumentInfectionFound>().await.unwrap();
        registry.pin::<DocumentErased>().await.unwrap();
        let outbox = Outbox::new(registry.clone(), "");
        let directory = tempfile::tempdir().unwrap();
        let blobs =
            Blobs::open_store(&BlobsConfig::at(format!("file://{}", directory.path().display())), "eu").unwrap();
        Self { pool: Database::fresh().await.pool(), registry, blobs, outbox, _directory: directory }
    }

    /// All four events of so many new documents.
    pub async fn write(&self, documents: usize) -> Vec<Uuid> {
        let ids: Vec<Uuid> = (0..documents).map(|_| Uuid::now_v7()).collect();
        for id in &ids {
            let words = format!("Die Häuser stehen im Regen. It was raining on document {id}.");
            self.blobs.put(&text_key("acme", *id), words.into()).await.unwrap();
            let drafts =
                story(*id).into_iter().take(3).chain([read_its_own(*id, 4)]).map(|owned| draft(owned.event)).collect();
            let mut transaction = self.pool.begin().await.unwrap();
            self.outbox.append(&mut transaction, drafts).await.unwrap();
            transaction.commit().await.unwrap();
        }
        ids
    }

    /// That this document, of [`write`](Self::write), turned out infected.
    pub async fn write_infection(&self, id: Uuid) {
        self.write_event(found_infected(id, 5).event).await;
    }

    /// That this document, of [`write`](Self::write), was erased. Its text is still there.
    pub async fn write_erasure(&self, id: Uuid) {
        self.write_event(erased(id, 5).event).await;
    }

    async fn write_event(&self, event: DocumentEvent) {
        let mut transaction = self.pool.begin().await.unwrap();
        self.outbox.append(&mut transaction, vec![draft(event)]).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// What the handler does in its settlement, with at most so many events that have no outcome yet.
    pub async fn settle(&self, events: i64) -> usize {
        let mut transaction = self.pool.begin().await.unwrap();
        let rows: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(
            r#"WITH next AS (
                   INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, topic, partition, "offset")
                   SELECT 'projection-builder', o.event_id, (o.created_at AT TIME ZONE 'UTC')::date, 'done', o.topic, 0, o.id
                     FROM pipeline.outbox_events o
                    WHERE NOT EXISTS (SELECT FROM pipeline.inbox i WHERE i.event_id = o.event_id)
                    ORDER BY o.id LIMIT $1
                   RETURNING event_id)
               SELECT o.event_id, o.payload FROM next JOIN pipeline.outbox_events o USING (event_id) ORDER BY o.id"#,
        )
        .bind(events)
        .fetch_all(&mut *transaction)
        .await
        .unwrap();
        let mut decoded: Vec<(EventMeta, DocumentEvent)> = Vec::new();
        for (_, payload) in &rows {
            let (schema, datum) = codec::unframe(payload).unwrap();
            decoded.push(DocumentEvent::decode(&self.registry.schema(schema).await.unwrap(), datum).unwrap());
        }
        let mut texts = Vec::new();
        for (meta, event) in &decoded {
            texts.push(text::of(&self.blobs, meta, event).await.unwrap());
        }
        let facts: Vec<Fact<'_>> = decoded
            .iter()
            .zip(&texts)
            .map(|((meta, event), text)| Fact { meta, event, text: text.as_deref() })
            .collect();
        apply(&mut transaction, Table::LIVE, &facts).await.unwrap();
        transaction.commit().await.unwrap();
        facts.len()
    }

    pub async fn settle_all(&self) {
        while self.settle(500).await > 0 {}
    }

    pub async fn ask(&self, compare_only: bool) -> i64 {
        sqlx::query_scalar(
            "INSERT INTO pipeline.projection_builds (projection, who, compare_only) VALUES ('document_view', 'test', $1) RETURNING id",
        )
        .bind(compare_only)
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }

    pub async fn want(&self, wanted: &str) {
        sqlx::query("UPDATE pipeline.projection_builds SET wanted = $1 WHERE ended_at IS NULL")
            .bind(wanted)
            .execute(&self.pool)
            .await
            .unwrap();
    }

    pub fn builder(&self) -> Builder {
        Builder::new(self.pool.clone(), self.registry.clone(), self.blobs.clone()).with_step(10)
    }

    pub async fn state(&self, build: i64) -> String {
        sqlx::query_scalar("SELECT state FROM pipeline.projection_builds WHERE id = $1")
            .bind(build)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Rows compared, rows that differ, whether the hashes are equal.
    pub async fn compared(&self, build: i64) -> (i64, i64, bool) {
        sqlx::query_as(
            "SELECT rows_compared, rows_differing, live_hash = standby_hash FROM pipeline.projection_builds WHERE id = $1",
        )
        .bind(build)
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }

    pub async fn sql(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&self.pool).await.unwrap();
    }

    pub async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }
}

fn draft(event: DocumentEvent) -> Draft {
    let (tenant, region) = ("acme", "eu");
    match event {
        DocumentEvent::Uploaded(event) => Draft::first(event, tenant, region, None),
        DocumentEvent::VirusScanned(event) => Draft::first(event, tenant, region, None),
        DocumentEvent::Deduplicated(event) => Draft::first(event, tenant, region, None),
        DocumentEvent::InfectionFound(event) => Draft::first(event, tenant, region, None),
        DocumentEvent::Erased(event) => Draft::first(event, tenant, region, None),
        DocumentEvent::TextExtracted(event) => Draft::first(event, tenant, region, None),
    }
}
