use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use docfleet_outbox::{Error, Event, Registry, RegistryConfig};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::JoinHandle,
};

use crate::writing::InvoiceSent;

const ID: u32 = 7;

/// A registry that knows one schema, until it is aborted.
struct Fake {
    url: String,
    questions: Arc<AtomicU32>,
    serving: JoinHandle<()>,
}

impl Fake {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let questions = Arc::new(AtomicU32::new(0));
        let asked = Arc::clone(&questions);
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                asked.fetch_add(1, Ordering::Relaxed);
                answer(BufReader::new(socket)).await;
            }
        });
        Self { url, questions, serving }
    }

    fn asked(&self) -> u32 {
        self.questions.load(Ordering::Relaxed)
    }
}

async fn answer(mut socket: BufReader<tokio::net::TcpStream>) {
    let (mut first, mut length) = (String::new(), 0);
    socket.read_line(&mut first).await.unwrap();
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).await.unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    socket.read_exact(&mut vec![0; length]).await.unwrap();
    let (status, body) = if first.starts_with("POST") {
        ("200 OK", json!({ "id": ID }))
    } else if first.contains(&format!("/schemas/ids/{ID}")) {
        ("200 OK", json!({ "schema": InvoiceSent::AVSC }))
    } else {
        ("404 Not Found", json!({ "error_code": 40403, "message": "Schema not found" }))
    };
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_restart_without_the_registry_knows_what_was_known() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    let config = RegistryConfig { url: fake.url.clone(), cache_dir: Some(dir.path().to_owned()) };
    let before = Registry::new(&config).unwrap();
    assert_eq!(before.pin::<InvoiceSent>().await.unwrap(), ID);
    before.schema(ID).await.unwrap();
    fake.serving.abort();
    fake.serving.await.unwrap_err();

    let restarted = Registry::new(&config).unwrap();
    assert_eq!(restarted.pin::<InvoiceSent>().await.unwrap(), ID);
    assert_eq!(&*restarted.schema(ID).await.unwrap(), InvoiceSent::schema());
    assert!(matches!(restarted.schema(ID + 1).await, Err(Error::RegistryUnavailable(_))));
    let elsewhere = Registry::new(&RegistryConfig { cache_dir: None, ..config }).unwrap();
    assert!(matches!(elsewhere.pin::<InvoiceSent>().await, Err(Error::RegistryUnavailable(_))));
}

#[tokio::test]
async fn an_unknown_id_is_not_asked_for_by_every_message() {
    let fake = Fake::start().await;
    let registry = Registry::new(&RegistryConfig { url: fake.url.clone(), cache_dir: None }).unwrap();
    for _ in 0..5 {
        assert!(matches!(registry.schema(99).await, Err(Error::UnknownSchema(99))));
    }
    assert_eq!(fake.asked(), 1);
    registry.schema(ID).await.unwrap();
    assert_eq!(fake.asked(), 2, "other ids are");
}
