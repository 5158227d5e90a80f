//! What a document can do that has taken the child over: a program of its choice in the child's jail, asked by the real
//! engine. Each deed is also done outside of the jail, where it succeeds, so that a failure inside is the jail's.

use std::{
    fs,
    io::ErrorKind,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::PathBuf,
};

use ocr::{
    Kind, OcrConfig, Strictness,
    engine::{Engine, Error},
};
use tempfile::TempDir;

use super::{files::sample, jail::gone, one_child, read, worker};

const PYTHON: &str = "/usr/bin/python3";

/// Where the deeds are aimed at.
struct Outside {
    directory: TempDir,
    tcp: TcpListener,
    unix: UnixListener,
    config: OcrConfig,
}

impl Outside {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("writable")).unwrap();
        fs::create_dir(at("tessdata")).unwrap();
        symlink("/etc/passwd", at("tessdata/eng.traineddata")).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let unix = UnixListener::bind(at("socket")).unwrap();
        for open in ["", "writable", "tessdata", "socket"] {
            fs::set_permissions(at(open), fs::Permissions::from_mode(0o777)).unwrap();
        }
        tcp.set_nonblocking(true).unwrap();
        unix.set_nonblocking(true).unwrap();
        // The jail opens it for the child, so that the link in it lies inside.
        let config = OcrConfig { tessdata: Some(at("tessdata")), documents_per_child: 1, ..one_child() };
        Self { directory, tcp, unix, config }
    }

    /// A program whose first life does `deeds` behind `door`, and whose next is the real child.
    fn child(&self, door: &str, deeds: &str) -> PathBuf {
        let at = |name: &str| self.directory.path().join(name).display().to_string();
        let port = self.tcp.local_addr().unwrap().port();
        fs::write(at("deeds.py"), include_str!("breakouts/deeds.py")).unwrap();
        let script = format!(
            "#!/bin/sh\n\
             mkdir '{lived}' 2>/dev/null || exec '{worker}' --child '{next}'\n\
             exec 9</etc/passwd {door} {PYTHON} -I -S -c \"$(cat '{deeds_file}')\" {port} '{socket}' '{writable}' '{link}' {deeds}\n",
            lived = at("lived"),
            worker = worker().display(),
            next = serde_json::to_string(&one_child()).unwrap(),
            deeds_file = at("deeds.py"),
            socket = at("socket"),
            writable = at("writable"),
            link = at("tessdata/eng.traineddata"),
        );
        let program = PathBuf::from(at("child"));
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    /// The jail of the real child, with Python as what may be started beside.
    fn jail(&self) -> String {
        let config = serde_json::to_string(&self.config).unwrap();
        format!("'{}' '{config}'", env!("CARGO_BIN_EXE_in-jail"))
    }

    async fn engine(&self, door: &str, deeds: &[&str]) -> Engine {
        Engine::start(self.child(door, &deeds.join(",")), self.config.clone()).await.expect("it says that it is ready")
    }

    fn nobody_came(&self) {
        assert_eq!(self.tcp.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(self.unix.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(fs::read_dir(self.directory.path().join("writable")).unwrap().count(), 0);
    }
}

/// What the hostile child says of its deeds, line by line; then the worker must read the next document.
async fn told_by(outside: &Outside, door: &str, deeds: &[&str]) -> Vec<String> {
    let engine = outside.engine(door, deeds).await;
    let told =
        read(&engine, Kind::Picture, &b"a picture"[..]).await.expect("deeds are no failure of the engine").text();
    still_reads(&engine).await;
    told.lines().map(str::to_owned).collect()
}

async fn still_reads(engine: &Engine) {
    let next = read(engine, Kind::Picture, sample("letter.png")).await.expect("the next document is read");
    assert!(next.text().contains("Stadtwerke"), "{}", next.text());
}

/// Deeds and how each ends in the jail. They do no harm outside.
const HARMLESS: [(&str, &str); 12] = [
    ("read-what-was-left-open", "EBADF"),
    ("connect-tcp", "SIGSYS"),
    ("connect-unix", "SIGSYS"),
    ("read-passwd", "EACCES"),
    ("read-environment", "EACCES"),
    ("list-root", "EACCES"),
    ("follow-link", "EACCES"),
    ("write-outside", "EACCES"),
    ("make-link", "ENOSYS"),
    ("make-directory", "ENOSYS"),
    ("start-shell", "EACCES"),
    ("write-null", "done"),
];

const HARMFUL: [(&str, &str); 22] = [
    ("read-memory", "EACCES"),
    ("trace-parent", "SIGSYS"),
    ("kill-parent", "SIGSYS"),
    ("kill-parents-thread", "ENOSYS"),
    ("kill-parent-by-pipe", "SIGSYS"),
    ("choose-signal", "SIGSYS"),
    ("ask-for-signals", "SIGSYS"),
    ("own-by-structure", "SIGSYS"),
    ("notify-of-directory", "ENOSYS"),
    ("lease", "ENOSYS"),
    ("copy-and-unblock", "done"),
    ("limit-parent", "ENOSYS"),
    ("outlive-parent", "ENOSYS"),
    ("leave-group", "SIGSYS"),
    ("become-root", "ENOSYS"),
    ("new-namespace", "SIGSYS"),
    ("mount", "SIGSYS"),
    ("io-uring", "SIGSYS"),
    ("bpf", "SIGSYS"),
    ("kernel-keys", "SIGSYS"),
    ("memory-10-gb", "ENOMEM"),
    ("file-10-gb", "EFBIG"),
];

fn names<'a>(deeds: &[(&'a str, &str)]) -> Vec<&'a str> {
    deeds.iter().map(|(name, _)| *name).collect()
}

