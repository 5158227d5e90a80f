use std::{collections::HashMap, sync::Arc, time::Duration};

use dedup::contents::{Content, ContentKey, claim, note_duplicates};
use docfleet_testkit::Database;
use sqlx::PgPool;
use tokio::sync::Barrier;
use uuid::Uuid;

fn content(tenant: &str, byte: u8, document: u128) -> Content {
    Content {
        tenant: tenant.into(),
        sha256: [byte; 32],
        document_id: Uuid::from_u128(document),
        is_probably_known: false,
    }
}

fn believed(content: Content) -> Content {
    Content { is_probably_known: true, ..content }
}

async fn claimed(pool: &PgPool, contents: &[Content]) -> HashMap<ContentKey, Uuid> {
    let mut transaction = pool.begin().await.unwrap();
    let firsts = claim(&mut transaction, contents).await.unwrap();
    transaction.commit().await.unwrap();
    firsts
}

#[tokio::test]
async fn the_first_document_of_a_content_in_a_tenant_is_unique_and_every_later_one_is_not() {
    let pool = Database::fresh().await.pool();
    let first = claimed(&pool, &[content("a", 1, 10), content("a", 2, 11), content("b", 1, 12)]).await;
    assert_eq!(first[&("a".into(), [1; 32])], Uuid::from_u128(10));
    assert_eq!(first[&("b".into(), [1; 32])], Uuid::from_u128(12), "tenants do not meet");
    let later = claimed(&pool, &[content("a", 1, 20), content("a", 3, 21)]).await;
    assert_eq!(later[&("a".into(), [1; 32])], Uuid::from_u128(10));
    assert_eq!(later[&("a".into(), [3; 32])], Uuid::from_u128(21));
    let again = claimed(&pool, &[content("a", 1, 10)]).await;
    assert_eq!(again[&("a".into(), [1; 32])], Uuid::from_u128(10), "a repetition stays the first");
    assert!(claimed(&pool, &[]).await.is_empty());
}

#[tokio::test]
async fn twins_in_one_batch_have_one_first() {
    let pool = Database::fresh().await.pool();
    let firsts = claimed(&pool, &[content("a", 1, 30), content("a", 1, 10), content("a", 1, 20)]).await;
    assert_eq!(firsts[&("a".into(), [1; 32])], Uuid::from_u128(30), "the earlier one in the batch");
}

#[tokio::test]
async fn when_both_arrive_at_once_one_waits_for_the_other_and_follows_it() {
    let pool = Database::fresh().await.pool();
    let mut one = pool.begin().await.unwrap();
    let firsts = claim(&mut one, &[content("a", 1, 10)]).await.unwrap();
    assert_eq!(firsts[&("a".into(), [1; 32])], Uuid::from_u128(10));
    let other = tokio::spawn({
        let pool = pool.clone();
        async move { claimed(&pool, &[content("a", 1, 20)]).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!other.is_finished(), "nobody knows yet who is first");
    one.commit().await.unwrap();
    assert_eq!(other.await.unwrap()[&("a".into(), [1; 32])], Uuid::from_u128(10));
}

#[tokio::test]
async fn when_the_one_that_was_waited_for_rolls_back_the_other_is_first() {
    let pool = Database::fresh().await.pool();
    let mut one = pool.begin().await.unwrap();
    claim(&mut one, &[content("a", 1, 10)]).await.unwrap();
    let other = tokio::spawn({
        let pool = pool.clone();
        async move { claimed(&pool, &[content("a", 1, 20)]).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    one.rollback().await.unwrap();
    assert_eq!(other.await.unwrap()[&("a".into(), [1; 32])], Uuid::from_u128(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_with_the_same_contents_at_once_agree_and_do_not_deadlock() {
    const WORKERS: u128 = 4;
    let pool = Database::fresh().await.pool();
    let start = Arc::new(Barrier::new(WORKERS as usize));
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (pool, start) = (pool.clone(), Arc::clone(&start));
            tokio::spawn(async move {
                let mut seen = Vec::new();
                for round in 0..10_u8 {
                    let tenant = format!("tenant-{round}");
                    let mut batch: Vec<_> =
                        (0..250).map(|n| content(&tenant, n, worker * 1_000 + u128::from(n))).collect();
                    // Half of them meet the others head-on.
                    if worker % 2 == 0 {
                        batch.reverse();
                    }
                    start.wait().await;
                    seen.push(claimed(&pool, &batch).await);
                }
                seen
            })
        })
        .collect();
    let mut agreed: HashMap<ContentKey, Uuid> = HashMap::new();
    for worker in workers {
        for (key, first) in worker.await.unwrap().into_iter().flatten() {
            assert_eq!(*agreed.entry(key).or_insert(first), first);
        }
    }
    assert_eq!(agreed.len(), 2_500);
}

#[tokio::test]
async fn what_the_cache_believes_changes_no_answer() {
    let pool = Database::fresh().await.pool();
    claimed(&pool, &[content("a", 1, 10)]).await;
    let batch =
        [believed(content("a", 1, 20)), believed(content("a", 2, 21)), content("a", 2, 22), content("a", 3, 23)];
    let firsts = claimed(&pool, &batch).await;
    assert_eq!(firsts[&("a".into(), [1; 32])], Uuid::from_u128(10), "it was right");
    assert_eq!(firsts[&("a".into(), [2; 32])], Uuid::from_u128(21), "it was wrong: nobody had this before");
    assert_eq!(firsts[&("a".into(), [3; 32])], Uuid::from_u128(23));
}

#[tokio::test]
async fn duplicates_are_on_record_once_with_their_types() {
    let pool = Database::fresh().await.pool();
    let mut connection = pool.acquire().await.unwrap();
    note_duplicates(&mut connection, &[]).await.unwrap();
    let twice = [(content("a", 1, 20), "text/plain"), (content("a", 1, 10), "text/csv"), (content("a", 1, 20), "x")];
    note_duplicates(&mut connection, &twice).await.unwrap();
    note_duplicates(&mut connection, &[(content("a", 1, 10), "text/plain")]).await.unwrap();
    let rows: Vec<(Uuid, String)> = sqlx::query_as("SELECT document_id, mime FROM documents.duplicates ORDER BY 1")
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    assert_eq!(rows, [(Uuid::from_u128(10), "text/csv".into()), (Uuid::from_u128(20), "text/plain".into())]);
}
