use apache_avro::Schema;

use crate::{Error, Event, EventMeta, codec};

/// What a consumer reads: one event, or an enum over several.
pub trait Input: Sized + Send + Sync + 'static {
    /// Without the deployment's topic prefix.
    fn topics() -> Vec<&'static str>;

    /// Reads a datum that was written with `writer`.
    ///
    /// # Errors
    /// [`Error::Avro`]; the message is then beyond help.
    fn decode(writer: &Schema, datum: &[u8]) -> Result<(EventMeta, Self), Error>;
}

impl<E: Event> Input for E {
    fn topics() -> Vec<&'static str> {
        vec![E::TOPIC]
    }

    fn decode(writer: &Schema, datum: &[u8]) -> Result<(EventMeta, Self), Error> {
        match record_name(writer) {
            Some(name) if name == E::NAME => codec::decode(writer, datum),
            other => Err(Error::UnexpectedEvent(other.unwrap_or("not a record").to_owned())),
        }
    }
}

/// The short name of a record's schema; for [`Input`]s that choose by it.
pub fn record_name(schema: &Schema) -> Option<&str> {
    schema.name().map(|name| name.name())
}
