use std::{fs, io, os::fd::RawFd};

use nix::{errno::Errno, unistd::close};

const STANDARD_ERROR: RawFd = 2;

/// Closes what the parent has left open by oversight: no lock closes what is open already. Only the standard streams stay.
pub fn close_inherited() -> io::Result<()> {
    let open: Vec<RawFd> =
        fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > STANDARD_ERROR) {
        match close(descriptor) {
            // The one of the listing itself.
            Ok(()) | Err(Errno::EBADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
