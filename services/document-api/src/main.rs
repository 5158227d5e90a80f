use docfleet_telemetry::Settings;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::load()?;
    Ok(document_api::run(&settings).await?)
}
