use std::process::Stdio;

use docfleet_testkit::{Database, Servers, unique_name};
use serde_json::Value;
use tokio::process::Command;

/// A database and a topic prefix of its own, and the tool that works on them.
pub struct Fleet {
    pub database: Database,
    pub prefix: String,
    pub servers: Servers,
}

pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", self.stdout, self.stderr))
    }
}

impl Fleet {
    pub async fn fresh() -> Self {
        Self { database: Database::fresh().await, prefix: format!("{}.", unique_name()), servers: Servers::running() }
    }

    /// The tool with this fleet's addresses and nothing else of our environment's configuration.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = docfleet(args);
        command
            .env("DOCFLEET__POSTGRES__URL", self.database.url())
            .env("DOCFLEET__KAFKA__BROKERS", self.servers.brokers())
            .env("DOCFLEET__KAFKA__TOPIC_PREFIX", &self.prefix)
            .env("DOCFLEET__REGISTRY__URL", self.servers.registry_url());
        command
    }

    pub async fn run(&self, args: &[&str]) -> Ended {
        end(self.command(args)).await
    }
}

pub fn docfleet(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docfleet"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DOCFLEET_")) {
        command.env_remove(name);
    }
    command.args(args).env("USER", "tester").stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub async fn end(mut command: Command) -> Ended {
    let output = command.output().await.expect("the binary runs");
    Ended {
        code: output.status.code().expect("it ends by itself"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}
