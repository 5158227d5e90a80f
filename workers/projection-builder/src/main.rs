use projection_builder::ProjectionBuilder;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    docfleet_pipeline::run("projection-builder", ProjectionBuilder::new).await
}
