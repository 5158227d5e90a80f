use dedup::Dedup;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    docfleet_pipeline::run("dedup", Dedup::new).await
}
