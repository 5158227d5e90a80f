//! `docs/guarantees.md`: every promise names its test, and every test that is named is there.

use std::path::PathBuf;

use crate::sources::{code_spans, files, read, root};

const PAGE: &str = "docs/guarantees.md";
const NOT_PROMISED: &str = "## Not promised";

#[test]
fn every_promise_names_tests_that_exist() {
    let page = read(PAGE);
    let (promises, _) = page.split_once(NOT_PROMISED).expect("the page says what is not promised");
    let items: Vec<&str> = promises.split("\n- ").skip(1).collect();
    assert!(items.len() > 50, "the page is read at all");
    let mut missing = Vec::new();
    for item in items {
        let names: Vec<&str> = code_spans(item).filter(|span| span.contains("::")).collect();
        if names.is_empty() {
            missing.push(format!("no test is named: {item}"));
        }
        missing.extend(names.into_iter().filter(|name| !exists(name)).map(|name| format!("there is no {name}")));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// `crate::module::…::test`, where the crate is its folder's name and the module `it` its integration tests.
fn exists(name: &str) -> bool {
    let mut parts: Vec<&str> = name.split("::").collect();
    let (Some(test), true) = (parts.pop(), parts.len() >= 2) else { return false };
    let folder = ["crates", "workers", "services", "tests", "."].map(|parent| root().join(parent).join(parts[0]));
    let Some(folder) = folder.into_iter().find(|folder| folder.join("Cargo.toml").is_file()) else { return false };
    let declared = format!("fn {test}(");
    let is_test = |text: &str| text.split_once(&declared).is_some_and(|(before, _)| is_marked(before));
    candidates(folder, &parts[1..])
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .any(|text| is_test(&text))
}

/// The last attribute before the function, perhaps with others between, is a test's.
fn is_marked(before: &str) -> bool {
    before.rsplit_once("test").is_some_and(|(head, between)| {
        (head.ends_with("#[") || head.ends_with("#[tokio::")) && !between.contains("fn ")
    })
}

/// Where a module may stand.
fn candidates(folder: PathBuf, modules: &[&str]) -> Vec<PathBuf> {
    let (base, modules) = match modules {
        ["it", rest @ ..] => (folder.join("tests/it"), rest),
        all => (folder.join("src"), all),
    };
    if modules.is_empty() {
        return vec![base.join("main.rs"), base.join("lib.rs")];
    }
    let path = base.join(modules.join("/"));
    vec![path.with_extension("rs"), path.join("mod.rs"), base.join("lib.rs")]
}

/// The feature is the tests' own: nobody but its crate names it, and it is not on by itself.
#[test]
fn no_program_has_planted_bugs() {
    for manifest in files("Cargo.toml") {
        let text = std::fs::read_to_string(&manifest).unwrap();
        let named: Vec<&str> = text.lines().filter(|line| line.contains("planted-bugs")).collect();
        let expected: &[&str] =
            if manifest.ends_with("crates/pipeline/Cargo.toml") { &["planted-bugs = []"] } else { &[] };
        assert_eq!(named, expected, "{}", manifest.display());
    }
    let building = files(".sh").into_iter().filter(|script| !script.ends_with("scripts/commands/test.sh"));
    for place in building.chain(files("Dockerfile")) {
        let text = std::fs::read_to_string(&place).unwrap();
        assert!(!text.contains("planted-bugs") && !text.contains("--all-features"), "{}", place.display());
    }
}

#[test]
fn a_test_that_is_not_there_is_noticed() {
    assert!(exists("pipeline::consumer::ledger::nothing_open_is_ever_committed"));
    assert!(exists("fleet::it::guarantees::a_test_that_is_not_there_is_noticed"));
    assert!(!exists("pipeline::consumer::ledger::frontier"), "a function that is no test");
    for wrong in ["pipeline::ledger::nothing_open_is_ever_committed", "nowhere::x::y", "pipeline::y", "x", ""] {
        assert!(!exists(wrong), "{wrong}");
    }
}
