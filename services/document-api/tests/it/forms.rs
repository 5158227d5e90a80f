//! What was made of a document: its pages, hOCR, a searchable PDF.

use docfleet_events::{DocumentUploaded, Event};
use docfleet_outbox::codec;
use serde_json::json;
use uuid::Uuid;

use crate::{
    form,
    service::{Service, send},
};

const READ: &str = r#"INSERT INTO views.document_view
    (document_id, tenant, region, version, updated_at, verdict, dedup_outcome, text_outcome, pages, page_count, language, confidence,
     text_key, excerpt, read_at, text_engine, unread, mrz, layout_key, searchable_key)
  VALUES ($1, 'default', 'eu-test', 4, now(), 'clean', 'unique', 'extracted',
     '[{"number": 1, "source": "ocr", "confidence": 91.5, "words": 2}, {"number": 3, "source": "text_layer", "confidence": null, "words": 1}]',
     2, 'deu', 91.5, 'default/texts/t.txt', 'eins', now(), 'tesseract 5.3.0', '[{"number": 2, "reason": "too-slow"}]', 'valid',
     'default/layouts/l.json', 'default/searchable/s.pdf')"#;

async fn read(service: &Service) -> (Uuid, String) {
    let id = service.accepted("Brief <1>.pdf", b"x").await;
    service.sql(READ, id).await;
    service.put_blob("default/texts/t.txt", "eins zwei\u{c}\u{c}drei".as_bytes());
    service.put_blob("default/searchable/s.pdf", b"%PDF-1.7 made");
    let layout = json!({"engine": "tesseract 5.3.0", "pages": [{
        "number": 1, "width": 100, "height": 50, "dpi": 72, "rotation": 0, "skew": 0.0, "language": "deu",
        "lines": [{"left": 1, "top": 2, "width": 30, "height": 9, "words": [
            {"left": 1, "top": 2, "width": 30, "height": 9, "confidence": 91.5, "text": "<script>alert(1)</script>"}]}]}]});
    service.put_blob("default/layouts/l.json", layout.to_string().as_bytes());
    (id, format!("/v1/documents/{id}"))
}

#[tokio::test]
async fn all_forms_are_linked_and_given_out_and_on_record() {
    let service = Service::start().await;
    let (id, path) = read(&service).await;
    let document = service.get(&path).await.json();
    assert_eq!(document["text"]["excerpt"], "eins");
    for (link, form) in [("pages", "pages"), ("hocr", "hocr"), ("searchable_pdf", "searchable.pdf"), ("text", "text")] {
        let at = document["links"][link].as_str().unwrap();
        assert_eq!(at, format!("{path}/{form}"));
        assert_eq!(service.get(at).await.status, 200, "{form}");
    }
    assert_eq!(
        (&document["text"]["mrz"], &document["text"]["engine"], &document["text"]["unread"]),
        (&"valid".into(), &"tesseract 5.3.0".into(), &json!([{"number": 2, "reason": "too-slow"}]))
    );
    let trail: Vec<String> = sqlx::query_scalar(
        "SELECT action FROM documents.audit_trail WHERE document_id = $1 AND action LIKE '%-read' ORDER BY id",
    )
    .bind(id)
    .fetch_all(&service.pool)
    .await
    .unwrap();
    assert_eq!(trail, ["layout-read", "searchable-read", "text-read"]);
}

#[tokio::test]
async fn pages_have_their_texts_and_gaps_say_why() {
    let service = Service::start().await;
    let (_, path) = read(&service).await;
    let pages = service.get(&format!("{path}/pages")).await.json();
    let told: Vec<_> =
        pages["items"].as_array().unwrap().iter().map(|page| (&page["number"], &page["unread"])).collect();
    let no = serde_json::Value::Null;
    assert_eq!(told, [(&1.into(), &no), (&2.into(), &"too-slow".into()), (&3.into(), &no)]);
    for (number, text) in [(1, "eins zwei"), (3, "drei")] {
        let answer = service.get(&format!("{path}/pages/{number}/text")).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, text));
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    service.get(&format!("{path}/pages/2/text")).await.problem(404, "no-text");
    for number in ["0", "4", "-1", "x", "99999999999"] {
        service.get(&format!("{path}/pages/{number}/text")).await.problem(404, "not-found");
    }
}