fn lines(deeds: &[(&str, &str)]) -> Vec<String> {
    deeds.iter().map(|(name, end)| format!("{name} {end}")).collect()
}

#[tokio::test]
async fn a_child_that_was_taken_over_reaches_nothing() {
    let outside = Outside::new();
    assert_eq!(told_by(&outside, &outside.jail(), &names(&HARMLESS)).await, lines(&HARMLESS));
    outside.nobody_came();
}

#[tokio::test]
async fn outside_of_the_jail_the_same_deeds_succeed() {
    let outside = Outside::new();
    let told = told_by(&outside, "", &names(&HARMLESS)).await;
    // The shell takes the place of who would tell.
    let expected: Vec<_> = names(&HARMLESS).into_iter().filter(|name| *name != "start-shell").collect();
    assert_eq!(told, expected.iter().map(|name| format!("{name} done")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_child_that_was_taken_over_harms_nobody() {
    let outside = Outside::new();
    assert_eq!(told_by(&outside, &outside.jail(), &names(&HARMFUL)).await, lines(&HARMFUL));
    outside.nobody_came();
}

#[tokio::test]
async fn a_fork_bomb_ends_after_a_few_processes_and_goes_with_the_child() {
    let outside = Outside::new();
    let told = told_by(&outside, &outside.jail(), &["fork-bomb", "nothing"]).await;
    let forked: u32 = told.iter().find_map(|line| line.strip_prefix("forked ")?.parse().ok()).expect("it counts");
    assert!(told.contains(&"fork-bomb EAGAIN".to_owned()), "{told:?}");
    // A user of its own: 8 in all. Without one, as in a chroot, 1,024 beside what that user had running before.
    assert!(forked < 2_000, "{forked}");
    gone(&outside.directory.path().display().to_string()).await;
}

#[tokio::test]
async fn endless_output_of_a_child_that_was_taken_over_ends_it() {
    let outside = Outside::new();
    let engine = outside.engine(&outside.jail(), &["endless-output"]).await;
    let error = read(&engine, Kind::Picture, &b"a picture"[..]).await.expect_err("no page is endless");
    assert!(matches!(error, Error::Protocol(_)), "{error}");
    still_reads(&engine).await;
}

#[tokio::test]
async fn a_child_that_the_jail_ended_is_told_from_one_that_crashed() {
    let outside = Outside::new();
    let engine = outside.engine(&outside.jail(), &["itself-a-socket"]).await;
    let error = read(&engine, Kind::Picture, &b"a picture"[..]).await.expect_err("a reader opens no socket");
    assert!(matches!(&error, Error::Denied(how) if how.contains("SIGSYS")), "{error}");
    still_reads(&engine).await;
    outside.nobody_came();
}

/// The real child as on a kernel without Landlock.
fn on_an_older_kernel(directory: &TempDir) -> PathBuf {
    let at = |name: &str| directory.path().join(name);
    fs::write(at("older_kernel.py"), include_str!("breakouts/older_kernel.py")).unwrap();
    let script = format!(
        "#!/bin/sh\nexec {PYTHON} -I -S '{}' '{}' \"$@\"\n",
        at("older_kernel.py").display(),
        worker().display()
    );
    fs::write(at("child"), script).unwrap();
    fs::set_permissions(at("child"), fs::Permissions::from_mode(0o755)).unwrap();
    at("child")
}

#[tokio::test]
async fn without_a_lock_the_worker_does_not_start_and_says_how_to_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let program = on_an_older_kernel(&directory);
    let error = Engine::start(program.clone(), one_child()).await.err().expect("the jail is open").to_string();
    assert!(error.contains("files (this kernel has no Landlock)"), "{error}");
    assert!(error.contains("jail = \"best-effort\""), "{error}");
    let lenient = OcrConfig { jail: Strictness::BestEffort, ..one_child() };
    still_reads(&Engine::start(program, lenient).await.expect("it was told so")).await;
}
