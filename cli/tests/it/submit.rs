use tokio::process::Command;

use crate::{
    fake_api,
    fleet::{docfleet, end},
};

fn submit(api: &str, directory: &std::path::Path, more: &[&str]) -> Command {
    let mut args = vec!["submit", directory.to_str().unwrap(), "--timeout", "2s"];
    args.extend_from_slice(more);
    let mut command = docfleet(&args);
    command.env("DOCFLEET__API__LISTEN", api);
    command
}

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

#[tokio::test]
async fn the_table_tells_what_became_of_each_file_and_names_the_original() {
    let (api, seen) = fake_api::start().await;
    let files = directory(&[("a.txt", "same"), ("b.txt", "same"), ("c.txt", "other"), (".hidden", "x")]);
    let ended = end(submit(&api, files.path(), &["--tenant", "acme"])).await;
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    let row = |name: &str| ended.stdout.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_owned();
    assert!(
        row("a.txt").contains("91 %") && row("a.txt").contains("Dear Sir or Madam") && row("a.txt").contains("2.5"),
        "{}",
        ended.stdout
    );
    assert!(row("b.txt").contains(" a.txt "), "the original's name: {}", ended.stdout);
    assert!(ended.stdout.contains("3 of 3 finished"));
    assert!(ended.stderr.contains("a.txt: finished"), "progress in plain lines: {}", ended.stderr);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.tenants, ["acme"; 3]);
    let keys: std::collections::BTreeSet<&String> = seen.idempotency_keys.iter().collect();
    assert_eq!(keys.len(), 3, "each upload has its own");
}

#[tokio::test]
async fn a_busy_api_is_asked_again() {
    let (api, seen) = fake_api::start().await;
    let files = directory(&[("flaky.txt", "1")]);
    let ended = end(submit(&api, files.path(), &[])).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(seen.lock().unwrap().documents.len(), 1);
}

#[tokio::test]
async fn an_unfinished_and_a_refused_file_are_problems_and_do_not_stop_the_others() {
    let (api, _) = fake_api::start().await;
    let files = directory(&[("good.txt", "1"), ("huge.txt", "2"), ("stuck.txt", "3")]);
    let ended = end(submit(&api, files.path(), &["--json"])).await;
    assert_eq!(ended.code, 1);
    let report = ended.json();
    assert_eq!((&report["finished"], &report["total"]), (&1.into(), &3.into()));
    assert!(report["documents"][1]["problem"].as_str().unwrap().contains("at most 10 bytes"));
    assert_eq!(report["documents"][2]["problem"], "not finished in time: waiting for the virus scan");
}

#[tokio::test]
async fn idempotency_keys_follow_from_name_and_content() {
    let (api, seen) = fake_api::start().await;
    let files = directory(&[("a.txt", "same"), ("b.txt", "same")]);
    for _ in 0..2 {
        assert_eq!(end(submit(&api, files.path(), &["--idempotency"])).await.code, 0);
    }
    let keys = seen.lock().unwrap().idempotency_keys.clone();
    assert_eq!((&keys[0], &keys[1]), (&keys[2], &keys[3]));
    assert_ne!(keys[0], keys[1]);
}
