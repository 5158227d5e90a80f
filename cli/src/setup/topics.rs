use std::collections::HashMap;

use docfleet_events::DocumentEvent;
use docfleet_outbox::Input;
use rdkafka::{
    admin::{AdminOptions, NewTopic, TopicReplication},
    types::RDKafkaErrorCode,
};
use serde::Serialize;

use crate::{
    Config, Error,
    consumer::{CONSUMERS, RETRY_DELAYS, dlq_topic, retry_topic},
    error::{Server, is_away},
    servers::{self, KAFKA_TIMEOUT},
};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Retries and dead letters carry the largest record that a producer could send us, and headers that say why it failed.
const FAILURE_BYTES_MAX: &str = "2097152";

#[derive(Serialize)]
pub struct Topic {
    pub name: String,
    pub created: bool,
    pub partitions: i32,
    #[serde(skip)]
    pub wanted_partitions: i32,
    #[serde(skip)]
    carries_events: bool,
    /// Of a topic of events: with another number the relay holds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_partitions: Option<i32>,
}

impl Topic {
    pub fn is_held(&self) -> bool {
        self.accepted_partitions.is_some_and(|accepted| accepted != self.partitions)
    }
}

/// A topic whose partitions somebody agrees to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    topic: String,
    partitions: i32,
}

pub fn parse_accepted(text: &str) -> Result<Accepted, String> {
    let (topic, partitions) = text.split_once('=').ok_or("not like TOPIC=N")?;
    let partitions = partitions.parse().ok().filter(|n| *n > 0).ok_or("N is no number of partitions")?;
    Ok(Accepted { topic: topic.to_owned(), partitions })
}

/// Writes down how many partitions the topics of events have: when they are created, or seen for the first time, or when
/// somebody says so.
pub async fn agree(config: &Config, topics: Vec<Topic>, accepted: &[Accepted]) -> Result<Vec<Topic>, Error> {
    let events = || topics.iter().filter(|topic| topic.carries_events && topic.partitions > 0);
    for Accepted { topic, partitions } in accepted {
        let there = events().find(|found| found.name == *topic).map(|found| found.partitions);
        let there = there.ok_or_else(|| Error::Usage(format!("--accept-partitions: {topic} is no topic of events")))?;
        if there != *partitions {
            return Err(Error::Usage(format!("--accept-partitions: {topic} has {there} partitions, not {partitions}")));
        }
    }
    let is_new = |topic: &Topic| topic.created || accepted.iter().any(|accepted| accepted.topic == topic.name);
    let mut connection = servers::postgres(config).await?;
    sqlx::query(
        r"INSERT INTO pipeline.topics AS t (topic, partitions)
          SELECT * FROM UNNEST($1::text[], $2::int[])
          ON CONFLICT (topic) DO UPDATE SET partitions = excluded.partitions, accepted_at = excluded.accepted_at
           WHERE t.partitions <> excluded.partitions AND t.topic = ANY($3::text[])",
    )
    .bind(events().map(|topic| topic.name.clone()).collect::<Vec<_>>())
    .bind(events().map(|topic| topic.partitions).collect::<Vec<_>>())
    .bind(events().filter(|topic| is_new(topic)).map(|topic| topic.name.clone()).collect::<Vec<_>>())
    .execute(&mut connection)
    .await?;
    let rows: Vec<(String, i32)> =
        sqlx::query_as("SELECT topic, partitions FROM pipeline.topics").fetch_all(&mut connection).await?;
    let agreed: HashMap<String, i32> = rows.into_iter().collect();
    let with_agreed = |topic: Topic| Topic { accepted_partitions: agreed.get(&topic.name).copied(), ..topic };
    Ok(topics.into_iter().map(with_agreed).collect())
}

/// A topic as it ought to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub partitions: i32,
    retention_ms: String,
    carries_failures: bool,
}

