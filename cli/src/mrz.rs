//! `docfleet mrz`: opens the encrypted fields of a document's machine-readable zone, on record.

use std::path::PathBuf;

use clap::Args;
use docfleet_blobs::{Blobs, mrz_key};
use docfleet_events::trail::{self, Action, Entry};
use docfleet_seal::{Keys, Owner};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Config, Error,
    output::{self, Exit, Report},
    servers,
};

const EXAMPLES: &str = "\
Examples:
  docfleet mrz 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d --key-file zone-keys --why 'case 4711'
  docfleet mrz 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d --key-file zone-keys --why 'case 4711' --json | jq '.zones[].fields.document_number'

The key file is that of [ocr].mrz_key_file. What is opened is on record first (`docfleet trail`), with who and why.
Names, nationality and sex are under no check digit. Exit code 1 when nothing is kept of the document.";

/// A zone has some two thousand bytes of JSON.
const SEALED_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct MrzArgs {
    #[arg(value_name = "DOCUMENT_ID")]
    document: Uuid,
    /// The keys, as ocr has them
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// For the record
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// Who does it, for the record
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "unknown")]
    by: String,
}

#[derive(Serialize)]
struct Opened {
    document_id: Uuid,
    /// Each zone with its page and its fields.
    zones: Vec<Value>,
}

pub async fn run(config: &Config, args: &MrzArgs, json: bool) -> Result<Exit, Error> {
    output::show(&open(config, args).await?, json)
}

async fn open(config: &Config, args: &MrzArgs) -> Result<Opened, Error> {
    let keys = Keys::read(&args.key_file).map_err(|error| Error::Config(error.to_string()))?;
    let blobs = Blobs::open_store(&config.blobs, &config.region)?;
    let mut connection = servers::postgres(config).await?;
    let found: Option<(String, String)> =
        sqlx::query_as("SELECT tenant, region FROM documents.documents WHERE id = $1")
            .bind(args.document)
            .fetch_optional(&mut connection)
            .await?;
    let nothing = Opened { document_id: args.document, zones: Vec::new() };
    let Some((tenant, region)) = found else { return Ok(nothing) };
    blobs.admits(&region)?;
    let sealed = match blobs.read_all(&mrz_key(&tenant, args.document), SEALED_BYTES_MAX).await {
        Err(docfleet_blobs::Error::NotFound) => return Ok(nothing),
        read => read?,
    };
    let document_id = args.document.to_string();
    let owner = Owner { purpose: "mrz", tenant: &tenant, document_id: &document_id };
    let opened = keys.open(owner, &sealed).map_err(|error| Error::Config(error.to_string()))?;
    let entry = Entry {
        region: &region,
        tenant: &tenant,
        actor: &args.by,
        action: Action::MrzRead,
        document_id: Some(args.document),
        detail: json!({ "why": args.why.chars().take(500).collect::<String>() }),
    };
    trail::record(&mut connection, &[entry]).await?;
    let zones = serde_json::from_slice::<Value>(&opened).ok().and_then(|zones| zones["zones"].as_array().cloned());
    Ok(Opened { document_id: args.document, zones: zones.unwrap_or_default() })
}

impl Report for Opened {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        for zone in &self.zones {
            lines.push(format!("zone on page {}", zone["page"]));
            match zone["fields"].as_object() {
                None => lines.push("  too damaged to say what stands where".to_owned()),
                Some(fields) => {
                    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    lines.extend(
                        fields
                            .iter()
                            .map(|(name, value)| format!("  {name:<20} {}", output::plain(&shown(value), 200))),
                    );
                }
            }
        }
        if lines.is_empty() {
            "Nothing is kept of a machine-readable zone of this document.".to_owned()
        } else {
            lines.join("\n")
        }
    }

    fn exit(&self) -> Exit {
        if self.zones.is_empty() { Exit::Problem } else { Exit::Ok }
    }
}
