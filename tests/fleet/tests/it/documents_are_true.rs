//! What the documents list is what the code has, and what they link to is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::sources::{code_spans, files, read, root};

/// Each section of the configuration and the types that read all of it.
const SECTIONS: [(&str, &str, &str); 18] = [
    ("service", "crates/telemetry/src/config.rs", "ServiceConfig"),
    ("telemetry", "crates/telemetry/src/config.rs", "TelemetryConfig"),
    ("postgres", "crates/pipeline/src/config.rs", "PostgresConfig"),
    ("kafka", "crates/pipeline/src/config.rs", "KafkaConfig"),
    ("registry", "crates/outbox/src/registry.rs", "RegistryConfig"),
    ("retention", "crates/outbox/src/retention.rs", "RetentionConfig"),
    ("erasure", "crates/events/src/erasure.rs", "ErasureConfig"),
    ("redis", "workers/dedup/src/cache.rs", "RedisConfig"),
    ("clamd", "workers/av-scan/src/config.rs", "ClamdConfig"),
    ("blobs", "crates/blobs/src/config.rs", "BlobsConfig"),
    ("consumer", "crates/pipeline/src/config.rs", "ConsumerConfig"),
    ("retry", "crates/pipeline/src/config.rs", "RetryConfig"),
    ("parked", "crates/pipeline/src/config.rs", "ParkedConfig"),
    ("breaker", "crates/pipeline/src/gate/config.rs", "BreakerConfig"),
    ("relay", "crates/pipeline/src/relay/config.rs", "RelayConfig"),
    ("api", "services/document-api/src/config.rs", "ApiConfig"),
    ("webhooks", "workers/webhook-dispatcher/src/config.rs", "WebhooksConfig"),
    ("ocr", "workers/ocr/src/config.rs", "OcrConfig"),
];

/// The first cells of a document's table rows, where they are code.
fn first_cells(markdown: &str) -> BTreeSet<String> {
    let cell = |line: &str| Some(line.strip_prefix("| `")?.split_once("` |")?.0.to_owned());
    markdown.lines().filter_map(cell).collect()
}

/// From a heading to the next one of its level.
fn section<'a>(markdown: &'a str, heading: &str) -> &'a str {
    let (_, rest) = markdown.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let level = format!("\n{} ", heading.split(' ').next().unwrap());
    rest.split(&level).next().unwrap()
}

#[test]
fn every_metric_is_specified_and_no_other() {
    let specification = read("docs/specs/instrumentation.md");
    let listed = first_cells(section(&specification, "## Metrics"));
    let mut declared = BTreeSet::new();
    for file in files("metric.rs") {
        let text = std::fs::read_to_string(&file).unwrap();
        let names = text.lines().filter_map(|line| line.strip_prefix("pub const ")?.split('"').nth(1));
        declared.extend(names.map(str::to_owned));
    }
    assert!(declared.len() > 30, "the sources are read at all: {declared:?}");
    assert_eq!(listed, declared);
    for name in declared {
        assert!(name.starts_with("docfleet_"), "{name}");
    }
}

#[test]
fn every_header_is_specified_and_no_other() {
    let specification = read("docs/specs/instrumentation.md");
    let listed: BTreeSet<&str> = code_spans(section(&specification, "## Headers of records"))
        .filter(|name| name.starts_with("docfleet_"))
        .collect();
    let source = read("crates/pipeline/src/header.rs");
    let declared = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split('"').nth(1));
    assert_eq!(listed, declared.filter(|name| *name != "docfleet_").collect());
}

/// Whoever meets a reason at night finds it in the page for the night.
#[test]
fn every_reason_of_a_failure_is_explained() {
    let page = read("docs/operations.md");
    let explained: BTreeSet<&str> = code_spans(&page).collect();
    let mut missing = BTreeSet::new();
    let sources = files(".rs").into_iter().filter(|path| {
        let of = |folder: &str| path.starts_with(root().join(folder));
        (of("crates/pipeline/src") || of("workers"))
            && path.iter().any(|part| part == "src")
            && !path.ends_with("tests.rs")
    });
    for source in sources {
        let text = std::fs::read_to_string(&source).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        missing.extend(reasons(code).into_iter().filter(|reason| !explained.contains(reason.as_str())));
    }
    assert!(missing.is_empty(), "{missing:?}");
}

/// Literals that classify a failure, and the constants of a module `reason`.
fn reasons(code: &str) -> Vec<String> {
    let literal = |rest: &str| Some(rest.trim_start().strip_prefix('"')?.split_once('"')?.0.to_owned());
    let mut found = Vec::new();
    for class in ["unavailable(", "transient(", "poison(", "fatal("] {
        found.extend(code.split(class).skip(1).filter_map(literal));
    }
    if let Some((_, rest)) = code.split_once("mod reason {") {
        found.extend(rest.split("\n}").next().unwrap().split("&str = ").skip(1).filter_map(literal));
    }
    found
}

