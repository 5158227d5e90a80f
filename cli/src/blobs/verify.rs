//! Documents whose bytes are not there, or are others: after a restore, or now and then.

use std::time::Duration;

use clap::Args;
use docfleet_blobs::{Blobs, Error as BlobError};
use futures::{StreamExt, TryStreamExt, stream};
use humantime_serde::re::humantime::parse_duration;
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::{counted_u64, progress};
use crate::{
    Config, Error,
    output::{self, Exit, Report},
    servers,
};

pub const EXAMPLES: &str = "\
Examples:
  docfleet blobs verify
  docfleet blobs verify --since 24h --hash
  docfleet blobs verify --json | jq -r '.shown[].document_id'

A content that many documents have is looked at once for each. With --hash every byte is read and compared with the hash that
names it, which costs as much as downloading the store.
Exit code 1 when a document lacks its bytes or has others.";

/// Contents looked at side by side.
const AT_ONCE: usize = 16;
/// Documents asked for in one statement.
const STEP: i64 = 500;

#[derive(Args)]
pub struct VerifyArgs {
    /// Only documents not older than this
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    since: Option<Duration>,
    /// Read all bytes and compare their hash
    #[arg(long)]
    hash: bool,
    /// How many findings to show; the counts are always of all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

#[derive(Serialize)]
struct Verified {
    region: String,
    documents: u64,
    missing: u64,
    differing: u64,
    /// Of contents that were read to their end.
    bytes_read: u64,
    shown: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    document_id: Uuid,
    tenant: String,
    finding: Finding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Finding {
    Missing,
    Differs,
}

#[derive(FromRow)]
struct Document {
    id: Uuid,
    tenant: String,
    blob_key: String,
    size_bytes: i64,
    sha256: Vec<u8>,
}

pub async fn run(config: &Config, args: &VerifyArgs, json: bool) -> Result<Exit, Error> {
    let blobs = Blobs::open_store(&config.blobs, &config.region)?;
    blobs.probe().await?;
    let mut connection = servers::postgres(config).await?;
    let region = blobs.region().to_owned();
    let mut verified = Verified { region, documents: 0, missing: 0, differing: 0, bytes_read: 0, shown: Vec::new() };
    let mut last = Uuid::nil();
    loop {
        let documents = after(&mut connection, blobs.region(), last, args.since).await?;
        let Some(newest) = documents.last() else { break };
        last = newest.id;
        let looked = stream::iter(documents).map(|document| {
            let blobs = &blobs;
            async move { look(blobs, &document, args.hash).await.map(|(finding, read)| (document, finding, read)) }
        });
        let looked: Vec<_> = looked.buffered(AT_ONCE).try_collect().await?;
        for (document, finding, read) in looked {
            verified.note(document, finding, read, args.limit);
        }
        progress(&format!("{} looked at", counted_u64(verified.documents, "document")));
    }
    progress("");
    output::show(&verified, json)
}

/// Ids rise with time, so those who come meanwhile are seen too.
async fn after(
    connection: &mut PgConnection,
    region: &str,
    last: Uuid,
    since: Option<Duration>,
) -> Result<Vec<Document>, Error> {
    let documents = sqlx::query_as(
        r"SELECT id, tenant, blob_key, size_bytes, sha256 FROM documents.documents
           WHERE region = $1 AND id > $2
             AND ($3::float8 IS NULL OR created_at >= clock_timestamp() - make_interval(secs => $3))
           ORDER BY id LIMIT $4",
    );
    let since = since.map(|since| since.as_secs_f64());
    Ok(documents.bind(region).bind(last).bind(since).bind(STEP).fetch_all(connection).await?)
}

/// What is wrong with a document's bytes, and how many were read to know it.
async fn look(blobs: &Blobs, document: &Document, hash: bool) -> Result<(Option<Finding>, u64), Error> {
    let size = match blobs.size(&document.blob_key).await {
        Err(BlobError::NotFound) => return Ok((Some(Finding::Missing), 0)),
        size => size?,
    };
    if i64::try_from(size) != Ok(document.size_bytes) {
        return Ok((Some(Finding::Differs), 0));
    }
    if !hash {
        return Ok((None, 0));
    }
    let (mut reader, mut hasher, mut read) = (blobs.open(&document.blob_key).await?, Sha256::new(), 0);
    while let Some(chunk) = reader.bytes.next().await {
        let chunk = chunk?;
        read += chunk.len() as u64;
        hasher.update(&chunk);
    }
    let same = hasher.finalize().as_slice() == document.sha256;
    Ok(((!same).then_some(Finding::Differs), read))
}

impl Verified {
    fn note(&mut self, document: Document, finding: Option<Finding>, read: u64, limit: usize) {
        self.documents += 1;
        self.bytes_read += read;
        let Some(finding) = finding else { return };
        match finding {
            Finding::Missing => self.missing += 1,
            Finding::Differs => self.differing += 1,
        }
        if self.shown.len() < limit {
            self.shown.push(Shown { document_id: document.id, tenant: document.tenant, finding });
        }
    }
}

impl Report for Verified {
    fn text(&self) -> String {
        let mut text = String::new();
        if !self.shown.is_empty() {
            let mut table = output::table(["DOCUMENT", "TENANT", ""]);
            for shown in &self.shown {
                let finding = match shown.finding {
                    Finding::Missing => "its bytes are missing",
                    Finding::Differs => "other bytes lie there",
                };
                table.add_row([shown.document_id.to_string(), output::plain(&shown.tenant, 63), finding.to_owned()]);
            }
            text = format!("{table}\n\n");
        }
        let documents = counted_u64(self.documents, "document");
        let (missing, differing) = (self.missing, self.differing);
        text + &format!(
            "{documents} of the region {}: {missing} without their bytes, {differing} with others",
            self.region
        )
    }

    fn exit(&self) -> Exit {
        if self.missing + self.differing > 0 { Exit::Problem } else { Exit::Ok }
    }
}
