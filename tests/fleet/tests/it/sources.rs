//! The checkout as text, for tests of what is written about it.

use std::path::{Path, PathBuf};

/// Not ours, or not written by us.
const SKIPPED: [&str; 5] = ["target", ".docfleet", ".git", "node_modules", "fixtures"];

pub fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).canonicalize().unwrap()
}

pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every file whose name ends so, from the root.
pub fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    below(&root(), ending, &mut found);
    found.sort();
    found
}

fn below(directory: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap_or_default();
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            below(&entry.path(), ending, found);
        } else if name.ends_with(ending) {
            found.push(entry.path());
        }
    }
}

/// What stands in backticks, line by line: a code span of ours does not cross a line.
pub fn code_spans(markdown: &str) -> impl Iterator<Item = &str> {
    markdown.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}
