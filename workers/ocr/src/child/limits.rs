use nix::sys::{
    prctl,
    resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit},
    signal::Signal,
};

use crate::OcrConfig;

/// Tesseract, its two data files and the tools' pipes need about twenty.
const OPEN_FILES_MAX: u64 = 64;
/// Beside the document itself: what the tools write down about it.
const NOTES_BYTES: u64 = 1024 * 1024;
/// Beyond the wall clock, as the worker's clock is to strike first.
const CPU_SLACK_SECONDS: u64 = 5;

/// For this process and all that it will start; before anything foreign is read.
pub fn confine(config: &OcrConfig) -> nix::Result<()> {
    // A worker that is killed can not end us, and a document that hangs would keep us alive. The signal comes with the
    // end of the thread that started us: one of the runtime's, which live as long as the worker.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    prctl::set_no_new_privs()?;
    prctl::set_name(c"ocr-child")?;
    let file_bytes = config.document_bytes_max as u64 + NOTES_BYTES;
    for (resource, limit) in [
        // A core file would hold the document.
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_AS, config.memory_bytes_max),
        (Resource::RLIMIT_FSIZE, file_bytes),
        (Resource::RLIMIT_NOFILE, OPEN_FILES_MAX),
    ] {
        setrlimit(resource, limit, limit)?;
    }
    Ok(())
}

/// As much processor time as the next answer may take. It is the second lock, for when nobody looks at the wall clock.
pub fn grant_cpu(config: &OcrConfig) -> nix::Result<()> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let used = usage.user_time().tv_sec() + usage.system_time().tv_sec();
    let answer = config.open_time_max.max(config.page_time_max).as_secs() + CPU_SLACK_SECONDS;
    let (_, hard) = getrlimit(Resource::RLIMIT_CPU)?;
    setrlimit(Resource::RLIMIT_CPU, (u64::try_from(used).unwrap_or(0) + answer).min(hard), hard)
}
