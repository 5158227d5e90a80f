use std::{
    fs::File,
    io::{self, Read, Seek},
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use nix::sys::{
    memfd::{MFdFlags, memfd_create},
    signal::Signal,
};

use super::Error;

/// What a tool says about a damaged file grows with the file.
const MESSAGES_BYTES_MAX: u64 = 16 * 1024;

/// What a tool came to.
pub struct Answer {
    pub succeeded: bool,
    pub output: Vec<u8>,
    /// More than the caller wanted.
    pub is_cut: bool,
    /// The beginning of its standard error.
    pub messages: String,
}

/// A file without a name, in memory; tools that are started while it is open inherit it.
pub fn file_in_memory() -> Result<File, Error> {
    Ok(memfd_create(c"document", MFdFlags::empty()).map_err(|e| Error::Memory(e.into()))?.into())
}

/// Runs a tool of the system in the child's group. It inherits the child's jail and dies with it.
pub fn run(name: &'static str, arguments: &[&str], output_max: usize) -> Result<Answer, Error> {
    let failed = |source| Error::Tool { name, source };
    let mut messages = file_in_memory()?;
    // A plain child of ours would outlive us when we are killed by a limit.
    let mut running = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", name])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(messages.try_clone().map_err(Error::Memory)?)
        .spawn()
        .map_err(|source| Error::Tool { name: "setpriv", source })?;
    let mut output = Vec::new();
    if let Some(pipe) = running.stdout.take() {
        // Behind its end the pipe is closed: a tool with more to say ends by it. Nobody in the jail can kill.
        pipe.take(output_max as u64 + 1).read_to_end(&mut output).map_err(failed)?;
    }
    let is_cut = output.len() > output_max;
    let status = running.wait().map_err(failed)?;
    match status.code() {
        // setpriv's own word for a program that it can not execute.
        Some(126 | 127) => return Err(failed(io::ErrorKind::NotFound.into())),
        None if status.signal() == Some(Signal::SIGSYS as i32) => return Err(Error::ToolDenied { name }),
        None if !is_cut && status.signal().is_some() => return Err(Error::ToolCrashed { name }),
        _ => {}
    }
    let mut head = Vec::new();
    messages.rewind().and_then(|()| messages.take(MESSAGES_BYTES_MAX).read_to_end(&mut head)).map_err(Error::Memory)?;
    Ok(Answer { succeeded: status.success(), output, is_cut, messages: String::from_utf8_lossy(&head).into_owned() })
}
