//! A child that was taken over by a document, played by a script.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::Duration,
};

use docfleet_jail::Report;
use ocr::{
    Kind, OcrConfig, Unreadable,
    engine::{Engine, Error},
    protocol::{Reply, frame_start},
    reading::Reading,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{
    jail::{gone, mark},
    one_child, read, reason,
};

/// A program that says it is ready and then does `deed`.
fn child_that(deed: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let ready =
        frame_start(&Reply::Ready { tesseract: "5".into(), poppler: "22".into(), jail: Report::default() }, 0).unwrap();
    std::fs::write(at("ready"), ready).unwrap();
    std::fs::write(at("opened"), frame_start(&Reply::Opened { pages: 1 }, 0).unwrap()).unwrap();
    std::fs::write(at("three"), frame_start(&Reply::Opened { pages: 3 }, 0).unwrap()).unwrap();
    std::fs::write(at("many"), frame_start(&Reply::Opened { pages: u32::MAX }, 0).unwrap()).unwrap();
    let page = Reply::Page {
        source: docfleet_events::TextSource::Ocr,
        confidence: Some(1e300),
        words: u32::MAX,
        text_bytes: 4,
    };
    let eight = Reply::Page { source: docfleet_events::TextSource::Ocr, confidence: None, words: 1, text_bytes: 8 };
    std::fs::write(at("eight"), frame_start(&eight, 8).unwrap()).unwrap();
    std::fs::write(at("page"), [frame_start(&page, 4).unwrap(), b"a\0b\xFF".to_vec()].concat()).unwrap();
    let script = format!("#!/bin/sh\nhere='{}'\ncat \"$here/ready\"\n{deed}\n", directory.path().display());
    let program = at("child");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    (directory, program)
}

async fn error_of(deed: &str) -> Error {
    let (_directory, program) = child_that(deed);
    let engine = Engine::start(program, one_child()).await.expect("it says that it is ready");
    read(&engine, Kind::Picture, &b"document"[..]).await.expect_err(deed)
}

/// Its process number is what a child says to be the text of each document.
async fn pid_of(engine: &Engine, tenant: &str) -> String {
    let lease = engine.lease(tenant).await.unwrap();
    lease.read(Kind::Picture, b"document".as_slice().into(), &CancellationToken::new()).await.unwrap().text()
}

#[tokio::test]
async fn two_tenants_never_share_a_child() {
    let tells_who_it_is =
        "for _ in 1 2 3 4 5 6 7 8; do cat \"$here/opened\" \"$here/eight\"; printf '%08d' $$; done; sleep 60";
    let (_directory, program) = child_that(tells_who_it_is);
    let engine = Engine::start(program, one_child()).await.unwrap();
    let mut had: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for tenant in ["a", "b", "a", "c", "b", "d", "a", "c", "e", "b", "a"] {
        had.entry(pid_of(&engine, tenant).await).or_default().insert(tenant);
    }
    assert!(had.values().all(|tenants| tenants.len() == 1), "{had:?}");
    assert_eq!(pid_of(&engine, "a").await, pid_of(&engine, "a").await, "a tenant keeps its child");
}

#[tokio::test]
async fn endless_output_ends_the_child_and_fills_nothing() {
    let error = error_of(&format!("yes {}", mark(20))).await;
    assert!(matches!(error, Error::Protocol(_)), "{error}");
    gone("yes 99880001").await;
}

#[tokio::test]
async fn endless_silence_ends_with_the_whole_group() {
    let config = OcrConfig { open_time_max: Duration::from_millis(300), ..one_child() };
    let silence = format!("mkdir \"$here/lived\" && {{ sleep {} & sleep {}; }}; sleep 60", mark(31), mark(32));
    let (_directory, program) = child_that(&silence);
    let engine = Engine::start(program, config).await.unwrap();
    assert_eq!(reason(&engine, Kind::Picture, &b"document"[..]).await, Some(Unreadable::TooSlow));
    for nth in [31, 32] {
        gone(&mark(nth).to_string()).await;
    }
}

/// What a child that is replaced in the middle reads: its first life and the next.
async fn in_two_lives(first: &str, next: &str, config: OcrConfig) -> Result<Reading, Error> {
    let lives = format!("if mkdir \"$here/lived\" 2>/dev/null; then {first}; else {next}; fi; sleep 60");
    let (_directory, program) = child_that(&lives);
    let engine = Engine::start(program, config).await.unwrap();
    read(&engine, Kind::Tiff, &b"document"[..]).await
}

fn numbers(reading: &Reading) -> Vec<i32> {
    reading.pages().iter().map(|page| page.number).collect()
}

#[tokio::test]
async fn a_page_over_its_time_is_a_gap_and_a_fresh_child_reads_the_others() {
    let config = OcrConfig { page_time_max: Duration::from_secs(2), ..one_child() };
    let opened_and_one_page = "cat \"$here/three\" \"$here/page\"";
    let reading = in_two_lives(opened_and_one_page, opened_and_one_page, config.clone()).await.unwrap();
    assert_eq!((reading.reason(), numbers(&reading)), (None, vec![1, 3]));
    assert_eq!(reading.text(), "ab\u{FFFD}\u{c}\u{c}ab\u{FFFD}");
    let error = in_two_lives(opened_and_one_page, "exit 7", config.clone()).await.expect_err("a crash is none");
    assert!(matches!(error, Error::Start(_) | Error::Crashed(_)), "{error}");
    let error = in_two_lives(opened_and_one_page, "cat \"$here/opened\"", config).await.expect_err("one page of three");
    assert!(matches!(error, Error::Protocol(_)), "{error}");
}

#[tokio::test]
async fn a_document_over_its_time_keeps_the_pages_before() {
    let config = OcrConfig { document_time_max: Duration::from_secs(2), ..one_child() };
    let reading = in_two_lives("cat \"$here/three\" \"$here/page\"", "true", config).await.unwrap();
    assert_eq!((reading.reason(), numbers(&reading)), (None, vec![1]));
    assert_eq!(reading.text(), "ab\u{FFFD}\u{c}\u{c}", "the pages that are left are gaps");
}

#[tokio::test]
async fn a_child_that_ends_by_a_signal_is_a_crash_that_says_so() {
    let error = error_of("kill -SEGV $$").await;
    assert!(matches!(&error, Error::Crashed(how) if how.contains("SIGSEGV")), "{error}");
    let error = error_of("exit 7").await;
    assert!(matches!(&error, Error::Crashed(how) if how.contains('7')), "{error}");
}

#[tokio::test]
async fn claims_beyond_the_agreement_are_not_believed() {
    let error = error_of("cat \"$here/many\"; sleep 60").await;
    assert!(matches!(error, Error::Protocol(_)), "{error}");
    let error = error_of("cat \"$here/page\"; sleep 60").await;
    assert!(matches!(error, Error::Protocol(_)), "a page before the opening: {error}");
}

#[tokio::test]
async fn numbers_and_text_of_a_page_are_brought_within_their_ranges() {
    let (_directory, program) = child_that("cat \"$here/opened\" \"$here/page\"; sleep 60");
    let engine = Engine::start(program, one_child()).await.unwrap();
    let reading = read(&engine, Kind::Picture, &b"document"[..]).await.unwrap();
    assert_eq!((reading.confidence(), reading.text().as_str()), (Some(100.0), "ab\u{FFFD}"));
    assert!(reading.pages()[0].words < 10);
}

#[tokio::test]
async fn a_program_that_is_no_child_does_not_start() {
    for program in ["/bin/true", "/nonexistent", "/bin/yes"] {
        assert!(matches!(Engine::start(program.into(), one_child()).await, Err(Error::Start(_))), "{program}");
    }
    let no_data = OcrConfig { languages: "tlh".to_owned(), ..one_child() };
    let error = Engine::start(super::worker(), no_data).await.err().expect("Klingon is not installed");
    assert!(error.to_string().contains("no data for the languages tlh"), "{error}");
}
