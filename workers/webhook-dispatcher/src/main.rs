use webhook_dispatcher::WebhookDispatcher;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    docfleet_pipeline::run("webhook-dispatcher", WebhookDispatcher::new).await
}
