//! A database session on which one statement runs at a time, in a task of its own.

use std::{future::Future, io, time::Duration};

use sqlx::{Postgres, pool::PoolConnection};
use tokio::task::JoinHandle;

pub(super) type Connection = PoolConnection<Postgres>;
pub(super) type Answered<T> = (Connection, Result<T, sqlx::Error>);

pub(super) struct Session<T> {
    /// There while nothing runs.
    connection: Option<Connection>,
    running: Option<JoinHandle<Result<Answered<T>, sqlx::Error>>>,
}

impl<T: Send + 'static> Session<T> {
    pub fn new(connection: Connection) -> Self {
        Self { connection: Some(connection), running: None }
    }

    pub fn is_busy(&self) -> bool {
        self.running.is_some()
    }

    /// Does nothing while something runs, or after an error.
    pub fn start<F>(&mut self, statement: impl FnOnce(Connection) -> F, limit: Duration)
    where
        F: Future<Output = Answered<T>> + Send + 'static,
    {
        let Some(mut connection) = self.connection.take() else { return };
        // Whatever goes wrong, a session in the middle of something is not for others.
        connection.close_on_drop();
        let answer = statement(connection);
        self.running = Some(tokio::spawn(async move {
            let late = |late| sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, late));
            tokio::time::timeout(limit, answer).await.map_err(late)
        }));
    }

    /// What the statement said. Never resolves while nothing runs.
    pub async fn answer(&mut self) -> Result<T, sqlx::Error> {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let joined = running.await;
        self.running = None;
        let (connection, answer) = joined.map_err(|panic| sqlx::Error::Io(io::Error::other(panic)))??;
        if answer.is_ok() {
            self.connection = Some(connection);
        }
        answer
    }
}

impl<T> Drop for Session<T> {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}
