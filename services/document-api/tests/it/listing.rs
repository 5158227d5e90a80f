use serde_json::Value;

use crate::service::Service;

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["file_name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn links_lead_through_all_documents_newest_first() {
    let service = Service::start().await;
    for name in ["1", "2", "3", "4", "5"] {
        service.accepted(name, name.as_bytes()).await;
    }
    let first = service.get("/v1/documents?page_size=2").await.json();
    assert_eq!((names(&first), &first["total"], &first["page"]), (vec!["5", "4"], &5.into(), &1.into()));
    assert_eq!(first["links"]["prev"], Value::Null);
    let second = service.get(first["links"]["next"].as_str().unwrap()).await.json();
    assert_eq!(names(&second), ["3", "2"]);
    assert_eq!(second["links"]["prev"], first["links"]["self"]);
    let last = service.get(second["links"]["next"].as_str().unwrap()).await.json();
    assert_eq!((names(&last), &last["links"]["next"]), (vec!["1"], &Value::Null));
    assert_eq!(last["links"]["self"], first["links"]["last"]);
    let beyond = service.get("/v1/documents?page=9&page_size=2").await.json();
    assert_eq!((names(&beyond), &beyond["links"]["prev"]), (vec![], &first["links"]["last"]));
}

#[tokio::test]
async fn an_empty_listing_is_a_page_too() {
    let service = Service::start().await;
    let page = service.get("/v1/documents").await.json();
    assert_eq!((&page["total"], &page["page_size"]), (&0.into(), &50.into()));
    assert_eq!(page["links"]["last"], page["links"]["self"]);
}

#[tokio::test]
async fn a_page_that_can_not_be_is_refused() {
    let service = Service::start().await;
    for listing in ["/v1/documents", "/v1/webhooks", "/v1/webhooks/00000000-0000-0000-0000-000000000000/deliveries"] {
        for query in [
            "page=0",
            "page=-1",
            "page=x",
            "page_size=0",
            "page_size=201",
            "page=1&page=1",
            "limit=1",
            "page=%ff",
            "page=99999999999",
        ] {
            service.get(&format!("{listing}?{query}")).await.problem(400, "invalid-page");
        }
    }
}
