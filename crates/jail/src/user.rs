//! Whose process it is, and which network it sees.

use std::{fs, io};

use caps::CapSet;
use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid, getgid, getpid, getuid, setgroups, setresgid, setresuid},
};

use crate::report::{Lock, Report};

/// Far above the users of distributions, containers and directories; the process's number is added, so that no two
/// processes inside a jail share one at a time.
const OWN_USERS_START: u32 = 0x6000_0000;

/// Who else is counted with this process when its processes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// Nobody.
    Own,
    /// All processes of the same user.
    Shared,
    Root,
}

/// Leaves the user and the network. Root becomes a user that owns nothing; others get a user namespace, where the kernel
/// lets them.
pub fn leave(report: &mut Report) -> User {
    if getuid().is_root() {
        // Before root is given up, which can do it without a user namespace.
        let network = unshare(CloneFlags::CLONE_NEWNET);
        match become_nobody() {
            Ok(()) => {
                report.note(Lock::Network, network);
                report.note(Lock::User, Ok::<_, io::Error>(()));
                return User::Own;
            }
            Err(_) if network.is_ok() => {
                report.note(Lock::Network, network);
                report.note(Lock::User, in_namespace(CloneFlags::CLONE_NEWUSER));
            }
            Err(_) => namespaces(report),
        }
    } else {
        namespaces(report);
    }
    match () {
        // Root of the machine stays root in whatever namespace.
        () if getuid().is_root() && is_roots_namespace() => User::Root,
        () if report.holds(Lock::User) => User::Own,
        () => User::Shared,
    }
}

fn namespaces(report: &mut Report) {
    let both = in_namespace(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET);
    match both {
        Ok(()) => {
            report.note(Lock::User, both);
            report.note(Lock::Network, Ok::<_, io::Error>(()));
        }
        Err(why) => {
            report.note(Lock::Network, Err::<(), _>(format!("no namespace: {why}")));
            report.note(Lock::User, in_namespace(CloneFlags::CLONE_NEWUSER).map_err(|e| format!("no namespace: {e}")));
        }
    }
}

fn become_nobody() -> nix::Result<()> {
    let number = OWN_USERS_START + u32::try_from(getpid().as_raw()).unwrap_or_default();
    let (user, group) = (Uid::from_raw(number), Gid::from_raw(number));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)
}

fn in_namespace(flags: CloneFlags) -> io::Result<()> {
    let (user, group) = (getuid(), getgid());
    unshare(flags)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    // In its own namespace a process may do everything at first.
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Whether a user's number here is the one that the machine knows.
fn is_roots_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().take(2).eq(["0", "0"])
}
