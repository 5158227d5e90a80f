//! The client configuration of consumers and producers: one audited place.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;

use crate::KafkaConfig;

/// What correctness rests on. Each line has cost somebody an outage or lost data; none can be overridden.
const CONSUMER: &[(&str, &str)] = &[
    // Offsets follow the settlement, never the delivery.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // "latest" would skip what was produced before the group's first commit.
    ("auto.offset.reset", "earliest"),
    ("isolation.level", "read_committed"),
    // A commit inside a rebalance waits for so long at most, well below max.poll.interval.ms.
    ("socket.timeout.ms", "20000"),
    ("check.crcs", "true"),
    ("allow.auto.create.topics", "false"),
    // The new protocol loses members for good after a missed poll in librdkafka < 2.15 (librdkafka#5541).
    ("group.protocol", "classic"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("heartbeat.interval.ms", "2000"),
    ("max.poll.interval.ms", "120000"),
    // The default holds 64 MiB of a backlog in each consumer's memory.
    ("queued.max.messages.kbytes", "16384"),
    ("queued.min.messages", "1000"),
    // Partitions that are added are read after so long; the default is five minutes. The producer keeps the default: until
    // it looks, it does not write to partitions that the relay has not been told to accept.
    ("topic.metadata.refresh.interval.ms", "30000"),
];

const PRODUCER: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("enable.gapless.guarantee", "true"),
    // Idempotence keeps the order of requests in flight only where the broker knows the producer already. On a partition
    // that was just created it takes whatever comes first, and the one before it is lost as a "duplicate".
    ("max.in.flight.requests.per.connection", "1"),
    // Java's partitioner: with another one, one key would lie in two partitions as soon as a second producer exists.
    ("partitioner", "murmur2_random"),
    ("allow.auto.create.topics", "false"),
    // After this the relay purges, makes a new producer and reads the table again.
    ("delivery.timeout.ms", "30000"),
    ("message.max.bytes", "2097152"),
    // A topic that does not exist is told after so long; the default holds its whole batch up for 30 s.
    ("topic.metadata.propagation.max.ms", "5000"),
    ("queue.buffering.max.messages", "100000"),
];

/// Of a producer; `[kafka.client]` may say otherwise: speed only.
const PRODUCER_SPEED: &[(&str, &str)] = &[("linger.ms", "1"), ("compression.type", "lz4")];

const COMMON: &[(&str, &str)] = &[
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "2000"),
    // The client's own log lines say the same as the errors that we handle, several times a second.
    ("log.connection.close", "false"),
];

/// # Errors
/// The name of a property that `[kafka.client]` tries to override.
pub fn consumer(config: &KafkaConfig, group: &str) -> Result<ClientConfig, String> {
    let session_ms = config.session_timeout.as_millis().to_string();
    client(config, CONSUMER, &[("group.id", group), ("session.timeout.ms", &session_ms)])
}

/// # Errors
/// The name of a property that `[kafka.client]` tries to override.
pub fn producer(config: &KafkaConfig) -> Result<ClientConfig, String> {
    let mut config = config.clone();
    for (name, value) in PRODUCER_SPEED {
        config.client.entry((*name).to_owned()).or_insert_with(|| (*value).to_owned());
    }
    client(&config, PRODUCER, &[])
}

/// For reading watermarks and committed offsets of a group without being its member.
///
/// # Errors
/// The name of a property that `[kafka.client]` tries to override.
pub fn observer(config: &KafkaConfig, group: &str) -> Result<ClientConfig, String> {
    client(config, &[("enable.auto.commit", "false"), ("allow.auto.create.topics", "false")], &[("group.id", group)])
}

fn client(config: &KafkaConfig, fixed: &[(&str, &str)], own: &[(&str, &str)]) -> Result<ClientConfig, String> {
    let settled: BTreeMap<&str, &str> = COMMON.iter().chain(fixed).chain(own).copied().collect();
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.brokers).set("client.id", "docfleet");
    for (name, value) in &config.client {
        if settled.contains_key(name.as_str()) || name == "bootstrap.servers" {
            return Err(format!("kafka.client.\"{name}\" is not yours to set: exactly-once effects rest on it"));
        }
        client.set(name, value);
    }
    for (name, value) in settled {
        client.set(name, value);
    }
    Ok(client)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn dump(client: &ClientConfig) -> String {
        let sorted: BTreeMap<_, _> = client.config_map().into_iter().collect();
        sorted.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    }

    #[test]
    fn the_effective_configuration_is_the_reviewed_one() {
        let config = KafkaConfig::default();
        let golden = include_str!("client.golden");
        let now = format!(
            "# consumer\n{}# producer\n{}# observer\n{}",
            dump(&consumer(&config, "g").unwrap()),
            dump(&producer(&config).unwrap()),
            dump(&observer(&config, "g").unwrap())
        );
        assert_eq!(now, golden, "review the change, then write it to client.golden");
    }

    #[test]
    fn librdkafka_knows_every_property() {
        let config = KafkaConfig::default();
        consumer(&config, "g").unwrap().create_native_config().unwrap();
        producer(&config).unwrap().create_native_config().unwrap();
    }

    #[test]
    fn transport_security_can_be_added_and_guarantees_can_not_be_removed() {
        let mut config = KafkaConfig::default();
        config.client.insert("security.protocol".into(), "ssl".into());
        assert!(consumer(&config, "g").is_ok());
        config.client.insert("enable.auto.commit".into(), "true".into());
        assert!(consumer(&config, "g").is_err());
    }
}
