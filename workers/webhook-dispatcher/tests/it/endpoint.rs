use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

/// A subscriber's endpoint that writes down what it gets.
pub struct Endpoint {
    pub url: String,
    log: Log,
}

#[derive(Clone, Debug)]
pub struct Received {
    pub at: Instant,
    pub headers: HeaderMap,
    pub body: Bytes,
}

type Log = Arc<Mutex<Vec<Received>>>;
type Reply = Arc<dyn Fn(usize) -> (Duration, Response) + Send + Sync>;

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("{name} was sent")).to_str().expect("text")
    }
}

impl Endpoint {
    pub async fn accepting() -> Self {
        Self::answering(|_| axum::http::StatusCode::NO_CONTENT).await
    }

    /// `reply` gets the number of requests before this one.
    pub async fn answering<R: IntoResponse>(reply: impl Fn(usize) -> R + Send + Sync + 'static) -> Self {
        Self::slow(Duration::ZERO, reply).await
    }

    /// Answers after `wait`.
    pub async fn slow<R: IntoResponse>(wait: Duration, reply: impl Fn(usize) -> R + Send + Sync + 'static) -> Self {
        let log = Log::default();
        let reply: Reply = Arc::new(move |before| (wait, reply(before).into_response()));
        let router = Router::new().fallback(receive).with_state((Arc::clone(&log), reply));
        let (listener, address) = listen().await;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url: format!("http://{address}/hook"), log }
    }

    pub fn received(&self) -> Vec<Received> {
        self.log.lock().unwrap().clone()
    }
}

async fn receive(State((log, reply)): State<(Log, Reply)>, headers: HeaderMap, body: Bytes) -> Response {
    let before = {
        let mut log = log.lock().unwrap();
        log.push(Received { at: Instant::now(), headers, body });
        log.len() - 1
    };
    let (wait, response) = reply(before);
    tokio::time::sleep(wait).await;
    response
}

/// An endpoint below HTTP: `behave` gets each connection as it is accepted.
pub struct RawEndpoint {
    pub url: String,
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    most_at_once: Arc<AtomicUsize>,
}

impl RawEndpoint {
    pub async fn behaving<F: Future<Output = ()> + Send>(
        behave: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Self {
        let (listener, address) = listen().await;
        let (connections, most_at_once) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, most, behave) = (Arc::clone(&connections), Arc::clone(&most_at_once), Arc::new(behave));
        tokio::spawn(async move {
            let open = Arc::new(AtomicUsize::new(0));
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let (behave, open) = (Arc::clone(&behave), Arc::clone(&open));
                tokio::spawn(async move {
                    behave(stream).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { url: format!("http://{address}/hook"), address, connections, most_at_once }
    }

    /// Takes the request and never answers.
    pub async fn hanging() -> Self {
        Self::behaving(|mut stream| async move {
            // Until the other side gives up.
            while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
        })
        .await
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn most_at_once(&self) -> usize {
        self.most_at_once.load(Ordering::SeqCst)
    }
}

/// Reads a request's head and as much of its body as came with it.
pub async fn read_request(stream: &mut TcpStream) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 8192]);
    while !text.contains("\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => text.push_str(&String::from_utf8_lossy(&buffer[..read])),
            _ => break,
        }
    }
    text
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}
