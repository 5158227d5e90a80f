//! Avro in Confluent's wire format: magic byte 0, the schema id in 4 bytes big-endian, the datum.

use apache_avro::{Schema, from_value, reader::datum::GenericDatumReader, writer::datum::GenericDatumWriter};
use serde::Serialize;

use crate::{Error, Event, EventMeta};

mod wire;

/// The shape on the wire of every event, to write. To read it: [`wire::Wire`].
#[derive(Serialize)]
struct WireRef<'a, E> {
    meta: &'a EventMeta,
    data: &'a E,
}

pub fn encode<E: Event>(schema_id: u32, meta: &EventMeta, event: &E) -> Result<Vec<u8>, Error> {
    let writer = GenericDatumWriter::builder(E::schema()).human_readable(true).build().map_err(avro)?;
    let mut bytes = Vec::with_capacity(512);
    bytes.push(0);
    bytes.extend_from_slice(&schema_id.to_be_bytes());
    writer.write_ser(&mut bytes, &WireRef { meta, data: event }).map_err(avro)?;
    Ok(bytes)
}

/// Splits a record's value into schema id and datum.
pub fn unframe(value: &[u8]) -> Result<(u32, &[u8]), Error> {
    match value {
        [0, a, b, c, d, datum @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), datum)),
        _ => Err(Error::NotFramed),
    }
}

/// What a datum may make the decoder allocate at once, whatever its length prefixes say. The default is 512 MiB.
const ALLOCATION_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Reads a datum written with `writer` as our version of the event (Avro's schema resolution where they differ).
pub fn decode<E: Event>(writer: &Schema, mut datum: &[u8]) -> Result<(EventMeta, E), Error> {
    apache_avro::util::max_allocation_bytes(ALLOCATION_BYTES_MAX);
    let reader = E::schema();
    let wire: wire::Wire<E> = if writer == reader {
        let plain = GenericDatumReader::builder(writer).human_readable(true).build().map_err(avro)?;
        plain.read_deser(&mut datum).map_err(avro)?
    } else {
        let resolving = GenericDatumReader::builder(writer).reader_schema(reader).build().map_err(avro)?;
        from_value(&resolving.read_value(&mut datum).map_err(avro)?).map_err(avro)?
    };
    // Trailing bytes mean that the datum is not what its schema id says; reading on would hide a corruption.
    if !datum.is_empty() {
        return Err(Error::Avro(format!("{} bytes are left over after the datum", datum.len())));
    }
    Ok((wire.meta, wire.data))
}

fn avro(error: apache_avro::Error) -> Error {
    Error::Avro(error.to_string())
}
