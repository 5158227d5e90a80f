//! `GET /v1/documents?q=` over texts as projection-builder indexes them.

use std::fmt::Write;

use serde_json::Value;
use uuid::Uuid;

use crate::service::{Service, send};

async fn indexed(service: &Service, name: &str, language: Option<&str>, text: &str) -> Uuid {
    let id = service.accepted(name, name.as_bytes()).await;
    index(service, id, "default", language, text).await;
    id
}

async fn index(service: &Service, id: Uuid, tenant: &str, language: Option<&str>, text: &str) {
    sqlx::query(
        r"INSERT INTO views.document_view
              (document_id, tenant, region, version, updated_at, uploaded_at, verdict, dedup_outcome, language, search)
          VALUES ($1, $2, 'eu-test', 4, now(), clock_timestamp(), 'clean', 'unique', $3, views.search_of($3, $4))",
    )
    .bind(id)
    .bind(tenant)
    .bind(language)
    .bind(text)
    .execute(&service.pool)
    .await
    .unwrap();
}

async fn found(service: &Service, q: &str) -> Vec<String> {
    let query = url::form_urlencoded::byte_serialize(q.as_bytes()).collect::<String>();
    names(&service.get(&format!("/v1/documents?q={query}")).await.json())
}

fn names(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item["file_name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn words_are_found_in_their_other_forms_in_the_languages_of_the_document() {
    let service = Service::start().await;
    indexed(&service, "deutsch", Some("deu"), "Die Häuser am Nirgendplatz wurden verkauft.").await;
    indexed(&service, "english", Some("eng"), "The houses were running out of money in 2026.").await;
    indexed(&service, "both", Some("deu+eng"), "Kontoeröffnungsvertrag, account opening contracts, IBAN DE12 3456")
        .await;
    for (q, expected) in [
        ("Haus", vec!["deutsch"]),
        ("häuser nirgendplatz", vec!["deutsch"]),
        ("run", vec!["english"]),
        ("house", vec!["english"]),
        ("contract", vec!["both"]),
        ("3456", vec!["both"]),
        ("\"opening contracts\"", vec!["both"]),
        ("\"contracts opening\"", vec![]),
        ("haus or house", vec!["english", "deutsch"]),
        ("money -houses", vec![]),
        ("money -Häuser", vec!["english"]),
        ("nothing", vec![]),
    ] {
        let mut names = found(&service, q).await;
        names.sort();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(names, expected, "{q}");
    }
}

#[tokio::test]
async fn what_fits_best_comes_first_and_pages_go_on_searching() {
    let service = Service::start().await;
    indexed(&service, "once", Some("eng"), "invoice and many other words that have nothing to do with it").await;
    indexed(&service, "often", Some("eng"), "invoice invoice invoice invoice").await;
    indexed(&service, "never", Some("eng"), "something else").await;
    let page = service.get("/v1/documents?q=invoice&page_size=1").await.json();
    assert_eq!((names(&page), &page["total"]), (vec!["often".to_owned()], &2.into()));
    let next = page["links"]["next"].as_str().unwrap();
    assert_eq!(names(&service.get(next).await.json()), ["once"]);
}

#[tokio::test]
async fn nothing_of_another_tenant_is_found() {
    let service = Service::start().await;
    let id = indexed(&service, "ours", Some("eng"), "secret plans").await;
    let theirs =
        send(service.request(reqwest::Method::GET, "/v1/documents?q=secret").header("x-tenant-id", "other")).await;
    assert_eq!((names(&theirs.json()), &theirs.json()["total"]), (vec![], &0.into()));
    // A row of the view that names another tenant than its document does not tell of it either.
    service.sql("UPDATE views.document_view SET tenant = 'other' WHERE document_id = $1", id).await;
    let theirs =
        send(service.request(reqwest::Method::GET, "/v1/documents?q=secret").header("x-tenant-id", "other")).await;
    assert_eq!(names(&theirs.json()), Vec::<String>::new());
}

#[tokio::test]
async fn hostile_searches_are_answered_or_refused() {
    let service = Service::start().await;
    indexed(&service, "a", None, "Robert'); DROP TABLE documents;--").await;
    for q in ["'); DROP TABLE x;--", "a & | ! <-> :* ((", "%00x", "a:b:c:d", "or or or", "\"unclosed", "ﬀ\u{202e}"] {
        found(&service, q).await;
    }
    let long = "x".repeat(201);
    let many = (0..17).fold(String::new(), |mut all, n| {
        write!(all, "w{n}+").unwrap();
        all
    });
    for q in ["", "+", "%5C", "%22%22", "a%00", &long, &many] {
        service.get(&format!("/v1/documents?q={q}")).await.problem(400, "invalid-search");
    }
    // Words that are not wanted, and nothing to look for: these would read all documents.
    for q in ["-zzz", "-a%20-b", "a%20or%20-b", "-%22a%20b%22"] {
        let detail = service.get(&format!("/v1/documents?q={q}")).await.problem(400, "invalid-search");
        assert!(detail.contains("-word"), "{detail}");
    }
    service.get("/v1/documents?q=a&q=b").await.problem(400, "invalid-page");
    service.get("/v1/documents?q=a&limit=1").await.problem(400, "invalid-page");
}

/// More different words than PostgreSQL keeps of one text.
#[tokio::test]
async fn a_text_of_too_many_words_is_searched_in_its_beginning() {
    let service = Service::start().await;
    let mut text = String::new();
    for n in 0..120_000 {
        write!(text, "w{n:06}q ").unwrap();
    }
    indexed(&service, "large", None, &text).await;
    assert_eq!(found(&service, "w000001q").await, ["large"]);
}

#[tokio::test]
async fn a_search_uses_the_index_of_tenant_and_words() {
    let service = Service::start().await;
    sqlx::raw_sql(
        r"INSERT INTO views.document_view (document_id, tenant, region, version, updated_at, uploaded_at, language, search)
          SELECT gen_random_uuid(), 'tenant' || n % 2, 'eu-test', 4, now(), now(), 'deu', views.search_of('deu', 'Wort' || n % 997 || ' gleich')
            FROM generate_series(1, 20000) n;
          ANALYZE views.document_view;",
    )
    .execute(&service.pool)
    .await
    .unwrap();
    let plan: Vec<String> = sqlx::query_scalar(
        r"EXPLAIN SELECT v.document_id FROM views.document_view v
           WHERE v.tenant = 'tenant1' AND (v.search @@ websearch_to_tsquery('simple', 'wort7')
                 OR (views.may_be_in(v.language, 'deu') AND v.search @@ websearch_to_tsquery('german', 'wort7')))",
    )
    .fetch_all(&service.pool)
    .await
    .unwrap();
    assert!(plan.iter().any(|line| line.contains("document_view_search")), "{plan:#?}");
}

/// In English the first word is noise: without it only words are left that are not wanted.
#[tokio::test]
async fn words_that_are_noise_do_not_let_everything_in() {
    let service = Service::start().await;
    indexed(&service, "german", Some("deu"), "die the Rechnung").await;
    indexed(&service, "english", Some("eng"), "nothing of that").await;
    assert_eq!(found(&service, "the -invoice").await, ["german"]);
}

#[tokio::test]
async fn documents_that_are_not_given_out_are_not_found() {
    const SCAN: &str = r"INSERT INTO documents.scans (document_id, tenant, region, blob_key, size_bytes, verdict, engine,
                                                      database, database_number, event_id)
        SELECT id, tenant, region, blob_key, 1, 'infected', 'ClamAV', '1', 1, id FROM documents.documents WHERE id = $1";
    let service = Service::start().await;
    let id = indexed(&service, "a", Some("eng"), "secret plans").await;
    assert_eq!(found(&service, "secret").await, ["a"]);
    for columns in ["verdict = 'infected'", "verdict = NULL", "verdict = 'clean', dedup_outcome = 'refused'"] {
        let statement = format!("UPDATE views.document_view SET {columns} WHERE document_id = $1");
        sqlx::query(sqlx::AssertSqlSafe(statement)).bind(id).execute(&service.pool).await.unwrap();
        assert_eq!(found(&service, "secret").await, Vec::<String>::new(), "{columns}");
    }
    service.sql("UPDATE views.document_view SET dedup_outcome = 'unique' WHERE document_id = $1", id).await;
    assert_eq!(found(&service, "secret").await, ["a"]);
    service.sql(SCAN, id).await;
    assert_eq!(found(&service, "secret").await, Vec::<String>::new(), "av-scan's own word");
}

#[tokio::test]
async fn few_searches_run_at_once_and_none_for_long() {
    let service = Service::start().await;
    indexed(&service, "a", Some("eng"), "secret plans").await;
    let mut locked = service.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE views.document_view IN ACCESS EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();
    let answers = futures::future::join_all((0..12).map(|_| service.get("/v1/documents?q=secret"))).await;
    for answer in &answers {
        let busy = answer.json()["type"] == "/problems/busy";
        answer.problem(503, if busy { "busy" } else { "timed-out" });
        assert!(!answer.header("retry-after").is_empty());
    }
    assert!(answers.iter().any(|answer| answer.json()["type"] == "/problems/busy"));
    locked.rollback().await.unwrap();
    assert_eq!(found(&service, "secret").await, ["a"]);
}
