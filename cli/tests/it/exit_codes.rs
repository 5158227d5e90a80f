use crate::fleet::{Fleet, docfleet, end};

/// Nothing listens there: port 1 is privileged and unused.
const NOWHERE: &str = "127.0.0.1:1";

#[tokio::test]
async fn wrong_usage_and_configuration_end_with_2() {
    assert_eq!(end(docfleet(&["frobnicate"])).await.code, 2);
    assert_eq!(end(docfleet(&["dlq", "show", "no-uuid"])).await.code, 2);
    let absent = end(docfleet(&["status", "--config", "/nonexistent/docfleet.toml"])).await;
    assert_eq!(absent.code, 2);
    assert!(absent.stderr.contains("/nonexistent/docfleet.toml"), "{}", absent.stderr);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("docfleet.toml");
    std::fs::write(&file, "[kafka]\nbrokers = [1]").unwrap();
    assert_eq!(end(docfleet(&["status", "--config", file.to_str().unwrap()])).await.code, 2);
    let mut command = docfleet(&["audit"]);
    command.env("DOCFLEET__POSTGRES__URL", "mysql://me:secret@x/y");
    let ended = end(command).await;
    assert_eq!(ended.code, 2);
    assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_server_that_is_away_ends_with_3_and_says_where_its_address_comes_from() {
    let mut command = docfleet(&["audit"]);
    command.env("DOCFLEET__POSTGRES__URL", format!("postgres://docfleet@{NOWHERE}/docfleet"));
    let ended = end(command).await;
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ended.stderr.contains("PostgreSQL is away") && ended.stderr.contains("[postgres].url"), "{}", ended.stderr);

    let fleet = Fleet::fresh().await;
    let mut command = fleet.command(&["setup"]);
    command
        .env("DOCFLEET__REGISTRY__URL", format!("http://{NOWHERE}"))
        .env("DOCFLEET__KAFKA__TOPIC_PREFIX", format!("{}r.", fleet.prefix));
    let ended = end(command).await;
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ended.stderr.contains("[registry].url"), "{}", ended.stderr);

    let mut command = fleet.command(&["setup"]);
    command.env("DOCFLEET__KAFKA__BROKERS", NOWHERE);
    let ended = end(command).await;
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ended.stderr.contains("Kafka is away"), "{}", ended.stderr);

    let mut command = docfleet(&["submit", env!("CARGO_BIN_EXE_docfleet")]);
    command.env("DOCFLEET__API__LISTEN", NOWHERE);
    let ended = end(command).await;
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ended.stderr.contains("the document API is away"), "{}", ended.stderr);
}

#[tokio::test]
async fn every_command_explains_itself_with_examples() {
    for command in [
        vec!["setup"],
        vec!["submit"],
        vec!["listen"],
        vec!["status"],
        vec!["audit"],
        vec!["pause"],
        vec!["drain"],
        vec!["throttle"],
        vec!["drop"],
        vec!["let-fail"],
        vec!["resume"],
        vec!["commands", "list"],
        vec!["dlq", "list"],
        vec!["dlq", "show"],
        vec!["dlq", "replay"],
        vec!["dlq", "groups"],
        vec!["dlq", "plan"],
        vec!["dlq", "redrives"],
        vec!["dlq", "undo"],
        vec!["dlq", "purge"],
        vec!["dlq", "restore"],
        vec!["parked", "list"],
        vec!["parked", "show"],
        vec!["parked", "resume"],
        vec!["parked", "discard"],
        vec!["parked", "bury"],
    ] {
        let mut args = command.clone();
        args.push("--help");
        let help = end(docfleet(&args)).await;
        assert_eq!(help.code, 0);
        assert!(help.stdout.contains("Example"), "{command:?}: {}", help.stdout);
    }
}
