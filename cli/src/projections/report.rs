use serde::Serialize;

use super::build::Build;
use crate::output::{self, Exit, Report, age, grouped};

#[derive(Serialize)]
pub struct Builds {
    builds: Vec<Seen>,
    /// A comparison is what was asked for: rows that differ are a problem. After a switch they are why it was made.
    #[serde(skip)]
    judges: bool,
}

#[derive(Serialize)]
struct Seen {
    #[serde(flatten)]
    build: Build,
    /// While it is filled; absent when that is not known.
    eta_seconds: Option<f64>,
}

impl Builds {
    pub fn of(builds: Vec<Build>, judges: bool) -> Self {
        let seen = |build: Build| Seen { eta_seconds: eta_seconds(&build), build };
        Self { builds: builds.into_iter().map(seen).collect(), judges }
    }
}

/// By the pace since it began, waits for the rate included. After a takeover the pause counts too: rather late than never.
#[allow(clippy::cast_precision_loss)]
fn eta_seconds(build: &Build) -> Option<f64> {
    if build.state != "building" || build.filled || build.documents_done == 0 {
        return None;
    }
    let left = (build.documents_total - build.documents_done).max(0) as f64;
    Some(left * build.elapsed_seconds / build.documents_done as f64)
}

#[allow(clippy::cast_precision_loss)]
pub fn progress(build: &Build) -> String {
    let mut text = format!(
        "{}: {} of {} documents, {} events",
        build.state,
        grouped(build.documents_done),
        grouped(build.documents_total),
        grouped(build.events_done)
    );
    if build.worked_seconds > 0.0 {
        text.push_str(&format!(", {:.0} events/s", build.events_done as f64 / build.worked_seconds));
    }
    if let Some(eta) = eta_seconds(build) {
        text.push_str(&format!(", ready in {}", age(eta)));
    }
    match (&build.problem, build.is_worked_on) {
        (Some(problem), _) => text.push_str(&format!("; it waits: {}", output::plain(problem, 120))),
        (None, false) if build.ended_at.is_none() => text.push_str("; no projection-builder works on it"),
        _ => {}
    }
    text
}

impl Report for Builds {
    fn text(&self) -> String {
        if self.builds.is_empty() {
            return "No view was ever built anew.".to_owned();
        }
        self.builds.iter().map(|seen| text(&seen.build)).collect::<Vec<_>>().join("\n\n")
    }

    fn exit(&self) -> Exit {
        let differs = self.judges && self.builds.iter().any(|seen| seen.build.rows_differing > Some(0));
        if differs { Exit::Problem } else { Exit::Ok }
    }
}

fn text(build: &Build) -> String {
    let mut lines = vec![format!(
        "Build {} of {}, by {} at {}",
        build.id,
        build.projection,
        output::plain(&build.who, 40),
        output::instant(build.started_at)
    )];
    lines.push(format!("  {}", progress(build)));
    if let Some(wanted) = &build.wanted {
        lines.push(format!("  wanted: {wanted}"));
    }
    if build.carried > 0 {
        lines
            .push(format!("  {} rows taken from the live view: their first events are pruned", grouped(build.carried)));
    }
    if let (Some(at), Some(rows), Some(differing)) = (build.compared_at, build.rows_compared, build.rows_differing) {
        let verdict = if differing == 0 { "all equal".to_owned() } else { format!("{} differ", grouped(differing)) };
        lines.push(format!("  compared at {}: {} rows, {verdict}", output::instant(at), grouped(rows)));
    }
    for row in build.differing.as_array().into_iter().flatten() {
        let columns: Vec<&str> =
            row["columns"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
        lines.push(format!("    {}  {}", row["document"].as_str().unwrap_or("?"), columns.join(", ")));
    }
    match build.state.as_str() {
        "ready" => lines.push("  → docfleet projections switch document_view, or cancel".to_owned()),
        "switched" => {
            lines.push("  → docfleet projections back document_view, or cancel to drop the old one".to_owned())
        }
        _ => {}
    }
    lines.join("\n")
}
