use std::collections::BTreeMap;

use comfy_table::{Cell, CellAlignment};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    check::{Finding, PROPERTIES},
    proof::Proof,
    topic::Topic,
    totals::Totals,
};
use crate::output::{self, Exit, Report, age, grouped};
use crate::projections::Build;

pub struct Audit {
    /// Of the snapshot.
    pub at: OffsetDateTime,
    pub settled_before_seconds: f64,
    pub took_seconds: f64,
    pub totals: Totals,
    /// Only when they were asked for.
    pub topics: Option<Vec<Topic>>,
    pub findings: Vec<Finding>,
    /// As they hold after this audit.
    pub proofs: Vec<Proof>,
    /// Only when it was asked for.
    pub projection: Option<Build>,
}

impl Audit {
    pub fn is_green(&self) -> bool {
        self.findings.is_empty()
    }
}

/// By hand, for `green`: a program should not have to know what makes it so.
impl Serialize for Audit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut audit = serializer.serialize_struct("Audit", 10)?;
        audit.serialize_field("green", &self.is_green())?;
        audit.serialize_field("at", &self.at.format(&Rfc3339).map_err(serde::ser::Error::custom)?)?;
        audit.serialize_field("settled_before_seconds", &self.settled_before_seconds)?;
        audit.serialize_field("took_seconds", &self.took_seconds)?;
        audit.serialize_field("properties", &self.offenders_by_property())?;
        audit.serialize_field("totals", &self.totals)?;
        audit.serialize_field("topics", &self.topics)?;
        audit.serialize_field("findings", &self.findings)?;
        audit.serialize_field("proofs", &self.proofs)?;
        audit.serialize_field("projection", &self.projection)?;
        audit.end()
    }
}

impl Report for Audit {
    fn text(&self) -> String {
        let mut parts = vec![self.scope_text(), self.consumers_text()];
        if let Some(topics) = &self.topics {
            parts.push(topics_text(topics));
        }
        parts.extend(self.findings.iter().map(finding_text));
        parts.extend(self.proofs_text());
        parts.push(self.verdict_text());
        parts.join("\n\n")
    }

    fn exit(&self) -> Exit {
        if self.is_green() { Exit::Ok } else { Exit::Problem }
    }
}

