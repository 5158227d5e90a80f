//! Bytes in the store that no document has, because an upload ended between its bytes and its transaction, or a deletion
//! between its transaction and its bytes.

use std::time::{Duration, SystemTime};

use clap::Args;
use docfleet_blobs::{Blobs, Listed};
use docfleet_events::{
    deletion::Deletion,
    trail::{self, Action, Entry},
};
use futures::StreamExt;
use humantime_serde::re::humantime::parse_duration;
use serde::Serialize;
use sqlx::PgConnection;

use super::{
    counted_u64,
    known::{Kind, kind_of, strangers},
    progress,
};
use crate::{
    Config, Error,
    output::{self, Exit, Report, grouped, plain},
    servers,
};

pub const EXAMPLES: &str = "\
Examples:
  docfleet blobs orphans
  docfleet blobs orphans --older-than 7days --json | jq '.bytes'
  docfleet blobs orphans --delete --why quarterly-sweep --yes

Orphans are harmless: nobody asks for them, and the same upload finds its bytes there. A content is deleted under the same lock
that uploads take, so one that comes again meanwhile is not lost. What lies there and is none of ours is listed and never deleted.
Exit code 1 when there are orphans and they were not deleted.";

/// Keys asked for in one statement.
const STEP: usize = 500;
/// Never younger ones: an upload has its bytes in the store before anybody knows of it.
const AGE_MIN: Duration = Duration::from_secs(30 * 60);

#[derive(Args)]
pub struct OrphansArgs {
    /// Only what was written before; at least 30min
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    older_than: Duration,
    /// How many to show; the counts are always of all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Remove them, after a question
    #[arg(long, requires = "why")]
    delete: bool,
    /// Ask nothing
    #[arg(long, requires = "delete")]
    yes: bool,
    /// For the record, which stays for good: a word such as quarterly-sweep
    #[arg(long, value_name = "WORD", value_parser = crate::documents::reason)]
    why: Option<String>,
    /// Who does it, for the record
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "unknown")]
    by: String,
}

#[derive(Serialize)]
struct Orphans {
    region: String,
    /// Objects looked at.
    looked_at: u64,
    orphans: u64,
    bytes: u64,
    deleted: u64,
    /// Objects whose names we never give.
    foreign: u64,
    shown: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    key: String,
    size_bytes: u64,
    foreign: bool,
}

pub async fn run(config: &Config, args: &OrphansArgs, json: bool) -> Result<Exit, Error> {
    if args.older_than < AGE_MIN {
        return Err(Error::Usage("--older-than: uploads may be on their way; at least 30min".to_owned()));
    }
    let blobs = Blobs::open_store(&config.blobs, &config.region)?;
    let mut connection = servers::postgres(config).await?;
    let mut found = sweep(&blobs, &mut connection, args, None).await?;
    if args.delete && found.orphans > 0 {
        let (orphans, bytes) = (counted_u64(found.orphans, "orphan"), counted_u64(found.bytes, "byte"));
        output::confirm(
            &format!("Delete {orphans}, {bytes}, from the store of the region {}?", found.region),
            args.yes,
        )?;
        found = sweep(&blobs, &mut connection, args, args.why.as_deref()).await?;
    }
    output::show(&found, json)
}

