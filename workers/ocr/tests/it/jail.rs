//! What surrounds a real child, seen through /proc.

use std::{fs, path::PathBuf, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ocr::{
    Kind, OcrConfig, Unreadable,
    engine::{Engine, Error},
};
use tokio_util::sync::CancellationToken;

use super::{TENANT, files::sample, one_child, read, reason, worker};

/// Processes whose command line contains `mark`, as its own number differs.
pub fn processes_with(mark: &str) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let me = i32::try_from(std::process::id()).unwrap();
    pids.filter(|pid| *pid != me)
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(mark))
        })
        .collect()
}

/// Waits until no process has `mark`; the kernel takes its time when it is busy.
pub async fn gone(mark: &str) {
    for _ in 0..250 {
        if processes_with(mark).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{mark} lives on");
}

/// Waits until this child is no more.
async fn ended(pid: i32) {
    for _ in 0..250 {
        if fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        } else {
            return;
        }
    }
    panic!("{pid} lives on");
}

/// A number that no other process of any run has on its command line.
pub fn mark(nth: u32) -> u32 {
    assert!(nth < 100);
    std::process::id() * 100 + nth
}

/// An engine whose child can be told from those of the other tests by the `nth` mark on its command line.
async fn marked(nth: u32, config: OcrConfig) -> (Engine, i32) {
    let engine = Engine::start(worker(), OcrConfig { pages_max: mark(nth), ..config }).await.unwrap();
    (engine, the_child(nth))
}

fn mark_of_child(nth: u32) -> String {
    format!("\"pages_max\":{},", mark(nth))
}

fn the_child(nth: u32) -> i32 {
    let [pid] = processes_with(&mark_of_child(nth)).try_into().expect("one child");
    pid
}

fn of_proc(pid: i32, file: &str) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/{file}")).unwrap()).into_owned()
}

#[tokio::test]
async fn a_child_has_limits_and_nothing_of_the_workers() {
    let (_engine, pid) = marked(1, one_child()).await;
    let limits = of_proc(pid, "limits");
    let limit = |name: &str| {
        let values = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}"));
        values.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max core file size")[..2], ["0", "0"]);
    assert_eq!(limit("Max address space")[..2], ["2147483648", "2147483648"]);
    assert_eq!(limit("Max open files")[..2], ["64", "64"]);
    assert_eq!(limit("Max file size")[..2], ["68157440", "68157440"]);
    let names: Vec<String> = of_proc(pid, "environ")
        .split_terminator('\0')
        .filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()))
        .collect();
    assert_eq!(names, ["HOME", "LANG", "OMP_THREAD_LIMIT", "PATH"]);
    assert!(of_proc(pid, "status").contains("NoNewPrivs:\t1"));
    let stat = of_proc(pid, "stat");
    assert_eq!(stat.split(' ').nth(4), Some(pid.to_string().as_str()), "it leads its own group");
    assert_eq!(fs::read_link(format!("/proc/{pid}/fd/2")).unwrap(), PathBuf::from("/dev/null"));
}

