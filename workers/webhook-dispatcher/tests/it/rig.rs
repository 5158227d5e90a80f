use std::{sync::Arc, time::Duration};

use docfleet_testkit::{Database, eventually};
use sqlx::{PgPool, Row};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use webhook_dispatcher::{
    Courier, Dispatcher, WebhooksConfig,
    announcement::Announcement,
    deliveries::{delivery_id, enqueue},
    egress::{Lookup, system_lookup},
};

pub const TENANT: &str = "acme";
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A database with subscriptions and events.
pub struct Rig {
    pub pool: PgPool,
}

/// A dispatcher that runs until it is stopped.
pub struct Running {
    pub wake: Arc<Notify>,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// What the table says of a delivery.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    pub status: String,
    pub attempts: i32,
    pub last_status: Option<i32>,
    pub last_error: Option<String>,
}

/// Short waits, and limits that a busy machine does not reach by accident.
pub fn quick() -> WebhooksConfig {
    let ms = Duration::from_millis;
    let mut config = WebhooksConfig {
        allow_loopback: true,
        connect_timeout: ms(2_000),
        request_timeout: ms(5_000),
        total_timeout: ms(8_000),
        lease: ms(15_000),
        poll_interval: ms(30),
        rest: ms(20),
        ..WebhooksConfig::default()
    };
    for (wait, short) in config.schedule.iter_mut().zip([0, 20, 20, 20]) {
        wait.0 = ms(short);
    }
    config.schedule.truncate(4);
    config
}

impl Rig {
    pub async fn fresh() -> Self {
        Self { pool: Database::fresh().await.pool() }
    }

    pub async fn subscribe(&self, url: &str) -> Uuid {
        self.subscribe_to(TENANT, url, &[]).await
    }

    pub async fn subscribe_to(&self, tenant: &str, url: &str, event_types: &[&str]) -> Uuid {
        let id = Uuid::now_v7();
        sqlx::query(
            "INSERT INTO webhooks.subscriptions (id, tenant, url, event_types, secret) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(id)
        .bind(tenant)
        .bind(url)
        .bind(event_types.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>())
        .bind(SECRET)
        .execute(&self.pool)
        .await
        .expect("subscribe");
        id
    }

    /// As the API does it.
    pub async fn unsubscribe(&self, id: Uuid) {
        sqlx::query("UPDATE webhooks.subscriptions SET deleted_at = clock_timestamp() WHERE id = $1")
            .bind(id)
            .execute(&self.pool)
            .await
            .expect("delete");
    }

    /// An event of [`TENANT`], as deliveries to all who subscribed. Returns its id.
    pub async fn announce(&self) -> Uuid {
        let event = announcement(TENANT, "document.uploaded");
        self.enqueue(&[&event]).await;
        event.event_id
    }

    pub async fn announce_many(&self, count: usize) -> Vec<Uuid> {
        let events: Vec<Announcement> = (0..count).map(|_| announcement(TENANT, "document.uploaded")).collect();
        self.enqueue(&events.iter().collect::<Vec<_>>()).await;
        events.iter().map(|event| event.event_id).collect()
    }

    pub async fn enqueue(&self, events: &[&Announcement]) -> u64 {
        let mut transaction = self.pool.begin().await.expect("begin");
        let count = enqueue(&mut transaction, events, Duration::ZERO).await.expect("enqueue");
        transaction.commit().await.expect("commit");
        count
    }

    pub fn start(&self, config: &WebhooksConfig) -> Running {
        self.start_resolving(config, system_lookup())
    }

    pub fn start_resolving(&self, config: &WebhooksConfig, lookup: Lookup) -> Running {
        config.validate().expect("a valid configuration");
        let (wake, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
        let courier = Courier::new(config, lookup).expect("TLS is set up");
        let dispatcher = Dispatcher::new(self.pool.clone(), courier, config, Arc::clone(&wake));
        let task = tokio::spawn(dispatcher.run(shutdown.clone()));
        Running { wake, shutdown, task }
    }

    pub async fn state(&self, event: Uuid, subscription: Uuid) -> Option<State> {
        let row =
            sqlx::query("SELECT status, attempts, last_status, last_error FROM webhooks.deliveries WHERE id = $1")
                .bind(delivery_id(event, subscription))
                .fetch_optional(&self.pool)
                .await
                .expect("select")?;
        Some(State {
            status: row.get("status"),
            attempts: row.get("attempts"),
            last_status: row.get("last_status"),
            last_error: row.get("last_error"),
        })
    }

    /// Waits until the delivery is no longer pending.
    pub async fn finished(&self, event: Uuid, subscription: Uuid) -> State {
        eventually("the delivery is final", 20, || async {
            self.state(event, subscription).await.filter(|state| state.status != "pending")
        })
        .await
    }

    pub async fn count(&self, subscription: Uuid, status: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM webhooks.deliveries WHERE subscription_id = $1 AND status = $2")
            .bind(subscription)
            .bind(status)
            .fetch_one(&self.pool)
            .await
            .expect("count")
    }
}

impl Running {
    /// As SIGTERM does.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("no panic").expect("no error");
    }

    /// As SIGKILL does.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }
}

pub fn announcement(tenant: &str, event_type: &'static str) -> Announcement {
    let document_id = Uuid::now_v7();
    Announcement {
        event_id: Uuid::now_v7(),
        tenant: tenant.to_owned(),
        region: "local".to_owned(),
        document_id,
        event_type,
        body: format!(r#"{{"type":"{event_type}","data":{{"document_id":"{document_id}"}}}}"#),
        traceparent: Some(TRACEPARENT.to_owned()),
    }
}
