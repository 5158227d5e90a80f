//! **The** list of what the child may do: read this when a new tool, library or language is to work inside the jail.
//!
//! A tool goes into [`PROGRAMS`]; what it and the libraries read into [`READABLE`]; a system call that is missing into
//! `calls.rs` of `crates/jail`, which says how to find it. Nothing is writable: a document is handed on in memory.

use std::path::{Path, PathBuf};

use docfleet_jail::{Jail, Limits, Report};
use nix::sys::{
    prctl,
    resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit},
};

use crate::OcrConfig;

/// Where a tool is looked for: its `PATH`.
pub const PROGRAM_DIRECTORIES: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];
const PROGRAMS: [&str; 5] = ["setpriv", "pdfinfo", "pdftotext", "pdfimages", "pdftoppm"];

const READABLE: [&str; 19] = [
    // Libraries, with character sets and locales among them.
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/locale",
    "/etc/locale.alias",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    // poppler's maps, and the fonts that a document takes for granted.
    "/usr/share/poppler",
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "/usr/share/fontconfig",
    "/etc/fonts",
    "/var/cache/fontconfig",
    // Tesseract's languages, by distribution.
    "/usr/share/tesseract-ocr",
    "/usr/share/tessdata",
    "/usr/local/share/tessdata",
];
const DEVICES: [&str; 1] = ["/dev/null"];

/// Tesseract, its two data files and the tools' pipes need about twenty.
const OPEN_FILES_MAX: u64 = 64;
/// The child, a tool, and what one of them may start; threads are counted too.
const PROCESSES_MAX: u64 = 8;
/// Beside the document itself: what the tools write down about it.
const NOTES_BYTES: u64 = 1024 * 1024;
/// Beyond the wall clock, as the worker's clock is to strike first.
const CPU_SLACK_SECONDS: u64 = 5;

/// For this process and all that it will start; before anything foreign is read. What became of each lock.
pub fn confine(config: &OcrConfig) -> nix::Result<Report> {
    prctl::set_name(c"ocr-child")?;
    Ok(jail(config).enter())
}

/// What is open to a child.
pub fn jail(config: &OcrConfig) -> Jail {
    let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
    let mut readable = paths(&READABLE);
    readable.extend(config.tessdata.clone());
    Jail {
        readable,
        writable: paths(&DEVICES),
        programs: PROGRAM_DIRECTORIES
            .iter()
            .flat_map(|directory| PROGRAMS.map(|program| Path::new(directory).join(program)))
            .collect(),
        limits: Limits {
            address_space_bytes: config.memory_bytes_max,
            file_bytes: config.document_bytes_max as u64 + NOTES_BYTES,
            open_files: OPEN_FILES_MAX,
            processes: PROCESSES_MAX,
        },
    }
}

/// As much processor time as the next answer may take. It is the second lock, for when nobody looks at the wall clock.
pub fn grant_cpu(config: &OcrConfig) -> nix::Result<()> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let used = usage.user_time().tv_sec() + usage.system_time().tv_sec();
    let answer = config.open_time_max.max(config.page_time_max).as_secs() + CPU_SLACK_SECONDS;
    let (_, hard) = getrlimit(Resource::RLIMIT_CPU)?;
    setrlimit(Resource::RLIMIT_CPU, (u64::try_from(used).unwrap_or(0) + answer).min(hard), hard)
}
