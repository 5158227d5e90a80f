use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Servers that this test may kill: a state of `./dev` that nobody else uses. Stopped when dropped.
pub struct OwnServers {
    state: &'static str,
    pub config: PathBuf,
}

impl OwnServers {
    pub const NAMES: [&'static str; 5] = ["postgres", "redis", "clamd", "kafka", "registry"];

    pub fn up(state: &'static str) -> Self {
        let output = dev(&[state, "up"]).stdout(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert!(output.status.success(), "./dev servers {state} up failed");
        let config = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        Self { state, config }
    }

    pub fn kill(&self, name: &str) {
        self.act("kill", name);
    }

    pub fn start(&self, name: &str) {
        self.act("start", name);
    }

    pub fn stop(&self, name: &str) {
        self.act("stop", name);
    }

    /// Starts every one that is gone.
    pub fn revive(&self) {
        for name in Self::NAMES {
            if !self.is_there(name) {
                self.start(name);
            }
        }
    }

    fn is_there(&self, name: &str) -> bool {
        // A zombie is gone.
        self.process_state(name).is_some_and(|state| !matches!(state, 'Z' | 'X'))
    }

    /// As `ps` names it; none where there is no process.
    fn process_state(&self, name: &str) -> Option<char> {
        let pid = std::fs::read_to_string(self.directory().join(name).join("pid")).ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).ok()?;
        // The command's name is in brackets; then comes the state.
        stat.rsplit(") ").next()?.chars().next()
    }

    /// It does not answer any more, and its connections stay.
    pub fn freeze(&self, name: &str) {
        self.signal(name, Signal::SIGSTOP);
    }

    /// Lets one go on that is frozen; otherwise does nothing.
    pub fn thaw(&self, name: &str) {
        if self.process_state(name) == Some('T') {
            self.signal(name, Signal::SIGCONT);
        }
    }

    /// The data of servers that are down; the next start is the first one again.
    pub fn forget(state: &'static str) {
        dev(&[state, "forget"]).status().ok();
    }

    /// To the server's main process.
    pub fn signal(&self, name: &str, signal: Signal) {
        let pid = std::fs::read_to_string(self.directory().join(name).join("pid")).unwrap();
        kill(Pid::from_raw(pid.trim().parse().unwrap()), signal).unwrap();
    }

    /// Where its logs and data are.
    pub fn directory(&self) -> &Path {
        self.config.parent().unwrap()
    }

    /// A port of this state by its name.
    pub fn port(&self, name: &str) -> u16 {
        let ports = std::fs::read_to_string(self.directory().join("ports")).unwrap();
        let line = ports.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no port {name}: is {} a state for chaos?", self.state)).parse().unwrap()
    }

    fn act(&self, action: &str, name: &str) {
        let status = dev(&[self.state, action, name]).status().unwrap();
        assert!(status.success(), "./dev servers {} {action} {name} failed", self.state);
    }
}

impl Drop for OwnServers {
    fn drop(&mut self) {
        dev(&[self.state, "down"]).status().ok();
    }
}

fn dev(arguments: &[&str]) -> Command {
    let mut command = Command::new(root().join("dev"));
    command.arg("servers").args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// The checkout.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The file of the antivirus test, made from its signature: no file of this repository holds it as it is.
pub fn eicar() -> Vec<u8> {
    let signature = std::fs::read_to_string(root().join("deploy/clamav/docfleet.ndb")).unwrap();
    let hex = signature.trim().rsplit(':').next().unwrap();
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
