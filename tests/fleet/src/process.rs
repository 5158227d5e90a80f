use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Shorter than in a real fleet, so that a fault ends within its minute.
const SHORT: [(&str, &str); 6] = [
    ("DOCFLEET__KAFKA__SESSION_TIMEOUT", "6s"),
    ("DOCFLEET__POSTGRES__ACQUIRE_TIMEOUT", "5s"),
    ("DOCFLEET__POSTGRES__STATEMENT_TIMEOUT", "10s"),
    ("DOCFLEET__CLAMD__CONNECT_TIMEOUT", "1s"),
    ("DOCFLEET__CLAMD__STALL_TIMEOUT", "3s"),
    ("DOCFLEET__CLAMD__ANSWER_TIMEOUT", "10s"),
];

/// One process of the fleet. Killed when dropped.
pub struct Process {
    pub name: &'static str,
    /// Where its program lies; none: beside this one.
    programs: Option<PathBuf>,
    config: PathBuf,
    log: PathBuf,
    child: Child,
    /// Ended by us, and to stay so.
    down: bool,
    pub kills: u32,
}

impl Process {
    /// `log` gets its output, over restarts.
    pub fn start(name: &'static str, config: &Path, log: PathBuf) -> Self {
        let child = launch(&binary(name), config, &log);
        Self { name, programs: None, config: config.to_owned(), log, child, down: false, kills: 0 }
    }

    /// SIGKILL, and at once another one, as an orchestrator does.
    pub fn crash(&mut self) {
        self.kill();
        self.begin();
    }

    /// SIGKILL; it stays away until [`begin`](Self::begin).
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.kills += 1;
        self.down = true;
    }

    /// Starts it, unless it runs.
    pub fn begin(&mut self) {
        if self.down {
            let programs = self.programs.as_ref();
            let program = programs.map_or_else(|| binary(self.name), |directory| directory.join(self.name));
            self.child = launch(&program, &self.config, &self.log);
            self.down = false;
        }
    }

    /// From its next start its program is the one in this directory.
    pub fn use_programs(&mut self, directory: Option<PathBuf>) {
        self.programs = directory;
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// SIGTERM; how it ended, or none when it did not within `patience`. Then it stays away until [`begin`](Self::begin).
    pub async fn terminate(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.signal(Signal::SIGTERM);
        let began = Instant::now();
        while began.elapsed() < patience {
            if let Some(ended) = self.child.try_wait().unwrap() {
                self.down = true;
                return Some(ended);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Whether one of its connections begins at this port.
    pub fn holds_port(&self, port: u16) -> bool {
        let Some(socket) = socket_of(port) else { return false };
        let Ok(files) = std::fs::read_dir(format!("/proc/{}/fd", self.pid())) else { return false };
        files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == Path::new(&socket)))
    }

    pub fn is_down(&self) -> bool {
        self.down
    }

    /// Starts it again if it ended by itself; says how it ended.
    pub fn revive(&mut self) -> Option<ExitStatus> {
        if self.down {
            return None;
        }
        let ended = self.child.try_wait().unwrap()?;
        self.down = true;
        self.begin();
        Some(ended)
    }

    /// Resident memory in bytes; 0 for one that is gone.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    }
}

/// As /proc/PID/fd shows the connection that begins at this port of 127.0.0.1.
fn socket_of(port: u16) -> Option<String> {
    let local = format!("0100007F:{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|row| row[1] == local)?;
    Some(format!("socket:[{}]", row[9]))
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn launch(program: &Path, config: &Path, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    Command::new(program)
        .env("DOCFLEET_CONFIG", config)
        .envs(SHORT)
        // A killed reader leaves its directory behind.
        .env("TMPDIR", config.parent().unwrap())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}; `cargo build --workspace --bins` makes it", program.display()))
}

/// The programs lie beside this one, or beside the directory of this test.
pub fn binary(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let directory = this.parent().unwrap();
    if directory.ends_with("deps") { directory.parent().unwrap().join(name) } else { directory.join(name) }
}

/// `docfleet ARGUMENTS…`: its exit code and output.
pub async fn docfleet(config: &Path, arguments: &[&str]) -> (i32, String) {
    let output = tokio::process::Command::new(binary("docfleet"))
        .args(arguments)
        .env("DOCFLEET_CONFIG", config)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code().unwrap_or(-1), text)
}
