use docfleet_events::{BlobRef, DocumentDeduplicated, DocumentUploaded, DocumentVirusScanned, Event, ScanVerdict};
use docfleet_outbox::{Draft, EventMeta, Outbox, Registry, RegistryConfig};
use serde_json::{Value, json};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::fleet::Fleet;

/// Two documents, uploaded and scanned, each event done at each of its consumers: as a fleet would have left them.
pub struct Ledger {
    pub pool: PgPool,
    pub uploaded: [Uuid; 2],
    pub scanned: [Uuid; 2],
    pub uploaded_topic: String,
}

fn blob() -> BlobRef {
    BlobRef { key: "acme/contents/x".into(), size_bytes: 3 }
}

pub fn uploaded(document_id: Uuid) -> DocumentUploaded {
    DocumentUploaded {
        document_id,
        file_name: "letter.pdf".into(),
        declared_mime: None,
        blob: blob(),
        searchable_pdf: false,
        sha256: None,
    }
}

fn scanned(document_id: Uuid) -> DocumentVirusScanned {
    DocumentVirusScanned {
        document_id,
        verdict: ScanVerdict::Clean,
        signature: None,
        reason: None,
        engine: "e".into(),
        database: "d".into(),
        file_name: "letter.pdf".into(),
        declared_mime: None,
        blob: blob(),
        searchable_pdf: false,
    }
}

/// Enough of a cause for a draft that follows from it.
fn cause(event_id: Uuid, aggregate_id: Uuid) -> EventMeta {
    EventMeta {
        event_id,
        occurred_at: OffsetDateTime::UNIX_EPOCH,
        aggregate_type: "document".into(),
        aggregate_id,
        aggregate_version: 1,
        tenant: "acme".into(),
        region: "local".into(),
        cause: None,
        traceparent: None,
    }
}

pub async fn outbox(fleet: &Fleet) -> Outbox {
    let registry = Registry::new(&RegistryConfig { url: fleet.servers.registry_url(), ..Default::default() }).unwrap();
    registry.pin::<DocumentUploaded>().await.unwrap();
    registry.pin::<DocumentVirusScanned>().await.unwrap();
    Outbox::new(registry, &fleet.prefix)
}

