use apache_avro::Schema;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// A fact about an aggregate, with a place on a topic and an Avro schema.
///
/// Implement it through [`define_event!`](crate::define_event), which parses the schema once per process.
pub trait Event: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Short name, such as `DocumentUploaded`; also the Kafka header `event_type`.
    const NAME: &'static str;
    /// `{domain}.{event}.v{major}`; the registry's subject is this plus `-value`.
    const TOPIC: &'static str;
    const AGGREGATE_TYPE: &'static str;
    /// The schema's text, as it stands in `schemas/`.
    const AVSC: &'static str;

    fn schema() -> &'static Schema;
    fn aggregate_id(&self) -> Uuid;
}

/// Implements [`Event`] for a struct whose serde form is the `data` record of the named `.avsc`.
#[macro_export]
macro_rules! define_event {
    ($type:ident, topic: $topic:literal, aggregate: $aggregate:literal, id: $id:ident, schema: $path:literal) => {
        impl $crate::Event for $type {
            const NAME: &'static str = stringify!($type);
            const TOPIC: &'static str = $topic;
            const AGGREGATE_TYPE: &'static str = $aggregate;
            const AVSC: &'static str = include_str!($path);

            fn schema() -> &'static $crate::apache_avro::Schema {
                static SCHEMA: std::sync::LazyLock<$crate::apache_avro::Schema> = std::sync::LazyLock::new(|| {
                    // A constant of the program: a test of the same crate reads it, so it can not fail in production.
                    #[allow(clippy::expect_used)]
                    $crate::apache_avro::Schema::parse_str(<$type as $crate::Event>::AVSC)
                        .expect("schema is valid Avro")
                });
                &SCHEMA
            }

            fn aggregate_id(&self) -> uuid::Uuid {
                self.$id
            }
        }
    };
}
