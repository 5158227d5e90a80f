//! Names of the Kafka headers that the runtime adds when it sends a message to a retry topic or a dead letter topic.
//! The message's own headers stay as they were.

/// The consumer that failed; a retry topic has only one, this is for readers of dead letters.
pub const CONSUMER: &str = "docfleet_consumer";
/// Which attempt this record is, 0 for the original. The inbox drops older ones.
pub const ATTEMPT: &str = "docfleet_attempt";
/// Unix milliseconds before which the message is not to be worked on.
pub const NOT_BEFORE: &str = "docfleet_not_before";
pub const REASON: &str = "docfleet_reason";
pub const CLASS: &str = "docfleet_class";
/// Free text without personal data.
pub const ERROR: &str = "docfleet_error";
pub const ORIGINAL_TOPIC: &str = "docfleet_original_topic";
pub const ORIGINAL_PARTITION: &str = "docfleet_original_partition";
pub const ORIGINAL_OFFSET: &str = "docfleet_original_offset";
/// Size in bytes of a value that was too large to be carried; it still lies at the original place.
pub const PAYLOAD_OMITTED: &str = "docfleet_payload_omitted_bytes";
/// RFC 3339.
pub const FIRST_FAILED_AT: &str = "docfleet_first_failed_at";
/// RFC 3339.
pub const FAILED_AT: &str = "docfleet_failed_at";
/// Of dead letters that died together, as the messages of one key of an ordered consumer: the group's id
pub const GROUP: &str = "docfleet_group";
/// and the letter's place in its order, from 1.
pub const GROUP_POSITION: &str = "docfleet_group_position";

/// Of a message that is fed to its consumer again: the logical version, under which its outcome stands in the inbox
pub const REPLAY: &str = "docfleet_replay";
/// and whether what follows from it becomes events, `new` or `none`.
pub const REPLAY_EMITS: &str = "docfleet_replay_emits";
/// and the event's day, ISO 8601, so that its outcome is found when it can not be decoded.
pub const REPLAY_DAY: &str = "docfleet_replay_day";

/// All of the above begin with this.
pub const PREFIX: &str = "docfleet_";