impl Ledger {
    pub async fn good(fleet: &Fleet) -> Self {
        let pool = fleet.database.pool();
        let outbox = outbox(fleet).await;
        let mut transaction = pool.begin().await.unwrap();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let document = Uuid::now_v7();
            let upload = Draft::first(uploaded(document), "acme", "local", None);
            let scan = Draft::following(scanned(document), &cause(upload.event_id(), document), "av-scan", 0, None);
            first.push(upload.event_id());
            second.push(scan.event_id());
            outbox.append(&mut transaction, vec![upload, scan]).await.unwrap();
        }
        transaction.commit().await.unwrap();
        let uploaded_topic = format!("{}{}", fleet.prefix, DocumentUploaded::TOPIC);
        let scanned_topic = format!("{}{}", fleet.prefix, DocumentVirusScanned::TOPIC);
        let deduplicated_topic = format!("{}{}", fleet.prefix, DocumentDeduplicated::TOPIC);
        let retry_topic = format!("{}av-scan.retry.10s", fleet.prefix);
        for (consumer, topic) in [
            ("av-scan", &uploaded_topic),
            ("av-scan", &retry_topic),
            ("dedup", &scanned_topic),
            ("ocr", &deduplicated_topic),
            ("webhook-dispatcher", &uploaded_topic),
            ("webhook-dispatcher", &scanned_topic),
            ("projection-builder", &uploaded_topic),
            ("projection-builder", &scanned_topic),
        ] {
            sqlx::query("INSERT INTO pipeline.subscriptions (consumer, topic) VALUES ($1, $2)")
                .bind(consumer)
                .bind(topic)
                .execute(&pool)
                .await
                .unwrap();
        }
        let ledger =
            Self { pool, uploaded: first.try_into().unwrap(), scanned: second.try_into().unwrap(), uploaded_topic };
        ledger.settle_all().await;
        ledger
    }

    /// Publishes what is not, and lets it be done where it has no outcome.
    pub async fn settle_all(&self) {
        self.sql("UPDATE pipeline.outbox_events SET published_at = clock_timestamp() WHERE published_at IS NULL").await;
        self.sql(
            r#"INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, topic, partition, "offset")
               SELECT s.consumer, o.event_id, o.created_at::date, 'done', o.topic, 0, o.id
                 FROM pipeline.outbox_events o JOIN pipeline.subscriptions s ON s.topic = o.topic
                WHERE o.kind = 'event' ON CONFLICT DO NOTHING"#,
        )
        .await;
        self.sql(
            r"INSERT INTO views.document_view (document_id, tenant, region, version, updated_at)
              SELECT aggregate_id, tenant, region, count(*), clock_timestamp()
                FROM pipeline.outbox_events WHERE kind = 'event' GROUP BY 1, 2, 3
              ON CONFLICT (document_id) DO UPDATE SET version = excluded.version",
        )
        .await;
    }

    /// Lets an event die at a consumer, as the runtime settles it.
    pub async fn kill(&self, fleet: &Fleet, consumer: &str, event_id: Uuid, reason: &str, attempt: i32) {
        let headers = json!([
            ["event_id", event_id.to_string()],
            ["docfleet_consumer", consumer],
            ["docfleet_attempt", attempt.to_string()],
            ["docfleet_reason", reason],
            ["docfleet_error", format!("no {event_id} for '{attempt}'")],
            ["docfleet_original_topic", self.uploaded_topic],
            ["docfleet_original_partition", "0"],
            ["docfleet_original_offset", "7"],
        ]);
        sqlx::query(
            r"INSERT INTO pipeline.outbox_events
                     (kind, event_id, event_type, consumer, attempt, shard, topic, key, headers, payload, tenant, region, published_at)
              SELECT 'dead_letter', event_id, event_type, $2, $3, shard, $4, key, $5, payload, tenant, region, clock_timestamp()
                FROM pipeline.outbox_events WHERE event_id = $1 AND kind = 'event'",
        )
        .bind(event_id)
        .bind(consumer)
        .bind(attempt)
        .bind(format!("{}{consumer}.dlq", fleet.prefix))
        .bind(headers)
        .execute(&self.pool)
        .await
        .unwrap();
        let changed = sqlx::query(
            "UPDATE pipeline.inbox SET outcome = 'dead', reason = $3, attempt = $4 WHERE consumer = $1 AND event_id = $2",
        )
        .bind(consumer)
        .bind(event_id)
        .bind(reason)
        .bind(attempt)
        .execute(&self.pool)
        .await
        .unwrap();
        assert_eq!(changed.rows_affected(), 1);
    }

    /// Takes an event's outcome at a consumer away and puts a message in its place that could not be decoded: settled
    /// under the id of its place, with a dead letter whose foreign header names the event, as the runtime settles it.
    /// `payload`: SQL over `o`, the event's row.
    pub async fn bury_undecoded(&self, fleet: &Fleet, consumer: &str, event_id: Uuid, payload: &'static str) {
        sqlx::query("DELETE FROM pipeline.inbox WHERE consumer = $1 AND event_id = $2")
            .bind(consumer)
            .bind(event_id)
            .execute(&self.pool)
            .await
            .unwrap();
        let place = Uuid::now_v7();
        sqlx::query(
            r#"INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, reason, topic, partition, "offset")
               VALUES ($1, $2, '1970-01-01', 'dead', 'undecodable', $3, 0, 7)"#,
        )
        .bind(consumer)
        .bind(place)
        .bind(&self.uploaded_topic)
        .execute(&self.pool)
        .await
        .unwrap();
        let letter = sqlx::AssertSqlSafe(format!(
            r"INSERT INTO pipeline.outbox_events
                     (kind, event_id, event_type, consumer, shard, topic, key, headers, payload, tenant, region, published_at)
              SELECT 'dead_letter', $2, 'unknown', $3, shard, $4, key, $5, {payload}, 'unknown', 'unknown', clock_timestamp()
                FROM pipeline.outbox_events o WHERE event_id = $1 AND kind = 'event'"
        ));
        let headers = json!([["event_id", event_id.to_string()], ["docfleet_reason", "undecodable"]]);
        sqlx::query(letter)
            .bind(event_id)
            .bind(place)
            .bind(consumer)
            .bind(format!("{}{consumer}.dlq", fleet.prefix))
            .bind(headers)
            .execute(&self.pool)
            .await
            .unwrap();
    }

    pub async fn sql(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&self.pool).await.unwrap();
    }

    pub async fn inbox(&self, consumer: &str, event_id: Uuid) -> (String, i32) {
        sqlx::query_as("SELECT outcome, attempt FROM pipeline.inbox WHERE consumer = $1 AND event_id = $2")
            .bind(consumer)
            .bind(event_id)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Everything that a command may not touch.
    pub async fn everything(&self) -> Value {
        sqlx::query_scalar(
            r"SELECT jsonb_build_object(
                'inbox', (SELECT jsonb_agg(to_jsonb(i) ORDER BY i.consumer, i.event_id) FROM pipeline.inbox i),
                'outbox', (SELECT jsonb_agg(to_jsonb(o) ORDER BY o.id) FROM pipeline.outbox_events o),
                'actions', (SELECT jsonb_agg(to_jsonb(a) ORDER BY a.id) FROM pipeline.operator_actions a))",
        )
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }
}
