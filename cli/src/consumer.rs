//! The fleet's consumers and the names of their topics.

/// In the order of the flow.
pub const CONSUMERS: [&str; 5] = ["av-scan", "dedup", "ocr", "webhook-dispatcher", "projection-builder"];

/// Delays of the retry topics, shortest first.
pub const RETRY_DELAYS: [&str; 3] = ["10s", "1m", "10m"];

/// Of a logical version, `consumer@version`, it is the consumer's own.
pub fn retry_topic(prefix: &str, consumer: &str, delay: &str) -> String {
    let name = consumer.split('@').next().unwrap_or(consumer);
    format!("{prefix}{name}.retry.{delay}")
}

pub fn is_retry_topic(topic: &str) -> bool {
    topic.contains(".retry.")
}

pub fn dlq_topic(prefix: &str, consumer: &str) -> String {
    format!("{prefix}{consumer}.dlq")
}

/// The consumer group, whose offsets say how far a consumer is.
pub fn group(prefix: &str, consumer: &str) -> String {
    format!("{prefix}{consumer}")
}
