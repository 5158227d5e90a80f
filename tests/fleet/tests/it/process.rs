use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

/// One process of the fleet. Killed when dropped.
pub struct Process {
    pub name: &'static str,
    config: PathBuf,
    log: PathBuf,
    child: Child,
    pub kills: u32,
}

impl Process {
    /// `log` gets its standard output, over restarts.
    pub fn start(name: &'static str, config: &Path, log: PathBuf) -> Self {
        let child = launch(name, config, &log);
        Self { name, config: config.to_owned(), log, child, kills: 0 }
    }

    /// SIGKILL, and at once another one, as an orchestrator does.
    pub fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.kills += 1;
        self.child = launch(self.name, &self.config, &self.log);
    }

    /// Starts it again if it ended by itself; says how it ended.
    pub fn revive(&mut self) -> Option<ExitStatus> {
        let ended = self.child.try_wait().unwrap()?;
        self.child = launch(self.name, &self.config, &self.log);
        Some(ended)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn launch(name: &str, config: &Path, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    Command::new(binary(name))
        .env("DOCFLEET_CONFIG", config)
        // A killed reader leaves its directory behind.
        .env("TMPDIR", config.parent().unwrap())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|e| panic!("{name}: {e}; `cargo build --workspace` makes it"))
}

/// The binaries lie beside the directory of this test.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join(name)
}

/// `docfleet ARGUMENTS…`: its exit code and output.
pub fn docfleet(config: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(binary("docfleet")).args(arguments).env("DOCFLEET_CONFIG", config).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code().unwrap_or(-1), text)
}
