use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, oneshot, watch},
};

use super::{Caught, Ending, Moment, Shared, Weather, sight::Eye};

const PIECE: usize = 16 * 1024;

type Teller = Option<mpsc::UnboundedSender<Caught>>;

/// How one direction came to its end.
enum End {
    /// Its reader has nothing more to say; the other direction goes on.
    Closed,
    /// The whole connection is over.
    Over(Ending),
}

/// What both directions of a connection share.
struct Link<'a> {
    shared: &'a Shared,
    client: SocketAddr,
    /// A trap has closed: the next answer is not for the client.
    loses_answer: AtomicBool,
    teller: Mutex<Teller>,
}

/// Carries one connection to its end.
pub async fn run(mut client: TcpStream, mut server: TcpStream, mut endings: watch::Receiver<Ending>, shared: &Shared) {
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let Ok(peer) = client.peer_addr() else { return };
    let link = Link { shared, client: peer, loses_answer: AtomicBool::new(false), teller: Mutex::new(None) };
    let ending = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            ending = both(link.requests(from_client, to_server), link.answers(from_server, to_client)) => ending,
            told = endings.changed() => if told.is_ok() { *endings.borrow() } else { Ending::Reset },
        }
    };
    match ending {
        Ending::Cut => {}
        Ending::Reset => {
            reset(&client);
            reset(&server);
        }
        Ending::Deaf => deaf(client, server, endings).await,
    }
}

async fn both(requests: impl Future<Output = End>, answers: impl Future<Output = End>) -> Ending {
    let (mut requests, mut answers) = (pin!(requests), pin!(answers));
    let (first, requests_closed) = tokio::select! {
        end = &mut requests => (end, true),
        end = &mut answers => (end, false),
    };
    let second = match first {
        End::Over(ending) => return ending,
        End::Closed if requests_closed => answers.await,
        End::Closed => requests.await,
    };
    match second {
        End::Over(ending) => ending,
        End::Closed => Ending::Cut,
    }
}

/// When it is dropped the other side gets an RST instead of a FIN.
pub fn reset(stream: &TcpStream) {
    stream.set_zero_linger().ok();
}

/// Takes all that comes and says nothing. A server that gives up is not heard of by the client either.
async fn deaf(mut client: TcpStream, server: TcpStream, mut endings: watch::Receiver<Ending>) {
    let mut swallowed = vec![0; PIECE];
    loop {
        tokio::select! {
            read = client.read(&mut swallowed) => if !matches!(read, Ok(1..)) { break },
            // An orderly end would be a word.
            told = endings.changed() => if told.is_err() || *endings.borrow() == Ending::Reset { break },
        }
    }
    // What the server had sent was lost; both learn that nobody is there.
    reset(&client);
    reset(&server);
}

impl Link<'_> {
    async fn requests(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> End {
        let mut eye = Eye::default();
        let mut buffer = vec![0; PIECE];
        loop {
            let piece = match from.read(&mut buffer).await {
                Ok(0) => return closed(&mut to).await,
                Ok(read) => &buffer[..read],
                Err(_) => return End::Over(Ending::Reset),
            };
            if !self.pass(piece.len(), |weather| weather.holds_requests).await {
                return End::Over(Ending::Reset);
            }
            match self.shared.springs(&eye.see(piece)) {
                Some((Moment::Before, teller)) => {
                    self.tell(teller).await;
                    return End::Over(Ending::Cut);
                }
                Some((Moment::After, teller)) => {
                    *self.teller.lock().unwrap_or_else(PoisonError::into_inner) = teller;
                    self.loses_answer.store(true, Ordering::SeqCst);
                }
                None => {}
            }
            if to.write_all(piece).await.is_err() {
                return End::Over(Ending::Reset);
            }
        }
    }

    async fn answers(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> End {
        let mut buffer = vec![0; PIECE];
        loop {
            let piece = match from.read(&mut buffer).await {
                Ok(0) => return closed(&mut to).await,
                Ok(read) => &buffer[..read],
                Err(_) => return End::Over(Ending::Reset),
            };
            if self.loses_answer.load(Ordering::SeqCst) {
                let teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner).take();
                self.tell(teller).await;
                return End::Over(Ending::Cut);
            }
            if !self.pass(piece.len(), |weather| weather.holds_answers).await || to.write_all(piece).await.is_err() {
                return End::Over(Ending::Reset);
            }
        }
    }

    /// Waits as the weather wants; false: the piece resets the connection.
    async fn pass(&self, bytes: usize, holds: impl Fn(&Weather) -> bool) -> bool {
        let mut weather = self.shared.weather.subscribe();
        // Fails only when the proxy is gone.
        let Ok(now) = weather.wait_for(|weather| !holds(weather)).await.map(|weather| *weather) else { return false };
        if now.resets > 0.0 && rand::random::<f64>() < now.resets {
            return false;
        }
        let narrow = now.bytes_per_second.map_or(0.0, |rate| bytes as f64 / f64::from(rate.max(1)));
        let wait = now.delay + Duration::from_secs_f64(narrow);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        true
    }

    async fn tell(&self, teller: Teller) {
        let Some(teller) = teller else { return };
        let (go, went) = oneshot::channel();
        // Whoever does not listen any more lets it go.
        if teller.send(Caught { client: self.client, go }).is_ok() {
            went.await.ok();
        }
    }
}

async fn closed(to: &mut WriteHalf<'_>) -> End {
    to.shutdown().await.ok();
    End::Closed
}
