use crate::{fleet::Fleet, ledger::Ledger};

#[tokio::test]
async fn shards_are_shown_with_owner_epoch_and_what_waits() {
    let fleet = Fleet::fresh().await;
    let ledger = Ledger::good(&fleet).await;
    assert_eq!(fleet.run(&["leases"]).await.code, 0, "nothing waits");
    ledger.sql("UPDATE pipeline.outbox_events SET shard = 3 WHERE id = 1; INSERT INTO pipeline.outbox_unpublished SELECT id, created_at, shard FROM pipeline.outbox_events WHERE id = 1").await;
    let ended = fleet.run(&["leases"]).await;
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    assert!(
        ended.stdout.contains("No relay is running") && ended.stdout.contains("nobody ever had it"),
        "{}",
        ended.stdout
    );
    ledger
        .sql(
            "UPDATE pipeline.relay_leases SET owner = '01900000-0000-7000-8000-000000000001', epoch = 5,
                    expires_at = clock_timestamp() + interval '1 min';
             INSERT INTO pipeline.relay_members VALUES ('01900000-0000-7000-8000-000000000001', clock_timestamp())",
        )
        .await;
    let ended = fleet.run(&["leases", "--json"]).await;
    assert_eq!(ended.code, 0);
    let report = ended.json();
    let shard = &report["shards"][3];
    assert_eq!((&shard["epoch"], &shard["is_held"], &shard["unpublished"]), (&5.into(), &true.into(), &1.into()));
    assert!(shard["oldest_seconds"].as_f64().unwrap() >= 0.0 && shard["expires_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(report["relays"][0]["shards"], 64);
    let text = fleet.run(&["leases"]).await.stdout;
    assert!(text.contains("63 more shards held"), "{text}");
}
