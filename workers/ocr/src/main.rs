//! The OCR worker, and, re-executed by it with [`ocr::CHILD_ARGUMENT`], the child that reads foreign bytes.

use std::process::ExitCode;

use ocr::{CHILD_ARGUMENT, Ocr, child};

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(CHILD_ARGUMENT) {
        // Before the runtime's threads start: the limits are for all that the process does.
        return match child::serve(&arguments.next().unwrap_or_default()) {
            Err(child::Error::ToolDenied { .. }) => Ok(child::DENIED_STATUS.into()),
            end => Ok(end.map(|()| ExitCode::SUCCESS)?),
        };
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(docfleet_pipeline::run("ocr", Ocr::new))?;
    Ok(ExitCode::SUCCESS)
}
