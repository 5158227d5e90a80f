use std::{
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A relay process of ours; killed when dropped.
pub struct Relay(Child);

impl Relay {
    pub fn start(config: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_outbox-relay"))
            .env("DOCFLEET_CONFIG", config)
            .stdout(Stdio::null())
            .spawn()
            .expect("the relay starts");
        Self(child)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        kill(pid, signal).expect("the relay is there");
    }

    pub async fn exit_within(&mut self, limit: Duration) -> ExitStatus {
        docfleet_testkit::eventually("the relay ends", limit.as_secs(), || {
            let ended = self.0.try_wait().unwrap();
            async move { ended }
        })
        .await
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
