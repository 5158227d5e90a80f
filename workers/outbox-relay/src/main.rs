//! Carries the outbox to Kafka; see `docfleet_pipeline::relay`.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    docfleet_pipeline::run_relay("outbox-relay").await
}
