//! A TCP proxy that spoils the network between a client and a server, as told: [`Weather`] for what lasts, [`Proxy::cut`]
//! and its like for what happens once, [`Trap`] for what must happen at one step of a protocol.

mod connection;
mod sight;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use sight::Sight;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
};

/// What a link is like, until it is told otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Before each piece of at most 16 KiB, either way: the link is slow and narrow at once.
    pub delay: Duration,
    /// Of each direction of a connection; none: no limit.
    pub bytes_per_second: Option<u32>,
    /// The probability that a piece resets its connection instead of passing.
    pub resets: f64,
    /// Nothing passes to the server, and nothing is lost: it passes when the weather clears. As behind a cable that is out,
    /// where TCP repeats.
    pub holds_requests: bool,
    /// The same towards the client.
    pub holds_answers: bool,
    /// New connections are reset at once.
    pub refuses: bool,
}

/// When a [`Trap`] closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The server never sees the request.
    Before,
    /// The server has answered the request, and the client never sees the answer.
    After,
}

/// Ends a connection at one step of its protocol.
pub struct Trap {
    pub sight: Sight,
    pub moment: Moment,
    /// How many connections it ends.
    pub left: u32,
    /// Who is told first, and says when the connection may end; nobody: it ends at once.
    pub tell: Option<mpsc::UnboundedSender<Caught>>,
}

/// A client that stands still at the step of a [`Trap`].
pub struct Caught {
    pub client: SocketAddr,
    /// Sending, or dropping it, ends the connection.
    pub go: oneshot::Sender<()>,
}

/// How all connections of a moment end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Cut,
    Reset,
    /// It stays open, and swallows everything, for ever.
    Deaf,
}

/// One link. Ends when dropped, with all its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Shared {
    weather: watch::Sender<Weather>,
    trap: Mutex<Option<Trap>>,
    /// Each change is meant for the connections that are open then.
    endings: watch::Sender<Ending>,
}

impl Proxy {
    /// Listens on `port` of this machine, 0 for any, and connects to `server` for each client.
    pub async fn start(port: u16, server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the proxy's port is free");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            weather: watch::Sender::new(Weather::default()),
            trap: Mutex::new(None),
            endings: watch::Sender::new(Ending::Cut),
        });
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&shared)));
        Self { address, shared, accepting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
    }

    /// Good weather, no trap. What is deaf stays deaf.
    pub fn clear(&self) {
        self.set(Weather::default());
        *self.shared.trap.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Closes every open connection in an orderly way.
    pub fn cut(&self) {
        self.shared.endings.send_replace(Ending::Cut);
    }

    /// Resets every open connection (RST).
    pub fn reset(&self) {
        self.shared.endings.send_replace(Ending::Reset);
    }

    /// Every open connection swallows everything from now on, and never closes: half-open. New ones are well.
    pub fn half_open(&self) {
        self.shared.endings.send_replace(Ending::Deaf);
    }

    /// Instead of the trap before.
    pub fn lay(&self, trap: Trap) {
        *self.shared.trap.lock().unwrap_or_else(PoisonError::into_inner) = Some(trap);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.reset();
    }
}

impl Shared {
    /// Whether a request that is `seen` closes the trap now, and for whom.
    fn springs(&self, seen: &[Sight]) -> Option<(Moment, Option<mpsc::UnboundedSender<Caught>>)> {
        let mut trap = self.trap.lock().unwrap_or_else(PoisonError::into_inner);
        let trap = trap.as_mut().filter(|trap| trap.left > 0 && seen.contains(&trap.sight))?;
        trap.left -= 1;
        Some((trap.moment, trap.tell.clone()))
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        // Before the connection is made: what is told from now on is meant for it, too.
        let (endings, shared) = (shared.endings.subscribe(), Arc::clone(&shared));
        tokio::spawn(async move {
            let refused = shared.weather.borrow().refuses;
            match TcpStream::connect(server).await {
                Ok(server) if !refused => connection::run(client, server, endings, &shared).await,
                // As the server itself would do: who is not there resets.
                _ => connection::reset(&client),
            }
        });
    }
}