#[tokio::test]
async fn hocr_is_harmless_markup_and_an_attachment() {
    let service = Service::start().await;
    let (_, path) = read(&service).await;
    let answer = service.get(&format!("{path}/hocr")).await;
    assert_eq!(answer.header("content-type"), "application/xhtml+xml; charset=utf-8");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(answer.header("content-security-policy").contains("sandbox"));
    assert!(
        answer.header("content-disposition").starts_with("attachment; filename=\"Brief"),
        "{}",
        answer.header("content-disposition")
    );
    let html = answer.text();
    assert!(html.contains("x_wconf 92\">&lt;script&gt;alert(1)&lt;/script&gt;</span>"), "{html}");
    assert!(!html.contains("<script"));
}

#[tokio::test]
async fn a_searchable_pdf_is_an_attachment_of_its_own_name() {
    let service = Service::start().await;
    let (_, path) = read(&service).await;
    let answer = service.get(&format!("{path}/searchable.pdf")).await;
    assert_eq!((answer.header("content-type"), answer.text().as_str()), ("application/pdf", "%PDF-1.7 made"));
    assert!(
        answer.header("content-disposition").contains(".searchable.pdf"),
        "{}",
        answer.header("content-disposition")
    );
}

#[tokio::test]
async fn what_is_not_opened_is_not_given_out_in_any_form() {
    let service = Service::start().await;
    let (id, path) = read(&service).await;
    for (columns, slug) in [
        ("verdict = 'infected'", "not-clean"),
        ("verdict = 'clean', dedup_outcome = NULL", "not-scanned-yet"),
        ("dedup_outcome = 'refused'", "refused"),
    ] {
        let statement = format!("UPDATE views.document_view SET {columns} WHERE document_id = $1");
        sqlx::query(sqlx::AssertSqlSafe(statement)).bind(id).execute(&service.pool).await.unwrap();
        for form in ["text", "pages", "pages/1/text", "hocr", "searchable.pdf"] {
            service.get(&format!("{path}/{form}")).await.problem(409, slug);
        }
        let document = service.get(&path).await.json();
        let links = &document["links"];
        assert!(["text", "pages", "hocr", "searchable_pdf"].iter().all(|form| links[form].is_null()), "{links}");
        assert!(document["text"].is_object() && document["text"]["excerpt"].is_null(), "{}", document["text"]);
    }
}

#[tokio::test]
async fn forms_that_do_not_exist_say_so() {
    let service = Service::start().await;
    let id = service.accepted("a.pdf", b"x").await;
    let path = format!("/v1/documents/{id}");
    for (form, slug) in [
        ("pages", "no-text"),
        ("pages/1/text", "no-text"),
        ("hocr", "no-such-form"),
        ("searchable.pdf", "no-such-form"),
    ] {
        service.get(&format!("{path}/{form}")).await.problem(404, slug);
        let other = service.request(reqwest::Method::GET, &format!("{path}/{form}")).header("x-tenant-id", "other");
        send(other).await.problem(404, "not-found");
    }
}

#[tokio::test]
async fn the_wish_for_a_searchable_pdf_goes_into_the_first_event_and_the_fingerprint() {
    let service = Service::start().await;
    let wishing = |query: &str, key: &str| {
        let request = service.request(reqwest::Method::POST, &format!("/v1/documents{query}"));
        let request = request.header("content-type", form::CONTENT_TYPE).header("idempotency-key", key.to_owned());
        send(request.body(form::file("a.pdf", b"x")))
    };
    assert_eq!(wishing("?searchable_pdf=true", "k").await.status, 201);
    assert_eq!(wishing("?searchable_pdf=true", "k").await.header("idempotency-replayed"), "true");
    wishing("", "k").await.problem(422, "idempotency-key-reused");
    assert_eq!(wishing("?searchable_pdf=false", "l").await.status, 201);
    let payloads: Vec<Vec<u8>> = sqlx::query_scalar("SELECT payload FROM pipeline.outbox_events ORDER BY id")
        .fetch_all(&service.pool)
        .await
        .unwrap();
    let wishes: Vec<bool> = payloads
        .iter()
        .map(|payload| {
            let (_, datum) = codec::unframe(payload).unwrap();
            codec::decode::<DocumentUploaded>(DocumentUploaded::schema(), datum).unwrap().1.searchable_pdf
        })
        .collect();
    assert_eq!(wishes, [true, false]);
    for query in ["?searchable_pdf=maybe", "?searchable=true", "?searchable_pdf=true&searchable_pdf=true"] {
        wishing(query, "m").await.problem(400, "bad-request");
    }
}
