use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// One lock of the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lock {
    /// Nothing is open but the standard streams.
    Descriptors,
    /// Memory, file size, open files; no core; the first to go when the machine has no memory left.
    Limits,
    /// Fork bombs end early.
    Processes,
    /// It ends when who started it ends.
    Parent,
    NoNewPrivileges,
    /// Landlock: only what is listed is read, started, written.
    Files,
    /// The allow-list of system calls: no socket, no signal to others (not by `fcntl` either), no debugger, no mount.
    Calls,
    /// A user of its own, by number or in a namespace: it shares nothing with other processes.
    User,
    /// An empty network namespace: not even the loopback of the machine. Without it `Calls` denies sockets.
    Network,
    /// Landlock 4: no TCP. Without it `Calls` denies sockets.
    Tcp,
    /// Landlock 6: no signal and no abstract socket to the outside. Without it `Calls` denies both.
    Scope,
}

impl Lock {
    pub const ALL: [Self; 11] = [
        Self::Descriptors,
        Self::Limits,
        Self::Processes,
        Self::Parent,
        Self::NoNewPrivileges,
        Self::Files,
        Self::Calls,
        Self::User,
        Self::Network,
        Self::Tcp,
        Self::Scope,
    ];

    /// Whether a jail without it is none. The others are second locks on doors that these close.
    pub fn is_required(self) -> bool {
        !matches!(self, Self::User | Self::Network | Self::Tcp | Self::Scope)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Limits => "limits",
            Self::Processes => "processes",
            Self::Parent => "parent",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::Files => "files",
            Self::Calls => "calls",
            Self::User => "user",
            Self::Network => "network",
            Self::Tcp => "tcp",
            Self::Scope => "scope",
        }
    }
}

impl Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A lock that is open, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub lock: Lock,
    pub why: String,
}

/// What became of each lock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub held: Vec<Lock>,
    pub missing: Vec<Missing>,
}

impl Report {
    pub fn holds(&self, lock: Lock) -> bool {
        self.held.contains(&lock)
    }

    /// Whether all locks hold without which a jail is none.
    pub fn is_closed(&self) -> bool {
        Lock::ALL.into_iter().filter(|lock| lock.is_required()).all(|lock| self.holds(lock))
    }

    /// The open locks without which a jail is none, for an operator: `files (Landlock is not in this kernel)`.
    pub fn gaps(&self) -> String {
        let gaps = self.missing.iter().filter(|missing| missing.lock.is_required());
        gaps.map(|Missing { lock, why }| format!("{lock} ({why})")).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn note<T>(&mut self, lock: Lock, result: Result<T, impl Display>) {
        match result {
            Ok(_) => self.held.push(lock),
            Err(why) => self.missing.push(Missing { lock, why: why.to_string() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jail_without_a_required_lock_is_open_and_says_which() {
        let mut report = Report::default();
        for lock in Lock::ALL {
            report.note(lock, if lock == Lock::Scope { Err("an older kernel") } else { Ok(()) });
        }
        assert!(report.is_closed() && report.gaps().is_empty(), "scope is a second lock");
        report.held.retain(|lock| *lock != Lock::Files);
        report.note(Lock::Files, Err::<(), _>("not in this kernel"));
        assert!(!report.is_closed());
        assert_eq!(report.gaps(), "files (not in this kernel)");
    }

    #[test]
    fn a_report_of_nothing_is_no_closed_jail() {
        assert!(!Report::default().is_closed());
    }
}