#[tokio::test]
async fn no_document_touches_a_disk() {
    let (engine, pid) = marked(8, one_child()).await;
    for name in ["contract.pdf", "statement-scan.pdf"] {
        assert_eq!(read(&engine, Kind::Pdf, sample(name)).await.unwrap().reason(), None);
    }
    // The child still holds the last document open: in memory.
    let open =
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let elsewhere = open
        .map(|target| target.display().to_string())
        .filter(|target| !["pipe:", "/memfd:", "/dev/null"].iter().any(|known| target.starts_with(known)));
    assert_eq!(elsewhere.collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test]
async fn a_child_is_behind_every_lock_that_this_kernel_has() {
    let (_engine, pid) = marked(10, one_child()).await;
    let status = of_proc(pid, "status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!((field("Seccomp:"), field("Seccomp_filters:")), (vec!["2".to_owned()], vec!["2".to_owned()]));
    assert_eq!(field("CapEff:"), ["0000000000000000"]);
    assert_eq!(field("CapPrm:"), ["0000000000000000"]);
    assert!(!field("Uid:").contains(&"0".to_owned()), "root was given up");
    assert_eq!(of_proc(pid, "oom_score_adj").trim(), "1000", "the first to go");
    let network = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    if nix::unistd::getuid().is_root() {
        assert_ne!(network(&pid.to_string()), network("self"));
        assert_eq!(field("Groups:"), [""; 0]);
        // Two children are two users: neither may touch the other.
        let (_other, second) = marked(11, one_child()).await;
        assert!(!of_proc(second, "status").contains(&format!("Uid:\t{}", field("Uid:")[0])));
    }
}

#[tokio::test]
async fn a_child_killed_in_the_middle_is_a_crash_and_another_reads_on() {
    let (engine, pid) = marked(2, OcrConfig { render_dpi: 600, ..one_child() }).await;
    let killing = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(400)).await;
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    });
    let error = read(&engine, Kind::Pdf, sample("statement-scan.pdf")).await.expect_err("it was killed");
    killing.await.unwrap();
    assert!(matches!(&error, Error::Crashed(how) if how.contains("SIGKILL")), "{error}");
    assert_eq!(read(&engine, Kind::Picture, sample("letter.png")).await.unwrap().reason(), None);
    assert_ne!(the_child(2), pid);
}

#[tokio::test]
async fn a_child_killed_while_idle_costs_no_document_its_try() {
    let (engine, pid) = marked(3, one_child()).await;
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    for _ in 0..250 {
        if of_proc(pid, "stat").contains(") Z ") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read(&engine, Kind::Picture, sample("letter.png")).await.unwrap().reason(), None);
}

#[tokio::test]
async fn a_page_and_a_document_over_their_wall_clock_end_the_child() {
    for (nth, config) in [
        (4, OcrConfig { page_time_max: Duration::from_millis(50), ..one_child() }),
        (5, OcrConfig { document_time_max: Duration::from_millis(250), ..one_child() }),
    ] {
        let (engine, pid) = marked(nth, config).await;
        assert_eq!(reason(&engine, Kind::Pdf, sample("statement-scan.pdf")).await, Some(Unreadable::TooSlow));
        ended(pid).await;
    }
}

#[tokio::test]
async fn a_try_that_is_abandoned_ends_the_child() {
    let (engine, pid) = marked(6, one_child()).await;
    let abandoned =
        tokio::time::timeout(Duration::from_millis(150), read(&engine, Kind::Pdf, sample("statement-scan.pdf")));
    assert!(abandoned.await.is_err());
    assert_eq!(read(&engine, Kind::Picture, sample("letter.png")).await.unwrap().reason(), None);
    assert_ne!(the_child(6), pid);
}

#[tokio::test]
async fn a_process_that_is_to_end_stops_between_two_pages() {
    let (engine, _) = marked(7, one_child()).await;
    let stop = CancellationToken::new();
    stop.cancel();
    let error = engine.lease(TENANT).await.unwrap().read(Kind::Picture, sample("letter.png").into(), &stop).await;
    assert!(matches!(error, Err(Error::Stopping)));
}

#[tokio::test]
async fn a_child_is_replaced_after_its_number_of_documents_before_it_is_needed() {
    let (engine, first) = marked(9, OcrConfig { documents_per_child: 1, ..one_child() }).await;
    read(&engine, Kind::Plain, &b"one"[..]).await.unwrap();
    ended(first).await;
    // Nobody has asked for it.
    let mut second = Vec::new();
    for _ in 0..1_500 {
        second = processes_with(&mark_of_child(9));
        if !second.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(second.len() == 1 && second != [first], "{second:?}");
    read(&engine, Kind::Plain, &b"two"[..]).await.unwrap();
    ended(second[0]).await;
}

#[tokio::test]
async fn documents_are_read_by_as_many_children_as_configured() {
    let engine = Engine::start(worker(), OcrConfig { children: 2, ..OcrConfig::default() }).await.unwrap();
    let (one, two) = (engine.lease(TENANT).await.unwrap(), engine.lease(TENANT).await.unwrap());
    assert!(
        tokio::time::timeout(Duration::from_millis(100), engine.lease(TENANT)).await.is_err(),
        "a third has to wait"
    );
    drop((one, two));
    engine.lease(TENANT).await.unwrap();
}
