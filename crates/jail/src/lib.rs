//! Locks that a process puts on itself before it reads a stranger's bytes.
//!
//! In the order in which [`Jail::enter`] closes them: [`descriptors`] (what the parent left open) → [`limits`] (memory, files, processor, who dies with whom) →
//! [`user`] (a user and a network of its own) → [`files`] (Landlock: what may be read, started and written) → [`calls`]
//! (seccomp: what may be asked of the kernel). Everything that is started afterwards is inside too, and nothing opens a
//! lock again.
//!
//! A lock that a kernel does not have is reported, not passed over: see [`Report::missing`].

mod calls;
mod descriptors;
mod files;
mod limits;
mod report;
mod user;

use std::path::PathBuf;

pub use self::{
    limits::Limits,
    report::{Lock, Missing, Report},
};

/// What a process and all that it starts may still do. Whatever is not listed is denied.
#[derive(Debug, Clone, Default)]
pub struct Jail {
    /// Files, and directories with all below them. What is not there is passed over.
    pub readable: Vec<PathBuf>,
    /// Devices such as `/dev/null`.
    pub writable: Vec<PathBuf>,
    /// Programs that may be started.
    pub programs: Vec<PathBuf>,
    pub limits: Limits,
}

impl Jail {
    /// Closes each lock that this machine has. To be called by a process with one thread, before it opens anything.
    ///
    /// Run by root, the process goes on as a user that owns nothing: files for it must be readable by everybody.
    pub fn enter(&self) -> Report {
        let mut report = Report::default();
        report.note(Lock::Descriptors, descriptors::close_inherited());
        report.note(Lock::Limits, self.limits.set());
        let user = user::leave(&mut report);
        report.note(Lock::Processes, self.limits.bound_processes(user));
        // After the change of user, which forgets it.
        report.note(Lock::Parent, limits::die_with_parent());
        report.note(Lock::NoNewPrivileges, limits::no_new_privileges());
        files::lock(self, &mut report);
        report.note(Lock::Calls, calls::lock());
        report
    }
}
