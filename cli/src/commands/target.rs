use std::collections::BTreeSet;

use clap::Args;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    Config, Error,
    consumer::{CONSUMERS, RETRY_DELAYS, retry_topic},
    output::plain,
};

/// Of which consumers.
#[derive(Args, Default)]
pub struct Whom {
    /// Of this consumer; repeatable
    #[arg(long = "consumer", value_name = "NAME")]
    consumers: Vec<String>,
    /// Of each consumer of the fleet
    #[arg(long, conflicts_with = "consumers")]
    all_consumers: bool,
}

/// Which of its messages. Without any of these: all.
#[derive(Args, Default)]
pub struct Place {
    /// Only messages of this topic
    #[arg(long, value_name = "TOPIC", conflicts_with_all = ["tenant", "key", "key_hex"])]
    topic: Option<String>,
    /// Only of this partition of it
    #[arg(long, value_name = "N", requires = "topic", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Only messages of this tenant
    #[arg(long, value_name = "TENANT", conflicts_with_all = ["key", "key_hex"])]
    tenant: Option<String>,
    /// Only messages with this key; a document's is its id
    #[arg(long, value_name = "TEXT", conflicts_with = "key_hex")]
    key: Option<String>,
    /// The same for a key that is no text
    #[arg(long, value_name = "HEX", value_parser = unhex)]
    key_hex: Option<Key>,
}

/// What a message says inside.
#[derive(Args, Default)]
pub struct Inside {
    /// Only messages with this header
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, conflicts_with_all = ["topic", "tenant", "key", "key_hex", "field"])]
    header: Option<(String, String)>,
    /// Only messages whose decoded event has this at a path, such as data.declared_mime=image/gif
    #[arg(long, value_name = "PATH=VALUE", value_parser = pair, conflicts_with_all = ["topic", "tenant", "key", "key_hex"])]
    field: Option<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("say NAME=VALUE".to_owned()),
    }
}

fn unhex(text: &str) -> Result<Key, String> {
    let wrong = || "an even number of hex digits".to_owned();
    if text.is_empty() || !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.as_bytes().chunks(2).map(byte).collect::<Option<_>>().map(Key).ok_or_else(wrong)
}

pub struct Selection<'a> {
    pub whom: &'a Whom,
    pub place: Option<&'a Place>,
    pub inside: Option<&'a Inside>,
}

/// As the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    All,
    Topic(String),
    Partition(String, i32),
    Tenant(String),
    Key(Vec<u8>),
    Header(String, String),
    Field(String, String),
}

impl Whom {
    pub fn is_empty(&self) -> bool {
        self.consumers.is_empty() && !self.all_consumers
    }

    /// # Errors
    /// For a name that nobody has: a command with a slip in it would hold nothing, without a word.
    pub async fn consumers(&self, connection: &mut PgConnection) -> Result<Vec<String>, Error> {
        let started: Vec<String> =
            sqlx::query_scalar("SELECT DISTINCT consumer FROM pipeline.subscriptions").fetch_all(connection).await?;
        let known: BTreeSet<String> = CONSUMERS.iter().map(|name| (*name).to_owned()).chain(started).collect();
        let list = || known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        if self.all_consumers {
            return Ok(known.into_iter().collect());
        }
        if self.consumers.is_empty() {
            return Err(Error::Usage(format!("choose by --consumer ({}), or --all-consumers", list())));
        }
        match self.consumers.iter().find(|name| !known.contains(*name)) {
            Some(name) => Err(Error::Usage(format!("no consumer is called {name:?}; there are {}", list()))),
            None => Ok(self.consumers.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()),
        }
    }
}

impl Selection<'_> {
    pub fn scope(&self, prefix: &str) -> Scope {
        let full = |topic: &String| {
            if topic.starts_with(prefix) { topic.clone() } else { format!("{prefix}{topic}") }
        };
        if let Some((name, value)) = self.inside.and_then(|inside| inside.header.as_ref()) {
            return Scope::Header(name.clone(), value.clone());
        }
        if let Some((path, value)) = self.inside.and_then(|inside| inside.field.as_ref()) {
            return Scope::Field(path.clone(), value.clone());
        }
        let Some(place) = self.place else { return Scope::All };
        match (&place.topic, place.partition, &place.tenant, &place.key, &place.key_hex) {
            (Some(topic), Some(partition), ..) => Scope::Partition(full(topic), partition),
            (Some(topic), None, ..) => Scope::Topic(full(topic)),
            (_, _, Some(tenant), ..) => Scope::Tenant(tenant.clone()),
            (.., Some(key), _) => Scope::Key(key.clone().into_bytes()),
            (.., Some(Key(key))) => Scope::Key(key.clone()),
            _ => Scope::All,
        }
    }
}

