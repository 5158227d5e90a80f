use std::fmt::{self, Display};

/// What a failure means for the message. There is no fifth way, and no default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Something that every message needs is away. Wait; the message is not to blame and loses no attempt.
    Unavailable,
    /// This try failed; another may succeed. Retried in the lane, then through the retry topics, then dead.
    Transient,
    /// This message will never work. Dead at once.
    Poison,
    /// This process must not go on. Exit; another one replays from the last commit.
    Fatal,
}

impl Class {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Transient => "transient",
            Self::Poison => "poison",
            Self::Fatal => "fatal",
        }
    }
}

/// A classified failure.
///
/// There is no `From` for foreign errors, on purpose: an unclassified `?` does not compile. See [`Classify`].
#[derive(Debug, Clone)]
#[must_use = "a failure decides what becomes of a message"]
pub struct Failure {
    pub class: Class,
    /// From a closed set: a metric label, and what operators group dead letters by.
    pub reason: &'static str,
    /// For the log and the dead letter's header. Never personal data.
    pub detail: String,
}

const DETAIL_CHARS_MAX: usize = 300;

impl Failure {
    pub fn new(class: Class, reason: &'static str, detail: impl Display) -> Self {
        // Control characters would let foreign text write log lines or headers of its own.
        let detail = detail.to_string().chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect();
        Self { class, reason, detail }
    }

    pub fn unavailable(reason: &'static str, detail: impl Display) -> Self {
        Self::new(Class::Unavailable, reason, detail)
    }

    pub fn transient(reason: &'static str, detail: impl Display) -> Self {
        Self::new(Class::Transient, reason, detail)
    }

    pub fn poison(reason: &'static str, detail: impl Display) -> Self {
        Self::new(Class::Poison, reason, detail)
    }

    pub fn fatal(reason: &'static str, detail: impl Display) -> Self {
        Self::new(Class::Fatal, reason, detail)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.reason, self.class.as_str(), self.detail)
    }
}

impl std::error::Error for Failure {}

/// What `work` comes to.
pub type Outcome<T> = Result<T, Failure>;
/// What `record` comes to.
pub type Recorded = Outcome<()>;

/// Says of a foreign error what it means, at the place that knows.
pub trait Classify<T> {
    fn unavailable(self, reason: &'static str) -> Outcome<T>;
    fn transient(self, reason: &'static str) -> Outcome<T>;
    fn poison(self, reason: &'static str) -> Outcome<T>;
    fn fatal(self, reason: &'static str) -> Outcome<T>;
}

impl<T, E: Display> Classify<T> for Result<T, E> {
    fn unavailable(self, reason: &'static str) -> Outcome<T> {
        self.map_err(|e| Failure::unavailable(reason, e))
    }

    fn transient(self, reason: &'static str) -> Outcome<T> {
        self.map_err(|e| Failure::transient(reason, e))
    }

    fn poison(self, reason: &'static str) -> Outcome<T> {
        self.map_err(|e| Failure::poison(reason, e))
    }

    fn fatal(self, reason: &'static str) -> Outcome<T> {
        self.map_err(|e| Failure::fatal(reason, e))
    }
}

/// The server is there and could not do it in time, or not beside others.
pub(crate) const DATABASE_BUSY: &str = "database-busy";

/// What a database error means, by its SQLSTATE (PostgreSQL manual, appendix A): a server that is away, busy or full
/// comes back; a wrong deployment does not; what is left is this statement's own trouble.
pub fn of_database(error: &sqlx::Error) -> Failure {
    let reported = error.as_database_error();
    let code = reported.and_then(|e| e.code()).map(|code| code.into_owned()).unwrap_or_default();
    match (code.as_str(), code.get(..2), error) {
        // Serialization failure and deadlock, lock not available, statement or lock timeout.
        ("57014", ..) | (_, Some("40" | "55"), _) => Failure::unavailable(DATABASE_BUSY, error),
        // Connection, wrong state (a standby is read-only), resources, operator intervention, system.
        (_, Some("08" | "25" | "53" | "57" | "58"), _) => Failure::unavailable("database-unavailable", error),
        // Wrong login, missing table or column, missing right.
        (_, Some("28" | "3D" | "3F" | "42"), _) => Failure::fatal("database-misconfigured", error),
        // Without the text: it quotes values.
        (_, Some(_), _) => {
            let constraint = reported.and_then(|e| e.constraint()).unwrap_or_default();
            Failure::transient("database-refused", format!("SQLSTATE {code} {constraint}"))
        }
        (.., sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Configuration(_)) => {
            Failure::fatal("database-misconfigured", error)
        }
        (.., sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound) => {
            Failure::transient("database-refused", error)
        }
        _ => Failure::unavailable("database-unavailable", error),
    }
}
