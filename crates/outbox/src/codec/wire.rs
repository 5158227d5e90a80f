use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

use crate::{Event, EventMeta};

/// `{meta, data}` as read.
///
/// Not derived: Avro's deserializer compares the struct's name with the record's, and that is the event's.
pub(super) struct Wire<E> {
    pub meta: EventMeta,
    pub data: E,
}

impl<'de, E: Event> Deserialize<'de> for Wire<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(E::NAME, &["meta", "data"], WireVisitor(PhantomData))
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Meta,
    Data,
}

struct WireVisitor<E>(PhantomData<E>);

impl<'de, E: Event> Visitor<'de> for WireVisitor<E> {
    type Value = Wire<E>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a record of meta and data")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Wire<E>, A::Error> {
        let (mut meta, mut data) = (None, None);
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Meta => meta = Some(map.next_value()?),
                Field::Data => data = Some(map.next_value()?),
            }
        }
        Ok(Wire {
            meta: meta.ok_or_else(|| A::Error::missing_field("meta"))?,
            data: data.ok_or_else(|| A::Error::missing_field("data"))?,
        })
    }
}
