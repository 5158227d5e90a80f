#![allow(clippy::unwrap_used)]
use super::*;

fn engines(hosts: usize, in_flight_documents_max: usize) -> Engines {
    let addresses = (0..hosts).map(|host| format!("127.0.0.1:{host}")).collect();
    Engines::new(&ClamdConfig { addresses, in_flight_documents_max, ..ClamdConfig::default() })
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(50)
}

async fn lease<'a>(engines: &'a Engines, tried: &[usize]) -> Option<Lease<'a>> {
    engines.lease(tried, Purpose::Fresh, soon()).await.unwrap()
}

fn vouched(number: i64, fresh: Result<(), crate::Stale>) -> Vouched {
    let database = format!("{number}/Mon Nov 24 09:36:00 2025");
    Vouched { version: Version { engine: "ClamAV 1.4.6".into(), database }, fresh }
}

#[tokio::test]
async fn documents_are_spread_over_the_hosts_and_no_host_has_more_than_its_share() {
    let engines = engines(3, 2);
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(lease(&engines, &[]).await.unwrap());
    }
    let of = |host| held.iter().filter(|lease| lease.host() == host).count();
    assert_eq!((of(0), of(1), of(2)), (2, 2, 2));
    let busy = engines.lease(&[], Purpose::Fresh, soon()).await;
    assert!(matches!(busy, Err(Error::Busy)), "a seventh waits until its deadline");
    let freed = held.remove(0).host();
    assert_eq!(lease(&engines, &[]).await.unwrap().host(), freed);
}

#[tokio::test]
async fn who_waits_for_a_slot_gets_the_first_that_is_free() {
    let engines = engines(1, 1);
    let held = lease(&engines, &[]).await.unwrap();
    let by = Instant::now() + Duration::from_secs(30);
    let (next, ()) = tokio::join!(engines.lease(&[], Purpose::Fresh, by), async move {
        tokio::task::yield_now().await;
        drop(held);
    });
    assert!(next.unwrap().is_some());
}

#[tokio::test]
async fn a_host_that_failed_rests_while_there_is_another_and_is_better_than_none() {
    let engines = engines(2, 4);
    engines.failed(0, &Error::Away("no connection".into()));
    for _ in 0..3 {
        assert_eq!(lease(&engines, &[]).await.unwrap().host(), 1);
    }
    assert_eq!(lease(&engines, &[1]).await.unwrap().host(), 0, "the other was tried");
    assert!(lease(&engines, &[0, 1]).await.is_none());
    engines.is_well(0, &vouched(1, Ok(())));
    let (one, two) = (lease(&engines, &[]).await.unwrap(), lease(&engines, &[]).await.unwrap());
    assert_ne!(one.host(), two.host(), "it is back");
}

#[tokio::test]
async fn a_stale_host_is_asked_only_when_no_fresh_one_is_left() {
    let engines = engines(2, 1);
    engines.is_well(0, &vouched(1, Err(crate::Stale::Undated)));
    engines.is_well(1, &vouched(2, Ok(())));
    let held = lease(&engines, &[]).await.unwrap();
    assert_eq!(held.host(), 1);
    let waits = engines.lease(&[], Purpose::Fresh, soon()).await;
    assert!(matches!(waits, Err(Error::Busy)), "a fresh one that is busy is waited for");
    drop(held);
    assert_eq!(lease(&engines, &[1]).await.unwrap().host(), 0);
    engines.failed(1, &Error::Away("gone".into()));
    assert_eq!(lease(&engines, &[]).await.unwrap().host(), 0, "what it finds counts");
}

#[tokio::test]
async fn a_rescan_leaves_half_of_the_slots_and_waits_for_no_host_that_is_not_well() {
    let engines = engines(1, 4);
    let again = || engines.lease(&[], Purpose::Again, soon());
    let held = [again().await.unwrap(), again().await.unwrap()];
    assert!(held.iter().all(Option::is_some));
    assert!(matches!(again().await, Err(Error::Busy)));
    assert!(lease(&engines, &[]).await.is_some(), "a fresh document passes");
    drop(held);
    engines.failed(0, &Error::Blind("the test file came back".into()));
    assert!(again().await.unwrap().is_none());
}

#[test]
fn what_is_due_is_told_by_the_oldest_signatures_in_use() {
    let engines = engines(3, 1);
    assert_eq!(engines.database_number(), None, "nobody has answered");
    engines.is_well(0, &vouched(27_501, Ok(())));
    engines.is_well(1, &vouched(27_500, Ok(())));
    assert_eq!(engines.database_number(), Some(27_500));
    engines.is_well(2, &vouched(9, Err(crate::Stale::Undated)));
    assert_eq!(engines.database_number(), Some(27_500), "a stale one gives no clean verdicts");
    engines.failed(1, &Error::Away("gone".into()));
    assert_eq!(engines.database_number(), Some(27_501));
}