impl Audit {
    fn offenders_by_property(&self) -> BTreeMap<&'static str, i64> {
        let of = |property| self.findings.iter().filter(|f| f.property == property).map(|f| f.count).sum();
        PROPERTIES.into_iter().map(|property| (property, of(property))).collect()
    }

    /// Proven and up to when, so that one sees what keeps a mark.
    fn proofs_text(&self) -> Option<String> {
        let line = |proof: &Proof| {
            let up_to = match (proof.up_to_id, proof.up_to_time) {
                (Some(id), _) => format!("row {}", grouped(id)),
                (None, Some(time)) => output::instant(time),
                (None, None) => "nothing".to_owned(),
            };
            format!("proven: {} of {} up to {up_to}, at {}", proof.pass, proof.source, output::instant(proof.at))
        };
        (!self.proofs.is_empty()).then(|| self.proofs.iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    fn scope_text(&self) -> String {
        let mut text = format!("{} events at {}", grouped(self.totals.events), output::instant(self.at));
        if self.totals.proven_before > 0 {
            text.push_str(&format!(", {} more proven before", grouped(self.totals.proven_before)));
        }
        if self.settled_before_seconds > 0.0 {
            text.push_str(&format!(", younger ones than {} left out", age(self.settled_before_seconds)));
        }
        // With events it is a finding, which says more.
        if self.totals.events == 0 && !self.totals.never_started.is_empty() {
            let names = self.totals.never_started.join(", ");
            text.push_str(&format!("\nNever started, so what they will owe is not known yet: {names}"));
        }
        text
    }

    fn consumers_text(&self) -> String {
        let mut table = output::table([
            "consumer",
            "owed",
            "done",
            "skipped",
            "dead",
            "discarded",
            "retrying",
            "parked",
            "missing",
        ]);
        for of in &self.totals.consumers {
            let numbers = [of.owed, of.done, of.skipped, of.dead, of.discarded, of.retrying, of.parked, of.missing];
            let cells = numbers.map(|number| Cell::new(grouped(number)).set_alignment(CellAlignment::Right));
            table.add_row([Cell::new(&of.consumer)].into_iter().chain(cells));
        }
        let mut text = table.to_string();
        if self.totals.undecodable > 0 {
            text.push_str(&format!(
                "\nBeside these, outcomes of undecodable messages: {}",
                grouped(self.totals.undecodable)
            ));
        }
        for dead in &self.totals.dead {
            let reason = output::plain(&dead.reason, 60);
            text.push_str(&format!("\ndead at {}: {} {reason}", dead.consumer, grouped(dead.count)));
        }
        text
    }

    fn verdict_text(&self) -> String {
        if self.is_green() {
            return "GREEN: every event has exactly one outcome at every consumer that owes one.".to_owned();
        }
        let names: Vec<&str> = self.findings.iter().map(|finding| finding.check).collect();
        format!("NOT GREEN: {}", names.join(", "))
    }
}

fn topics_text(topics: &[Topic]) -> String {
    let line = |topic: &Topic| {
        let mut line = format!("{}: {} records", topic.topic, grouped(topic.records));
        if topic.foreign > 0 {
            line.push_str(&format!(", {} without an event's id", grouped(topic.foreign)));
        }
        if let Some(since) = topic.since {
            line.push_str(&format!(", compared since {}", output::instant(since)));
        }
        line
    };
    topics.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn finding_text(finding: &Finding) -> String {
    let mut lines = vec![format!(
        "{} {}: {} {}",
        finding.property,
        finding.check.to_uppercase(),
        grouped(finding.count),
        finding.says
    )];
    for offender in &finding.offenders {
        let who = offender.consumer.as_deref().map_or_else(String::new, |consumer| format!("{consumer}  "));
        let id = offender.id.map_or_else(String::new, |id| format!("{id}  "));
        lines.push(format!("  {who}{id}{}", output::plain(&offender.detail, 300)));
    }
    let named = i64::try_from(finding.offenders.len()).unwrap_or(i64::MAX);
    if named < finding.count {
        lines.push(format!("  … and {} more", grouped(finding.count - named)));
    }
    lines.push(format!("  → {}", finding.what_to_do));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::check::Offender;

    fn audit(events: i64, findings: Vec<Finding>) -> Audit {
        let totals = Totals {
            events,
            proven_before: 0,
            consumers: Vec::new(),
            dead: Vec::new(),
            undecodable: 0,
            never_started: vec!["ocr"],
        };
        Audit {
            at: OffsetDateTime::UNIX_EPOCH,
            settled_before_seconds: 0.0,
            took_seconds: 0.0,
            totals,
            topics: None,
            findings,
            proofs: Vec::new(),
            projection: None,
        }
    }

    #[test]
    fn a_finding_names_the_first_offenders_and_counts_the_rest() {
        let offender = Offender {
            consumer: Some("ocr".into()),
            id: Some(uuid::Uuid::from_u128(1)),
            detail: "gone\u{1b}[2J".into(),
        };
        let finding = Finding {
            check: "missing-outcome",
            property: "L1",
            pass: crate::audit::check::Pass::Always,
            count: 21,
            says: "events",
            what_to_do: "Wait.",
            offenders: vec![offender],
        };
        let audit = audit(3, vec![finding]);
        let text = audit.text();
        assert!(text.contains("MISSING-OUTCOME: 21 events"), "{text}");
        assert!(text.contains("ocr  00000000-0000-0000-0000-000000000001  gone [2J"), "{text}");
        assert!(
            text.contains("… and 20 more") && text.contains("→ Wait.") && text.ends_with("NOT GREEN: missing-outcome"),
            "{text}"
        );
        assert_eq!(audit.exit(), Exit::Problem);
    }

    #[test]
    fn without_findings_it_is_green_and_says_what_it_could_not_know() {
        let audit = audit(0, Vec::new());
        assert_eq!(audit.exit(), Exit::Ok);
        assert!(audit.text().contains("Never started, so what they will owe is not known yet: ocr"));
        let json = serde_json::to_value(&audit).unwrap_or_default();
        assert_eq!(json.get("green"), Some(&serde_json::Value::Bool(true)));
        assert_eq!(json.get("at"), Some(&serde_json::Value::String("1970-01-01T00:00:00Z".into())));
    }
}
