use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use av_scan::{Clamd, ClamdConfig};

/// A clamd with small limits on a socket of its own; ended when dropped.
pub struct OwnClamd {
    directory: tempfile::TempDir,
    child: Child,
}

/// Of its configuration.
pub const STREAM_BYTES_MAX: usize = 1024 * 1024;

impl OwnClamd {
    /// Knows the signatures of `database`, in the format of ClamAV's `.ndb` files.
    pub async fn start(database: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let child = spawn(directory.path(), database);
        let started = Self { directory, child };
        started.answering().await;
        started
    }

    /// With the signatures of development.
    pub async fn sighted() -> Self {
        Self::start(include_str!("../../../../deploy/clamav/docfleet.ndb")).await
    }

    pub fn config(&self) -> ClamdConfig {
        let limits =
            ClamdConfig { member_bytes_max: 1024 * 1024, archive_bytes_max: 2 * 1024 * 1024, ..ClamdConfig::default() };
        ClamdConfig { address: format!("unix:{}", self.directory.path().join("sock").display()), ..limits }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn restart(&mut self) {
        self.child = spawn(self.directory.path(), include_str!("../../../../deploy/clamav/docfleet.ndb"));
        self.answering().await;
    }

    /// SIGSTOP or SIGCONT.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    async fn answering(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Clamd::new(&self.config()).version().await.is_err() {
            assert!(Instant::now() < deadline, "clamd did not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for OwnClamd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn spawn(directory: &Path, database: &str) -> Child {
    let path = directory.display();
    std::fs::create_dir_all(directory.join("db")).unwrap();
    std::fs::write(directory.join("db/test.ndb"), database).unwrap();
    let config = format!(
        "Foreground yes\nLocalSocket {path}/sock\nFixStaleSocket yes\nDatabaseDirectory {path}/db\nTemporaryDirectory {path}\n\
         StreamMaxLength 1M\nMaxFileSize 1M\nMaxScanSize 2M\nAlertExceedsMax yes\nAlertEncrypted yes\n"
    );
    std::fs::write(directory.join("clamd.conf"), config).unwrap();
    let mut clamd = Command::new("clamd");
    clamd.arg("-c").arg(directory.join("clamd.conf")).stdout(Stdio::null()).stderr(Stdio::null());
    clamd.spawn().expect("clamd is installed")
}
