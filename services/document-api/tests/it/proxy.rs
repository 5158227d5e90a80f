//! A wire to PostgreSQL that can be cut.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    Whole,
    /// Open connections break, new ones are closed at once.
    Cut,
    /// Open connections swallow everything from now on, and never end: half-open. New ones are well.
    HalfOpen,
    /// As [`HalfOpen`](Self::HalfOpen) for one connection, when the next document is inserted.
    HalfOpenAtInsert,
    /// The next COMMIT reaches the server and is done, and its answer is lost.
    CutAfterCommit,
}

pub struct Proxy {
    pub port: u16,
    wire: Arc<watch::Sender<Wire>>,
}

impl Proxy {
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = Arc::new(watch::Sender::new(Wire::Whole));
        let state = Arc::clone(&wire);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *state.borrow() != Wire::Cut {
                    let server = TcpStream::connect(&server).await.unwrap();
                    tokio::spawn(forward(client, server, Arc::clone(&state)));
                }
            }
        });
        Self { port, wire }
    }

    pub fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }
}

async fn forward(mut client: TcpStream, mut server: TcpStream, state: Arc<watch::Sender<Wire>>) {
    let mut changes = state.subscribe();
    let was_open = *changes.borrow_and_update() != Wire::HalfOpen;
    let (mut from_client, mut from_server) = ([0; 16 * 1024], [0; 16 * 1024]);
    loop {
        tokio::select! {
            wire = broken(&mut changes, was_open) => match wire {
                Wire::Cut => return,
                _ => return std::future::pending().await,
            },
            Ok(read) = client.read(&mut from_client) => {
                let bytes = &from_client[..read];
                let commits = bytes.windows(6).any(|word| word == b"COMMIT");
                if read == 0 || server.write_all(bytes).await.is_err() {
                    return;
                }
                if bytes.windows(26).any(|words| words == b"INSERT INTO documents.docu")
                    && *state.borrow() == Wire::HalfOpenAtInsert
                {
                    state.send_replace(Wire::Whole);
                    return std::future::pending().await;
                }
                if commits && *state.borrow() == Wire::CutAfterCommit {
                    // The server answers when it has committed.
                    server.read_u8().await.unwrap();
                    state.send_replace(Wire::Whole);
                    return;
                }
            }
            Ok(read) = server.read(&mut from_server) => {
                if read == 0 || client.write_all(&from_server[..read]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}

/// Keeps the guard of the watched value out of the caller, which must be `Send`.
async fn broken(changes: &mut watch::Receiver<Wire>, was_open: bool) -> Wire {
    let wire = changes.wait_for(|wire| *wire == Wire::Cut || (was_open && *wire == Wire::HalfOpen)).await;
    wire.map_or(Wire::Cut, |wire| *wire)
}
