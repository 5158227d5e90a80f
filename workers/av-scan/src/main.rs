use av_scan::AvScan;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    docfleet_pipeline::run("av-scan", AvScan::new).await
}