impl Scope {
    pub fn name(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Topic(_) => "topic",
            Self::Partition(..) => "partition",
            Self::Tenant(_) => "tenant",
            Self::Key(_) => "key",
            Self::Header(..) | Self::Field(..) => "field",
        }
    }

    pub fn selector(&self) -> Value {
        match self {
            Self::All => json!({}),
            Self::Topic(topic) => json!({ "topic": topic }),
            Self::Partition(topic, partition) => json!({ "topic": topic, "partition": partition }),
            Self::Tenant(tenant) => json!({ "tenant": tenant }),
            Self::Key(key) => json!({ "key": hex(key) }),
            Self::Header(header, equals) => json!({ "header": header, "equals": equals }),
            Self::Field(path, equals) => json!({ "path": path, "equals": equals }),
        }
    }

    /// # Errors
    /// When the consumer reads topics, and not this one.
    pub async fn check(&self, config: &Config, connection: &mut PgConnection, consumer: &str) -> Result<(), Error> {
        let (Self::Topic(topic) | Self::Partition(topic, _)) = self else { return Ok(()) };
        let mut topics: Vec<String> =
            sqlx::query_scalar("SELECT topic FROM pipeline.subscriptions WHERE consumer = $1 ORDER BY topic")
                .bind(consumer)
                .fetch_all(connection)
                .await?;
        if topics.is_empty() {
            return Ok(());
        }
        topics.extend(RETRY_DELAYS.map(|delay| retry_topic(&config.topic_prefix, consumer, delay)));
        if topics.contains(topic) {
            return Ok(());
        }
        Err(Error::Usage(format!("{consumer} does not read {topic}; it reads {}", topics.join(", "))))
    }
}

/// A scope of the table, for people.
pub fn told(scope: &str, selector: &Value) -> String {
    let text = |name: &str| selector.get(name).and_then(Value::as_str).unwrap_or("?");
    let said = match scope {
        "all" => "all messages".to_owned(),
        "topic" => format!("topic {}", text("topic")),
        "partition" => format!("{}[{}]", text("topic"), selector.get("partition").unwrap_or(&Value::Null)),
        "tenant" => format!("tenant {}", text("tenant")),
        "key" => match unhex(text("key")).map(|key| String::from_utf8(key.0)) {
            Ok(Ok(key)) => format!("key {key}"),
            _ => format!("key 0x{}", text("key")),
        },
        _ if selector.get("header").is_some() => format!("header {}={}", text("header"), text("equals")),
        _ => format!("field {}={}", text("path"), text("equals")),
    };
    plain(&said, 120)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_pairs_that_are_none_are_refused() {
        assert_eq!(unhex("6b00"), Ok(Key(vec![0x6b, 0])));
        for bad in ["", "6", "zz", "+1", "6b 0"] {
            assert!(unhex(bad).is_err(), "{bad}");
        }
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("=b").is_err() && pair("ab").is_err());
    }

    #[test]
    fn a_scope_is_told_as_it_was_chosen() {
        for (scope, said) in [
            (Scope::All, "all messages"),
            (Scope::Topic("t".into()), "topic t"),
            (Scope::Partition("t".into(), 3), "t[3]"),
            (Scope::Tenant("a\x1b[2J".into()), "tenant a [2J"),
            (Scope::Key(b"doc-1".to_vec()), "key doc-1"),
            (Scope::Key(vec![0xff, 1]), "key 0xff01"),
            (Scope::Header("p".into(), "x".into()), "header p=x"),
            (Scope::Field("data.k".into(), "x".into()), "field data.k=x"),
        ] {
            assert_eq!(told(scope.name(), &scope.selector()), said);
        }
    }
}
