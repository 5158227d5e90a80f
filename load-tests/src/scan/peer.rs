use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::process::Command;

/// clamd reads the files itself, with all of its threads; its client tells it the directory.
pub async fn multiscan(config: &Path, directory: &Path) -> anyhow::Result<Duration> {
    let mut clamdscan = Command::new("clamdscan");
    clamdscan.arg(format!("--config-file={}", config.display()));
    clamdscan.args(["--multiscan", "--infected", "--no-summary"]).arg(directory).stdout(Stdio::null());
    let begun = Instant::now();
    let ended = clamdscan.status().await.context("clamdscan: is it installed?")?;
    anyhow::ensure!(ended.success(), "clamdscan ended with {ended}");
    Ok(begun.elapsed())
}
