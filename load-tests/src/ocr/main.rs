//! `./dev bench ocr`: our reading of scanned pages against OCRmyPDF, on the same pages in one run.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod accuracy;
mod ours;
mod pages;
mod peer;
mod report;
mod sheet;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use report::{Figure, Report};

/// Pages a second and exactness of the words, against `ocrmypdf -j2` on the same pages.
#[derive(Parser)]
pub struct Arguments {
    /// The OCR worker's program.
    #[arg(long, value_name = "FILE")]
    worker: PathBuf,
    /// OCRmyPDF's program; without it only ours is measured.
    #[arg(long, value_name = "PROGRAM")]
    ocrmypdf: Option<PathBuf>,
    /// Pages of each kind.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=100))]
    pages: u32,
    /// Kinds of pages.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "clean,noisy,skewed")]
    kinds: Vec<Kind>,
    /// Documents read at once, and processes of the peer.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: u8,
    /// Tesseract's languages, of both.
    #[arg(long, default_value = "deu+eng")]
    languages: String,
    /// A text of English prose, from which the pages are made.
    #[arg(long, default_value = "/usr/share/common-licenses/GPL-3", value_name = "FILE")]
    text: PathBuf,
    /// Leave pages, texts and what was read of them here.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Also write the result here, as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How a page came through the scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// As printed.
    Clean,
    /// Pale, blurred, with strong noise and the marks of JPEG.
    Noisy,
    /// Laid in by up to three degrees, with some noise.
    Skewed,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Noisy => "noisy",
            Self::Skewed => "skewed",
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let report = measure(&arguments).await?;
    if let Some(file) = &arguments.markdown {
        std::fs::write(file, report.markdown())?;
    }
    println!("{}", if arguments.json { report.json()? } else { report.markdown() });
    Ok(())
}

async fn measure(arguments: &Arguments) -> anyhow::Result<Report> {
    let temporary = tempfile::tempdir()?;
    let folder = arguments.keep.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder)?;
    let text = std::fs::read_to_string(&arguments.text).with_context(|| arguments.text.display().to_string())?;
    let mut report = Report::new(arguments).await?;
    for kind in &arguments.kinds {
        eprintln!("  {}: drawing {} pages", kind.name(), arguments.pages);
        let pages = pages::draw(*kind, arguments.pages, &text, folder)?;
        // Ours before and after the peer, so that a machine that gets slower or faster in between is seen.
        let mut rounds = vec![ours::read(arguments, &pages).await?];
        let peer = match &arguments.ocrmypdf {
            Some(program) => Some(peer::read(program, arguments, *kind, &pages, folder).await?),
            None => None,
        };
        rounds.push(ours::read(arguments, &pages).await?);
        for (name, figure) in [("docfleet", Some(Figure::mean(&rounds))), ("ocrmypdf", peer)] {
            let Some(figure) = figure else { continue };
            eprintln!("  {} {name}: {}", kind.name(), figure.line());
            report.add(*kind, name, figure);
        }
    }
    Ok(report)
}
