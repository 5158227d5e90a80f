use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use av_scan::{Address, AgeLimit, Clamd, ClamdConfig};
use tokio::{io::AsyncWriteExt, net::UnixStream};

use crate::dated;

const SIGHTED: &str = include_str!("../../../../deploy/clamav/docfleet.ndb");

/// A clamd with small limits on a socket of its own; ended when dropped.
pub struct OwnClamd {
    directory: tempfile::TempDir,
    child: Child,
}

/// Of its configuration.
pub const STREAM_BYTES_MAX: usize = 1024 * 1024;

impl OwnClamd {
    /// Knows the signatures of `database`, in the format of ClamAV's `.ndb` files; it has no version and no date.
    pub async fn start(database: &str) -> Self {
        Self::with("test.ndb", database.as_bytes()).await
    }

    /// With the signatures of development.
    pub async fn sighted() -> Self {
        Self::start(SIGHTED).await
    }

    /// With the signatures of development and `more`, as release `number` of `age`.
    pub async fn dated(number: u32, age: Duration, more: &str) -> Self {
        Self::with("daily.cud", &dated::database(number, age, &format!("{SIGHTED}\n{more}"))).await
    }

    async fn with(name: &str, database: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("db")).unwrap();
        std::fs::write(directory.path().join("db").join(name), database).unwrap();
        let child = spawn(directory.path());
        let started = Self { directory, child };
        started.answering().await;
        started
    }

    /// As freshclam does: another release of the signatures, and a reload. Returns when it is in use.
    pub async fn update(&self, number: u32, age: Duration, more: &str) {
        let database = dated::database(number, age, &format!("{SIGHTED}\n{more}"));
        std::fs::write(self.directory.path().join("db/daily.cud"), database).unwrap();
        let mut socket = UnixStream::connect(self.directory.path().join("sock")).await.unwrap();
        socket.write_all(b"zRELOAD\0").await.unwrap();
        docfleet_testkit::eventually("the new signatures are in use", 60, || async {
            let version = self.client().version().await.ok()?;
            (version.database_number() == i64::from(number)).then_some(())
        })
        .await;
    }

    pub fn address(&self) -> String {
        format!("unix:{}", self.directory.path().join("sock").display())
    }

    pub fn config(&self) -> ClamdConfig {
        ClamdConfig {
            addresses: vec![self.address()],
            database_age_max: AgeLimit::Unlimited,
            member_bytes_max: 1024 * 1024,
            archive_bytes_max: 2 * 1024 * 1024,
            ..ClamdConfig::default()
        }
    }

    pub fn client(&self) -> Clamd {
        Clamd::new(Address::from(self.address().as_str()), &self.config())
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn restart(&mut self) {
        self.child = spawn(self.directory.path());
        self.answering().await;
    }

    /// SIGSTOP or SIGCONT.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    async fn answering(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.client().version().await.is_err() {
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

fn spawn(directory: &Path) -> Child {
    let path = directory.display();
    let config = format!(
        "Foreground yes\nLocalSocket {path}/sock\nFixStaleSocket yes\nDatabaseDirectory {path}/db\nTemporaryDirectory {path}\n\
         StreamMaxLength 1M\nMaxFileSize 1M\nMaxScanSize 2M\nAlertExceedsMax yes\nAlertEncrypted yes\n"
    );
    std::fs::write(directory.join("clamd.conf"), config).unwrap();
    let mut clamd = Command::new("clamd");
    clamd.arg("-c").arg(directory.join("clamd.conf")).env("TZ", "UTC").stdout(Stdio::null()).stderr(Stdio::null());
    clamd.spawn().expect("clamd is installed")
}
