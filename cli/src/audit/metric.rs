//! For node_exporter's textfile collector, or a job that pushes: the audit as metrics. A file that is not renewed ages by
//! its own time stamps, so an audit that no longer runs is seen as well.

use std::path::Path;

use super::{check::PROPERTIES, report::Audit};
use crate::Error;

/// When the audit's snapshot was taken (Unix time).
pub const RUN_SECONDS: &str = "docfleet_audit_run_timestamp_seconds";
/// How long it took.
pub const TOOK_SECONDS: &str = "docfleet_audit_duration_seconds";
/// 1 without findings.
pub const GREEN_BOOL: &str = "docfleet_audit_green_bool";
/// Offenders. Labels: property, check; a property without findings has one line with the check `none`.
pub const OFFENDERS: &str = "docfleet_audit_offenders_rows";
/// Events, records or outcomes proven, ever. Labels: pass, source.
pub const PROVEN_ROWS: &str = "docfleet_audit_proven_rows";
/// When a proof was made (Unix time): its age grows while something keeps it from moving. Labels: pass, source.
pub const PROOF_SECONDS: &str = "docfleet_audit_proof_timestamp_seconds";

/// In one step: a collector never reads half a file.
pub fn write(audit: &Audit, path: &Path) -> Result<(), Error> {
    let file = |source| Error::File { path: path.to_owned(), source };
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    std::fs::write(new, text(audit)).map_err(file)?;
    std::fs::rename(new, path).map_err(file)
}

fn text(audit: &Audit) -> String {
    let mut out = String::new();
    let mut gauge = |name: &str, help: &str, lines: Vec<(String, f64)>| {
        out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for (labels, value) in lines {
            out.push_str(&format!("{name}{labels} {value}\n"));
        }
    };
    let plain = |value: f64| vec![(String::new(), value)];
    #[allow(clippy::cast_precision_loss)]
    let unix = |at: time::OffsetDateTime| at.unix_timestamp() as f64;
    gauge(RUN_SECONDS, "When the snapshot of the last audit was taken.", plain(unix(audit.at)));
    gauge(TOOK_SECONDS, "How long the last audit took.", plain(audit.took_seconds));
    gauge(GREEN_BOOL, "1 when the last audit found nothing.", plain(f64::from(u8::from(audit.is_green()))));
    let mut offenders = Vec::new();
    for property in PROPERTIES {
        let of: Vec<_> = audit.findings.iter().filter(|finding| finding.property == property).collect();
        if of.is_empty() {
            offenders.push((format!("{{property=\"{property}\",check=\"none\"}}"), 0.0));
        }
        #[allow(clippy::cast_precision_loss)]
        offenders.extend(
            of.iter().map(|finding| {
                (format!("{{property=\"{property}\",check=\"{}\"}}", finding.check), finding.count as f64)
            }),
        );
    }
    gauge(OFFENDERS, "Offenders found by the last audit.", offenders);
    let labels = |proof: &super::proof::Proof| {
        format!("{{pass=\"{}\",source=\"{}\"}}", proof.pass, proof.source.replace(['"', '\\', '\n'], "_"))
    };
    #[allow(clippy::cast_precision_loss)]
    let proven = audit.proofs.iter().map(|proof| (labels(proof), proof.proven as f64)).collect();
    gauge(PROVEN_ROWS, "Rows proven, ever.", proven);
    let proofs = audit.proofs.iter().map(|proof| (labels(proof), unix(proof.at))).collect();
    gauge(PROOF_SECONDS, "When a proof was made.", proofs);
    out
}
