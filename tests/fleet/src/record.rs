use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{fault::Fault, faults, servers::root};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Green,
    /// All came back, and something was not as it must be.
    Finding,
    Failed,
    /// Can not be done on this machine.
    Impossible,
}

/// One fault on one day; a line of `faults.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pub at: String,
    pub row: u8,
    pub name: String,
    pub outcome: Outcome,
    /// What failed or was found; empty when it was green.
    pub detail: String,
    /// From the healing until everything was through and the audit green.
    pub recovered_seconds: Option<f64>,
    /// Accepted while the fault lasted.
    pub documents: usize,
    pub seed: u64,
}

impl Record {
    pub fn new(fault: &Fault, seed: u64) -> Self {
        Self {
            at: OffsetDateTime::now_utc().format(&Rfc3339).unwrap(),
            row: fault.row,
            name: fault.name.to_owned(),
            outcome: Outcome::Green,
            detail: String::new(),
            recovered_seconds: None,
            documents: 0,
            seed,
        }
    }
}

/// `faults.jsonl` of a state.
pub struct Journal(PathBuf);

impl Journal {
    pub fn of(state: &str) -> Self {
        Self(root().join(".docfleet").join(state).join("faults.jsonl"))
    }

    pub fn append(&self, record: &Record) {
        fs::create_dir_all(self.0.parent().unwrap()).unwrap();
        let mut file = File::options().create(true).append(true).open(&self.0).unwrap();
        writeln!(file, "{}", serde_json::to_string(record).unwrap()).unwrap();
    }

    /// Oldest first.
    pub fn read(&self) -> Vec<Record> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

const BEGIN: &str = "<!-- ./dev chaos --table writes from here -->";
const END: &str = "<!-- to here -->";

/// Puts the newest record of each fault into `page`, between its two marks.
pub fn write_table(page: &Path, records: &[Record]) {
    let text = fs::read_to_string(page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the mark of the table's begin");
    let (_, after) = rest.split_once(END).expect("the mark of the table's end");
    fs::write(page, format!("{before}{BEGIN}\n\n{}\n{END}{after}", table(records))).unwrap();
}

fn table(records: &[Record]) -> String {
    let mut rows: Vec<(u8, String)> = Vec::new();
    for fault in faults::all().iter().map(|nemesis| nemesis.fault()) {
        let newest = records.iter().rfind(|record| record.name == fault.name);
        let (result, seconds) = newest.map_or_else(|| ("not run yet".to_owned(), String::new()), result);
        let line = format!(
            "| {} | `{}`: {} | {} | {} | {result} | {seconds} |\n",
            fault.row, fault.name, fault.what, fault.how, fault.expects
        );
        rows.push((fault.row, line));
    }
    for (row, what, test) in faults::ELSEWHERE {
        rows.push((row, format!("| {row} | {what} | {test} | | | |\n")));
    }
    rows.sort_by_key(|(row, _)| *row);
    let lines: String = rows.into_iter().map(|(_, line)| line).collect();
    format!("| row | fault | how | expected | result | seconds to recover |\n|---|---|---|---|---|---|\n{lines}")
}

fn result(record: &Record) -> (String, String) {
    let first_line = record.detail.lines().next().unwrap_or_default().replace('|', "/");
    let result = match record.outcome {
        Outcome::Green => "green".to_owned(),
        Outcome::Finding => format!("**finding**: {first_line}"),
        Outcome::Failed => format!("**failed**: {first_line}"),
        Outcome::Impossible => format!("not run: {first_line}"),
    };
    (result, record.recovered_seconds.map_or_else(String::new, |seconds| format!("{seconds:.1}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_the_newest_run_of_each_fault() {
        let fault = faults::all()[0].fault();
        let old = Record { outcome: Outcome::Failed, detail: "lost | one".to_owned(), ..Record::new(&fault, 1) };
        let new = Record { recovered_seconds: Some(3.04), ..Record::new(&fault, 2) };
        assert!(table(&[old.clone(), new.clone()]).contains("| green | 3.0 |"));
        assert!(table(&[new, old]).contains("| **failed**: lost / one |  |"));
    }

    #[test]
    fn each_fault_has_a_name_of_its_own_and_says_what_it_does() {
        let mut names: Vec<&str> = faults::all().iter().map(|nemesis| nemesis.fault().name).collect();
        for nemesis in faults::all() {
            let fault = nemesis.fault();
            assert!(fault.row > 0 && !fault.what.is_empty() && !fault.how.is_empty() && !fault.expects.is_empty());
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
