use std::{fmt, path::PathBuf};

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};

use crate::output::Exit;

/// A server that a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Postgres,
    Kafka,
    Registry,
    Api,
    Blobs,
}

impl Server {
    /// Where its address is configured.
    fn key(self) -> &'static str {
        match self {
            Self::Postgres => "[postgres].url",
            Self::Kafka => "[kafka].brokers",
            Self::Registry => "[registry].url",
            Self::Api => "--api or [api].listen",
            Self::Blobs => "[blobs]",
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::Kafka => "Kafka",
            Self::Registry => "the schema registry",
            Self::Api => "the document API",
            Self::Blobs => "the blob store",
        })
    }
}

/// Why a command could not do its work. The text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Usage(String),
    #[error("{server} is away: {detail}\nIts address comes from {}; is it running?", server.key())]
    Away { server: Server, detail: String },
    #[error("the database lacks docfleet's tables: {0}\nRun `docfleet setup` first.")]
    NotMigrated(sqlx::Error),
    #[error("PostgreSQL: {0}")]
    Database(sqlx::Error),
    #[error("migration: {0}\nIf it was edited after it had been applied, restore the file as it was.")]
    Migrate(sqlx::migrate::MigrateError),
    #[error("Kafka: {0}")]
    Kafka(KafkaError),
    #[error("Kafka refused to create the topic {topic}: {code}")]
    Topic { topic: String, code: RDKafkaErrorCode },
    #[error("schema: {0}")]
    Schema(docfleet_outbox::Error),
    #[error("{server} answered {status} to {request}: {detail}")]
    Refused { server: Server, request: String, status: u16, detail: String },
    #[error("{server} answered {request} with something else than its contract says: {detail}")]
    Unexpected { server: Server, request: String, detail: String },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("listening on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("signals: {0}")]
    Signal(std::io::Error),
    #[error("standard output: {0}")]
    Print(std::io::Error),
    #[error("a part of this command ended in a panic: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

impl Error {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Usage(_) => Exit::Usage,
            Self::Away { .. } => Exit::Away,
            _ => Exit::Problem,
        }
    }

    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    /// An answer of an HTTP client that never reached a server, or lost it.
    pub fn from_http(server: Server, error: reqwest::Error) -> Self {
        let mut detail = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            detail = format!("{detail}: {cause}");
            source = cause.source();
        }
        if error.is_decode() {
            let request = error.url().map_or_else(String::new, |url| url.path().to_owned());
            return Self::Unexpected { server, request, detail };
        }
        Self::Away { server, detail }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|e| e.code()).map(|code| code.into_owned());
        match (&error, code.as_deref()) {
            (sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_), _) => away(&error),
            // Connection exceptions, "starting up", "shutting down", "too many connections".
            (_, Some(code)) if code.starts_with("08") || code.starts_with("57P") || code == "53300" => away(&error),
            // Undefined table, column, schema.
            (_, Some("42P01" | "42703" | "3F000")) => Self::NotMigrated(error),
            _ => Self::Database(error),
        }
    }
}

fn away(error: &sqlx::Error) -> Error {
    Error::Away { server: Server::Postgres, detail: error.to_string() }
}

impl From<KafkaError> for Error {
    fn from(error: KafkaError) -> Self {
        let code = match &error {
            KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => {
                return Self::Config(format!("[kafka.client]: {error}"));
            }
            KafkaError::AdminOp(code) => Some(*code),
            other => other.rdkafka_error_code(),
        };
        match code {
            Some(code) if is_away(code) => Self::Away { server: Server::Kafka, detail: error.to_string() },
            _ => Self::Kafka(error),
        }
    }
}

/// Codes of a cluster that is not there, not there yet, or just electing; asking again later may help.
pub fn is_away(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerNotAvailable
            | Code::BrokerTransportFailure
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::LeaderNotAvailable
            | Code::NetworkException
            | Code::NotController
            | Code::NotCoordinator
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::Resolve
            | Code::WaitingForCoordinator
    )
}

impl From<docfleet_blobs::Error> for Error {
    fn from(error: docfleet_blobs::Error) -> Self {
        match error {
            docfleet_blobs::Error::Unavailable(detail) => Self::Away { server: Server::Blobs, detail },
            other => Self::Config(other.to_string()),
        }
    }
}

impl From<docfleet_outbox::Error> for Error {
    fn from(error: docfleet_outbox::Error) -> Self {
        match error {
            docfleet_outbox::Error::RegistryUnavailable(detail) => Self::Away { server: Server::Registry, detail },
            docfleet_outbox::Error::Database(error) => error.into(),
            other => Self::Schema(other),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for Error {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(error) => match Self::from(error) {
                Self::NotMigrated(error) => Self::Database(error),
                other => other,
            },
            other => Self::Migrate(other),
        }
    }
}
