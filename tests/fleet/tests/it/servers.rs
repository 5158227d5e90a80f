use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Servers that this test may kill: a state of `./dev` that nobody else uses. Stopped when dropped.
pub struct OwnServers {
    state: &'static str,
    pub config: PathBuf,
}

impl OwnServers {
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

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The file of the antivirus test, made from its signature: no file of this repository holds it as it is.
pub fn eicar() -> Vec<u8> {
    let signature = std::fs::read_to_string(root().join("deploy/clamav/docfleet.ndb")).unwrap();
    let hex = signature.trim().rsplit(':').next().unwrap();
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