/// One walk through the store. With `delete` it removes what it finds, for this reason.
async fn sweep(
    blobs: &Blobs,
    connection: &mut PgConnection,
    args: &OrphansArgs,
    delete: Option<&str>,
) -> Result<Orphans, Error> {
    let mut found = Orphans {
        region: blobs.region().to_owned(),
        looked_at: 0,
        orphans: 0,
        bytes: 0,
        deleted: 0,
        foreign: 0,
        shown: Vec::new(),
    };
    let youngest = SystemTime::now().checked_sub(args.older_than).unwrap_or(SystemTime::UNIX_EPOCH);
    blobs.probe().await?;
    let mut objects = blobs.list().chunks(STEP);
    while let Some(objects) = objects.next().await {
        let objects: Vec<Listed> = objects.into_iter().collect::<Result<_, _>>()?;
        found.looked_at += objects.len() as u64;
        progress(&format!("{} looked at, {} found", counted_u64(found.looked_at, "object"), found.orphans));
        let old: Vec<&Listed> = objects.iter().filter(|object| object.modified <= youngest).collect();
        for object in strangers(connection, blobs.region(), &old).await? {
            found.note(object, args.limit);
            if let (Some(why), Some(kind)) = (delete, kind_of(&object.key)) {
                found.deleted += u64::from(remove(blobs, connection, object, kind, args, why).await?);
            }
        }
    }
    progress("");
    Ok(found)
}

/// False when it got a document meanwhile.
async fn remove(
    blobs: &Blobs,
    connection: &mut PgConnection,
    object: &Listed,
    kind: Kind,
    args: &OrphansArgs,
    why: &str,
) -> Result<bool, Error> {
    let content = match &kind {
        Kind::Content { tenant, sha256 } => Some((tenant, sha256)),
        Kind::OfDocument { .. } => None,
    };
    let mut deletion = match content {
        Some((tenant, sha256)) => match Deletion::begin(&mut *connection, blobs.region(), tenant, sha256).await? {
            Some(deletion) => Some(deletion),
            None => return Ok(false),
        },
        None => None,
    };
    if let Some(deletion) = deletion.take_if(|deletion| !deletion.is_in_time()) {
        deletion.end(&mut *connection).await?;
        // The next sweep finds it again.
        return Ok(false);
    }
    if let Err(error) = blobs.delete(&object.key).await {
        if let Some(deletion) = deletion.filter(|_| error.is_refusal()) {
            deletion.end(&mut *connection).await?;
        }
        return Err(error.into());
    }
    if let Some(deletion) = deletion {
        deletion.end(&mut *connection).await?;
    }
    let entry = Entry {
        region: blobs.region(),
        tenant: kind.tenant(),
        actor: &args.by,
        action: Action::ContentErased,
        document_id: kind.document(),
        detail: serde_json::json!({ "size_bytes": object.size_bytes, "orphan": true, "why": why }),
    };
    trail::record(connection, &[entry]).await?;
    Ok(true)
}

impl Orphans {
    fn note(&mut self, object: &Listed, limit: usize) {
        let foreign = kind_of(&object.key).is_none();
        if foreign {
            self.foreign += 1;
        } else {
            self.orphans += 1;
            self.bytes += object.size_bytes;
        }
        if self.shown.len() < limit {
            self.shown.push(Shown { key: object.key.clone(), size_bytes: object.size_bytes, foreign });
        }
    }
}

impl Report for Orphans {
    fn text(&self) -> String {
        let mut text = String::new();
        if !self.shown.is_empty() {
            let mut table = output::table(["KEY", "BYTES", ""]);
            for object in &self.shown {
                let bytes = grouped(i64::try_from(object.size_bytes).unwrap_or(i64::MAX));
                table.add_row([
                    plain(&object.key, 200),
                    bytes,
                    if object.foreign { "none of ours" } else { "" }.to_owned(),
                ]);
            }
            text = format!("{table}\n\n");
        }
        let (orphans, bytes) = (counted_u64(self.orphans, "orphan"), counted_u64(self.bytes, "byte"));
        text += &format!(
            "{orphans}, {bytes}, among {} of the region {}",
            counted_u64(self.looked_at, "object"),
            self.region
        );
        if self.foreign > 0 {
            text += &format!("; {} none of ours", counted_u64(self.foreign, "object"));
        }
        if self.deleted > 0 {
            text += &format!("; {} deleted", grouped(i64::try_from(self.deleted).unwrap_or(i64::MAX)));
        }
        text
    }

    fn exit(&self) -> Exit {
        if self.orphans > self.deleted { Exit::Problem } else { Exit::Ok }
    }
}
