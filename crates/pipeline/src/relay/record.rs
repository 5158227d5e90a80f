//! A row as a record, handed to the client.

use std::borrow::Cow;

use rdkafka::{
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::BaseRecord,
    types::RDKafkaErrorCode,
};

use serde::Deserialize;

use super::{acks::Trouble, publisher::Client, store::Contents};

pub(super) enum NotSent {
    /// For the moment.
    NoRoom,
    Trouble(Trouble),
}

/// Hands it over; the client copies it. Whether Kafka has it, the acknowledgement with this slot will say.
pub(super) fn send(client: &Client, slot: usize, contents: &Contents) -> Result<(), NotSent> {
    let unreadable = |error: sqlx::Error| NotSent::Trouble(Trouble::OfTheRow(error.to_string()));
    let headers = headers_of(contents.headers().map_err(unreadable)?)
        .map_err(|error| NotSent::Trouble(Trouble::OfTheRow(format!("headers: {error}"))))?;
    let topic = contents.topic().map_err(unreadable)?;
    let mut record: BaseRecord<'_, [u8], [u8], usize> = BaseRecord::with_opaque_to(topic, slot).headers(headers);
    if let Some(key) = contents.key().map_err(unreadable)? {
        record = record.key(key);
    }
    if let Some(payload) = contents.payload().map_err(unreadable)? {
        record = record.payload(payload);
    }
    match client.send(record) {
        Ok(()) => Ok(()),
        Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Err(NotSent::NoRoom),
        Err((error, _)) => Err(NotSent::Trouble(Trouble::of(&error))),
    }
}

/// Borrowed wherever the JSON holds no escape.
#[derive(Deserialize)]
struct Pair<'a>(#[serde(borrow)] Cow<'a, str>, #[serde(borrow)] Cow<'a, str>);

fn headers_of(json: &[u8]) -> Result<OwnedHeaders, serde_json::Error> {
    let pairs: Vec<Pair<'_>> = serde_json::from_slice(json)?;
    let headers = OwnedHeaders::new_with_capacity(pairs.len());
    Ok(pairs.iter().fold(headers, |headers, Pair(name, value)| {
        headers.insert(Header { key: name, value: Some(value.as_bytes()) })
    }))
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers;

    use super::*;

    #[test]
    fn headers_keep_their_order_and_what_is_no_pair_is_refused() {
        let headers = headers_of(r#"[["a", "1"], ["b", "\"ä"], ["a", ""]]"#.as_bytes()).ok();
        let pairs: Vec<(String, Option<Vec<u8>>)> = headers
            .iter()
            .flat_map(|headers| headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))))
            .collect();
        let expected = [("a", "1"), ("b", "\"ä"), ("a", "")].map(|(k, v)| (k.to_owned(), Some(v.as_bytes().to_vec())));
        assert_eq!(pairs, expected);
        for hostile in ["", "{}", "[1]", r#"[["a"]]"#, r#"[["a", 1]]"#, r#"[["a", "b", "c"]]"#] {
            assert!(headers_of(hostile.as_bytes()).is_err(), "{hostile}");
        }
    }
}
