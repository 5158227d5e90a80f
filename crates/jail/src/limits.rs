use std::{fs, io};

use nix::{
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::Signal,
    },
    unistd::getuid,
};

use crate::user::User;

/// When the user is shared with processes that may come and go: far above what they are, far below what a machine bears.
const PROCESSES_BESIDE_OTHERS: u64 = 1_024;

/// For each process inside, except `processes`: that is their number, threads counted.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub address_space_bytes: u64,
    /// Also of a file in memory.
    pub file_bytes: u64,
    pub open_files: u64,
    pub processes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self { address_space_bytes: 1024 * MIB, file_bytes: 64 * MIB, open_files: 64, processes: 8 }
    }
}

impl Limits {
    pub(crate) fn set(&self) -> io::Result<()> {
        // Files in memory are not part of an address space. When they fill the machine, the kernel is to end us, not a
        // neighbour.
        fs::write("/proc/self/oom_score_adj", "1000")?;
        for (resource, limit) in [
            // A core file would hold the document.
            (Resource::RLIMIT_CORE, 0),
            (Resource::RLIMIT_AS, self.address_space_bytes),
            (Resource::RLIMIT_FSIZE, self.file_bytes),
            (Resource::RLIMIT_NOFILE, self.open_files),
        ] {
            // Who started us may have been stricter.
            let limit = limit.min(getrlimit(resource)?.1);
            setrlimit(resource, limit, limit)?;
        }
        Ok(())
    }

    /// The kernel counts for each user and each user namespace, and does not count for root.
    pub(crate) fn bound_processes(&self, user: User) -> io::Result<()> {
        let limit = match user {
            User::Own => self.processes,
            User::Shared => tasks_of_this_user()? + PROCESSES_BESIDE_OTHERS,
            User::Root => return Err(io::Error::other("root's are not counted and its user can not be left")),
        };
        let limit = limit.min(getrlimit(Resource::RLIMIT_NPROC)?.1);
        Ok(setrlimit(Resource::RLIMIT_NPROC, limit, limit)?)
    }
}

fn tasks_of_this_user() -> io::Result<u64> {
    let uid = getuid().to_string();
    let of = |status: &str| {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next();
        if field("Uid:")? == uid { field("Threads:")?.parse::<u64>().ok() } else { None }
    };
    let processes = fs::read_dir("/proc")?.filter_map(Result::ok);
    // One that ended meanwhile counts nothing.
    Ok(processes.filter_map(|process| of(&fs::read_to_string(process.path().join("status")).ok()?)).sum())
}

/// A parent that is killed can not end us, and what hangs would live on.
///
/// The signal comes with the end of the *thread* that started us.
pub(crate) fn die_with_parent() -> nix::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)
}

pub(crate) fn no_new_privileges() -> nix::Result<()> {
    prctl::set_no_new_privs()
}
