use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet};

use crate::{
    documents::{Document, document},
    fleet::Client,
};

/// Uploads that wait for an answer at once. Many, as one that was interrupted holds its key, and so its client, for a while;
/// bounded, as a slow API would slow clients, too.
const CLIENTS: u32 = 36;

/// Documents of all kinds at a steady rate, for as long as it runs.
#[derive(Clone)]
pub struct Load {
    client: Client,
    shared: Arc<Shared>,
}

struct Shared {
    /// Accepted documents by id.
    accepted: Mutex<HashMap<String, Document>>,
    next: AtomicUsize,
}

/// A load that runs. Dropped, it is cut off in the middle.
pub struct Running {
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Load {
    pub fn new(client: Client) -> Self {
        let shared = Shared { accepted: Mutex::new(HashMap::new()), next: AtomicUsize::new(0) };
        Self { client, shared: Arc::new(shared) }
    }

    pub fn start(&self, documents_per_second: f64) -> Running {
        let stop = watch::Sender::new(false);
        let mut clients = JoinSet::new();
        let pause = Duration::from_secs_f64(f64::from(CLIENTS) / documents_per_second);
        for number in 0..CLIENTS {
            let (load, mut stopped) = (self.clone(), stop.subscribe());
            clients.spawn(async move {
                tokio::time::sleep(pause / CLIENTS * number).await;
                while !*stopped.borrow() {
                    let began = tokio::time::Instant::now();
                    load.upload_next().await;
                    tokio::select! {
                        () = tokio::time::sleep_until(began + pause) => {}
                        // Fails when the load is dropped, and then so is this.
                        _ = stopped.changed() => {}
                    }
                }
            });
        }
        Running { stop, clients }
    }

    /// One document; its id.
    pub async fn upload_next(&self) -> String {
        let document = document(self.shared.next.fetch_add(1, Ordering::Relaxed));
        let id = self.client.upload(&document).await;
        self.shared.accepted.lock().unwrap().insert(id.clone(), document);
        id
    }

    pub fn accepted(&self) -> usize {
        self.shared.accepted.lock().unwrap().len()
    }

    /// The accepted documents, and of them those that are not in `known`.
    pub fn documents(&self) -> HashMap<String, Document> {
        self.shared.accepted.lock().unwrap().clone()
    }
}

impl Running {
    /// No further document begins; those that were begun are uploaded to their end by [`ended`](Self::ended).
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// # Panics
    /// When an upload was refused, or not accepted for minutes.
    pub async fn ended(mut self) {
        self.stop();
        while let Some(client) = self.clients.join_next().await {
            client.expect("every upload is accepted in the end");
        }
    }
}
