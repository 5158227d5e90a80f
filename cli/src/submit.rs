//! `docfleet submit`: [`files`] (what to send) → upload → [`wait`] (until each is finished) → [`outcome`] (the table).

mod files;
mod outcome;
mod progress;
mod step;
mod wait;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use humantime_serde::re::humantime::parse_duration;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use uuid::Uuid;

use crate::{
    Config, Error,
    api::{Api, ApiArgs},
};
use outcome::{Outcome, Submitted};
use progress::Progress;

const EXAMPLES: &str = "\
Examples:
  docfleet submit letter.pdf
  docfleet submit samples/ --tenant acme
  docfleet submit scans/ --searchable-pdf
  docfleet submit inbox/ --idempotency          # a second run uploads nothing twice
  docfleet submit inbox/ --json | jq '.documents[] | select(.finished | not)'

Exit code 1 when a document was refused, did not finish in time, or one of its webhooks was not delivered.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct SubmitArgs {
    /// Files, and directories with all files below them (hidden ones are skipped)
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    api: ApiArgs,
    /// How long to wait after the last upload
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = parse_duration)]
    timeout: Duration,
    /// Derive each Idempotency-Key from the file's name and content, so that another run repeats this one
    #[arg(long)]
    idempotency: bool,
    /// Have a PDF made of each whose text can be searched and copied
    #[arg(long)]
    searchable_pdf: bool,
}

const UPLOAD_TRIES: u32 = 4;
/// After the first failed try; twice and three times as long after the next ones.
const UPLOAD_PAUSE: Duration = Duration::from_millis(500);

/// A file on its way through the fleet.
struct Entry {
    name: String,
    sent_at: Instant,
    /// As last seen; or why the API refused it.
    outcome: Outcome,
}

pub async fn run(config: &Config, args: &SubmitArgs) -> Result<Submitted, Error> {
    let files = files::collect(&args.paths)?;
    let api = Api::new(config, &args.api)?;
    // Asked before the first upload: which deliveries a document must lead to.
    let subscriptions = api.subscriptions().await?;
    let mut progress = Progress::new(files.len());
    let mut entries = Vec::with_capacity(files.len());
    for file in files {
        progress.uploading(&file.name);
        entries.push(upload(&api, file, args).await?);
    }
    wait::until_finished(&api, &subscriptions, &mut entries, Instant::now() + args.timeout, &mut progress).await?;
    progress.end();
    Ok(Submitted::of(&api, &entries, &subscriptions))
}

/// One after the other, so that of two equal files the first given is the original.
async fn upload(api: &Api, file: files::File, args: &SubmitArgs) -> Result<Entry, Error> {
    let sent_at = Instant::now();
    // A key of its own even when none was asked for: it makes a second try safe.
    let key =
        if args.idempotency { key_of(&file.path, &file.name).await? } else { format!("submit-{}", Uuid::new_v4()) };
    let base_name = file.path.file_name().and_then(|name| name.to_str()).unwrap_or("unnamed");
    let mut tries = 1;
    let outcome = loop {
        match api.upload(&file.path, base_name, &key, args.searchable_pdf).await {
            Ok(document) => break Outcome::Accepted(Box::new(document)),
            Err(error) if tries < UPLOAD_TRIES && may_pass(&error) => tokio::time::sleep(UPLOAD_PAUSE * tries).await,
            Err(error @ Error::Refused { .. }) => break Outcome::Refused(error.to_string()),
            Err(error) => return Err(error),
        }
        tries += 1;
    };
    Ok(Entry { name: file.name, sent_at, outcome })
}

/// The API is away or busy, or still at work on a try that we gave up.
fn may_pass(error: &Error) -> bool {
    error.is_away() || matches!(error, Error::Refused { status: 409 | 429, .. })
}

async fn key_of(path: &Path, name: &str) -> Result<String, Error> {
    let of_file = |source| Error::File { path: path.to_owned(), source };
    let mut file = tokio::fs::File::open(path).await.map_err(of_file)?;
    let mut digest = Sha256::new();
    digest.update(name.as_bytes());
    digest.update([0]);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer).await.map_err(of_file)?;
        if read == 0 {
            break;
        }
        digest.update(buffer.get(..read).unwrap_or_default());
    }
    let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("submit-{hex}"))
}