#[test]
fn every_key_is_documented_and_no_other() {
    let page = read("docs/configuration.md");
    for (name, file, config) in SECTIONS {
        let listed = first_cells(section(&page, &format!("## `[{name}]`")));
        assert_eq!(listed, fields(&read(file), config), "[{name}] of {file}");
    }
}

#[test]
fn every_section_of_the_configuration_is_known_here() {
    let known: BTreeSet<&str> = SECTIONS.iter().map(|(_, _, config)| *config).collect();
    for file in files(".rs").iter().filter(|path| path.components().any(|part| part.as_os_str() == "src")) {
        let text = std::fs::read_to_string(file).unwrap();
        for block in text.split("#[serde(deny_unknown_fields, default)]").skip(1) {
            let name =
                block.split("struct ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
            assert!(!name.ends_with("Config") || known.contains(name), "{name} of {} is in no section", file.display());
        }
    }
}

/// Names of a struct's public fields.
fn fields(source: &str, name: &str) -> BTreeSet<String> {
    let (_, body) = source.split_once(&format!("pub struct {name} {{")).unwrap_or_else(|| panic!("no {name}"));
    let (body, _) = body.split_once("\n}").unwrap();
    let field = |line: &str| Some(line.trim().strip_prefix("pub ")?.split_once(':')?.0.to_owned());
    body.lines().filter_map(field).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let pages: BTreeMap<PathBuf, String> =
        files(".md").into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect();
    assert!(pages.len() > 25, "the documents are read at all");
    let mut broken = Vec::new();
    for (path, text) in &pages {
        for target in links(text).filter(|target| !target.contains("://") && !target.starts_with("mailto:")) {
            let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let to = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let Ok(to) = to.canonicalize() else {
                broken.push(format!("{}: {target}", path.display()));
                continue;
            };
            let has = |anchor: &str| pages.get(&to).is_some_and(|page| anchors(page).contains(anchor));
            if anchor.is_some_and(|anchor| !has(anchor)) {
                broken.push(format!("{}: {target} names no heading", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Targets of `[text](target)`.
fn links(markdown: &str) -> impl Iterator<Item = &str> {
    markdown.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0))
}

/// As GitHub makes them of headings: lower case, without punctuation, blanks to hyphens.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let heading = |line: &str| Some(line.trim_start_matches('#').strip_prefix(' ')?.to_lowercase());
    let kept = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == ' ';
    let slug = |text: String| text.trim().chars().filter(|c| kept(*c)).collect::<String>().replace(' ', "-");
    markdown.lines().filter(|line| line.starts_with('#')).filter_map(heading).map(slug).collect()
}

#[test]
fn every_path_that_is_named_is_there() {
    const TOPS: [&str; 9] =
        ["crates/", "workers/", "services/", "cli/", "scripts/", "migrations/", "schemas/", "deploy/", "tests/fleet/"];
    let mut missing = Vec::new();
    for page in files(".md") {
        let text = std::fs::read_to_string(&page).unwrap();
        for span in code_spans(&text).filter(|span| TOPS.iter().any(|top| span.starts_with(top))) {
            // A pattern such as `workers/*` or `servers/NAME.sh`, or a command, is no path.
            let is_path =
                span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)) && !span.contains("NAME");
            if is_path && !root().join(span).exists() {
                missing.push(format!("{}: {span}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// ADR 0011: whoever could produce past the outbox would do it one day.
#[test]
fn no_worker_and_no_service_knows_a_kafka_client() {
    for manifest in files("Cargo.toml") {
        let path = manifest.strip_prefix(root()).unwrap();
        let text = std::fs::read_to_string(&manifest).unwrap();
        if path.starts_with("workers") || path.starts_with("services") || path.starts_with(Path::new("crates/outbox")) {
            assert!(!text.contains("rdkafka"), "{}", path.display());
        }
    }
}

/// `docs/corpus.md` has a line for each kind of document of the corpus, and its outcome.
#[test]
fn the_corpus_is_documented_with_its_outcomes() {
    let page = read("docs/corpus.md");
    let told = |line: &str| {
        let cells: Vec<String> = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        (cells.len() == 3).then(|| (cells[0].clone(), cells[2].clone()))
    };
    let documented: BTreeSet<_> = page.lines().filter(|line| line.starts_with("| ")).filter_map(told).collect();
    let has: BTreeSet<_> =
        fleet_tests::corpus::all().iter().map(|case| (case.row.to_owned(), case.outcome.to_string())).collect();
    let missing: Vec<_> = has.difference(&documented).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    // And its head.
    assert_eq!(documented.len(), has.len() + 1, "{:#?}", documented.difference(&has).collect::<Vec<_>>());
}