/// Every topic of the fleet: events, then for each consumer its retries and its dead letters.
pub fn wanted(prefix: &str, partitions: i32) -> Vec<Wanted> {
    let topic = |name: String, partitions: i32, days: i64, carries_failures: bool| Wanted {
        name,
        partitions,
        retention_ms: (days * DAY_MS).to_string(),
        carries_failures,
    };
    let events = DocumentEvent::topics().into_iter().map(|name| topic(format!("{prefix}{name}"), partitions, 7, false));
    let failures = CONSUMERS.into_iter().flat_map(|consumer| {
        let retries = RETRY_DELAYS.map(|delay| topic(retry_topic(prefix, consumer, delay), partitions, 7, true));
        // Read by people: one partition keeps them in one order. Kept longer, so that a holiday loses none.
        retries.into_iter().chain([topic(dlq_topic(prefix, consumer), 1, 14, true)])
    });
    events.chain(failures).collect()
}

pub async fn create(config: &Config, wanted: &[Wanted], replication_factor: i32) -> Result<Vec<Topic>, Error> {
    let admin = servers::kafka_admin(config)?;
    let new: Vec<NewTopic<'_>> = wanted.iter().map(|topic| new_topic(topic, replication_factor)).collect();
    let options = AdminOptions::new().request_timeout(Some(KAFKA_TIMEOUT)).operation_timeout(Some(KAFKA_TIMEOUT));
    let mut created = HashMap::with_capacity(wanted.len());
    for result in admin.create_topics(&new, &options).await? {
        match result {
            Ok(name) => created.insert(name, true),
            Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => created.insert(name, false),
            // Also said while the brokers of a cluster that starts are not registered yet.
            Err((topic, code)) if is_away(code) || code == RDKafkaErrorCode::InvalidReplicationFactor => {
                let detail = format!("creating {topic}: {code}: are {replication_factor} brokers there?");
                return Err(Error::Away { server: Server::Kafka, detail });
            }
            Err((topic, code)) => return Err(Error::Topic { topic, code }),
        };
    }
    let existing = partitions_of_all(config).await?;
    Ok(wanted
        .iter()
        .map(|topic| {
            let created = created.get(&topic.name).copied().unwrap_or(false);
            let partitions = if created { topic.partitions } else { existing.get(&topic.name).copied().unwrap_or(0) };
            Topic {
                name: topic.name.clone(),
                created,
                partitions,
                wanted_partitions: topic.partitions,
                carries_events: !topic.carries_failures,
                accepted_partitions: None,
            }
        })
        .collect())
}

fn new_topic(topic: &Wanted, replication_factor: i32) -> NewTopic<'_> {
    let new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(replication_factor))
        .set("cleanup.policy", "delete")
        .set("retention.ms", &topic.retention_ms)
        // With three copies one broker may be away and a write still survives the loss of another.
        .set("min.insync.replicas", if replication_factor >= 3 { "2" } else { "1" });
    if topic.carries_failures { new.set("max.message.bytes", FAILURE_BYTES_MAX) } else { new }
}

async fn partitions_of_all(config: &Config) -> Result<HashMap<String, i32>, Error> {
    let admin = servers::kafka_admin(config)?;
    tokio::task::spawn_blocking(move || {
        let metadata = admin.inner().fetch_metadata(None, KAFKA_TIMEOUT)?;
        let count =
            |topic: &rdkafka::metadata::MetadataTopic| i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
        Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), count(topic))).collect())
    })
    .await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_topic_for_each_event_and_four_for_each_consumer() {
        let wanted = wanted("p.", 12);
        assert_eq!(wanted.len(), 6 + 5 * 4);
        assert!(wanted.iter().all(|topic| topic.name.starts_with("p.")));
        let named = |name: &str| {
            wanted.iter().find(|topic| topic.name == name).map(|t| (t.partitions, t.retention_ms.as_str()))
        };
        assert_eq!(named("p.documents.uploaded.v1"), Some((12, "604800000")));
        assert_eq!(named("p.ocr.retry.10m"), Some((12, "604800000")));
        assert_eq!(named("p.webhook-dispatcher.dlq"), Some((1, "1209600000")));
    }
}
