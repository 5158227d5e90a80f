use std::{fs, time::Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use ocr::{
    Kind, OcrConfig,
    engine::{CHILD_ARGUMENT, Engine},
    reading::PAGE_BREAK,
};
use tokio_util::sync::CancellationToken;

use super::{Arguments, accuracy::words_read, pages::Page, report::Figure, sheet};

/// The pages as documents that are read at once, one a child.
pub async fn read(arguments: &Arguments, pages: &[Page]) -> anyhow::Result<Figure> {
    let children = usize::from(arguments.jobs);
    let config = OcrConfig { children, languages: arguments.languages.clone(), ..OcrConfig::default() };
    let engine = Engine::start(arguments.worker.canonicalize()?, config).await?;
    let shares: Vec<&[Page]> = pages.chunks(pages.len().div_ceil(children)).collect();
    let documents: Vec<Bytes> = shares.iter().map(|share| document(share)).collect();
    let stop = CancellationToken::new();
    let started = Instant::now();
    let readings = futures::future::try_join_all(
        documents.into_iter().map(async |document| engine.lease("bench").await?.read(Kind::Pdf, document, &stop).await),
    )
    .await?;
    let took = started.elapsed();
    let peak = peak_bytes()?;
    let (mut words, mut read) = (0, 0);
    for (share, reading) in shares.iter().zip(&readings) {
        ensure!(reading.unread().is_empty(), "a page was not read: {:?}", reading.unread());
        let text = reading.text();
        let texts: Vec<&str> = text.split(PAGE_BREAK).collect();
        ensure!(texts.len() == share.len(), "{} pages of {}", texts.len(), share.len());
        for (page, text) in share.iter().zip(texts) {
            let (all, found) = words_read(&page.truth, text);
            (words, read) = (words + all, read + found);
        }
    }
    Ok(Figure { pages: pages.len(), seconds: took.as_secs_f64(), words, read, peak_bytes: Some(peak) })
}

pub fn document(pages: &[Page]) -> Bytes {
    let pictures: Vec<&[u8]> = pages.iter().map(|page| page.jpeg.as_slice()).collect();
    sheet::scanned(&pictures, pages[0].sides).into()
}

/// The most that a child ever had in memory.
fn peak_bytes() -> anyhow::Result<u64> {
    let mut peak = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let of = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        if !of("cmdline").contains(CHILD_ARGUMENT) {
            continue;
        }
        let status = of("status");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        if number("PPid:") == Some(u64::from(std::process::id())) {
            peak = peak.max(number("VmHWM:").unwrap_or(0) * 1024);
        }
    }
    (peak > 0).then_some(peak).context("no child is seen in /proc")
}
