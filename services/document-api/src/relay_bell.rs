use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::App;

/// Wakes idle relays after a commit. Many strokes become one NOTIFY: each takes a database-wide lock while it commits.
#[derive(Clone, Default)]
pub(crate) struct RelayBell(Arc<Notify>);

impl RelayBell {
    /// Never waits and never fails: the relays poll, this only saves them time.
    pub fn strike(&self) {
        self.0.notify_one();
    }
}

pub(crate) async fn ring(app: App, stop: CancellationToken) {
    const COALESCE: Duration = Duration::from_millis(2);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.relay_bell.0.notified() => {}
        }
        if let Err(error) = app.outbox.wake_relays(&app.pool).await {
            tracing::debug!(%error, "the relays were not woken");
        }
        tokio::time::sleep(COALESCE).await;
    }
}
