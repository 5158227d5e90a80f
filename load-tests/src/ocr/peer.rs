use std::{path::Path, process::Stdio, time::Instant};

use anyhow::{Context, ensure};
use tokio::process::Command;

use super::{Arguments, Kind, accuracy::words_read, ours, pages::Page, report::Figure};

/// All pages as one document, as OCRmyPDF divides them over its processes itself.
pub async fn read(
    program: &Path,
    arguments: &Arguments,
    kind: Kind,
    pages: &[Page],
    folder: &Path,
) -> anyhow::Result<Figure> {
    let file = |end: &str| folder.join(format!("{}-peer.{end}", kind.name()));
    std::fs::write(file("pdf"), ours::document(pages))?;
    let started = Instant::now();
    let status = Command::new(program)
        .args(["-j", &arguments.jobs.to_string(), "-l", &arguments.languages, "--quiet", "--sidecar"])
        .args([file("txt"), file("pdf"), file("out.pdf")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .context("ocrmypdf")?;
    let took = started.elapsed();
    ensure!(status.success(), "ocrmypdf: {status}");
    let text = std::fs::read_to_string(file("txt"))?;
    let mut texts = text.split('\u{c}');
    let (mut words, mut read) = (0, 0);
    for page in pages {
        let (all, found) = words_read(&page.truth, texts.next().unwrap_or_default());
        (words, read) = (words + all, read + found);
    }
    Ok(Figure { pages: pages.len(), seconds: took.as_secs_f64(), words, read, peak_bytes: None })
}

/// What it says of itself.
pub async fn version(program: &Path) -> anyhow::Result<String> {
    let output = Command::new(program).arg("--version").output().await.context("ocrmypdf")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
