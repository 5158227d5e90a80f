use apache_avro::reader::datum::GenericDatumReader;
use docfleet_outbox::{Registry, codec, record_name};
use serde::Serialize;

use crate::Error;

const HEX_BYTES_A_LINE: usize = 32;
/// What a screen is given of the bytes; JSON holds all of them.
const HEX_LINES_MAX: usize = 64;
/// And of what they say.
const TEXT_CHARS_MAX: usize = 20_000;

/// A record's value as far as it can be read: that it can not be read may be why it died.
#[derive(Serialize)]
pub struct Payload {
    size_bytes: usize,
    schema_id: Option<u32>,
    schema: Option<String>,
    decoded: Option<serde_json::Value>,
    undecodable: Option<String>,
    hex: String,
}

impl Payload {
    pub async fn read(registry: &Registry, bytes: &[u8]) -> Self {
        let mut payload = Self {
            size_bytes: bytes.len(),
            schema_id: codec::unframe(bytes).ok().map(|(id, _)| id),
            schema: None,
            decoded: None,
            undecodable: None,
            hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        match decode(registry, bytes).await {
            Ok((schema, value)) => (payload.schema, payload.decoded) = (schema, Some(value)),
            Err(error) => payload.undecodable = Some(error.to_string()),
        }
        payload
    }

    pub fn text(&self) -> String {
        let mut lines = vec![match (&self.schema_id, &self.schema) {
            (Some(id), Some(name)) => format!("payload    {} bytes, schema {id} ({name})", self.size_bytes),
            (Some(id), None) => format!("payload    {} bytes, schema {id}", self.size_bytes),
            _ => format!("payload    {} bytes", self.size_bytes),
        }];
        if let Some(why) = &self.undecodable {
            lines.push(format!("           not decodable: {why}"));
        }
        if let Some(text) = self.decoded.as_ref().and_then(|value| serde_json::to_string_pretty(value).ok()) {
            let mut shown: String = text.chars().take(TEXT_CHARS_MAX).collect();
            if shown.len() < text.len() {
                shown.push_str("\n  … all of it by --json");
            }
            lines.push(shown);
        }
        // Hex digits are ASCII: each line is whole.
        lines.extend(
            self.hex
                .as_bytes()
                .chunks(HEX_BYTES_A_LINE * 2)
                .take(HEX_LINES_MAX)
                .enumerate()
                .map(|(nth, line)| format!("  {:06x}  {}", nth * HEX_BYTES_A_LINE, String::from_utf8_lossy(line))),
        );
        if let Some(more) = self.size_bytes.checked_sub(HEX_LINES_MAX * HEX_BYTES_A_LINE).filter(|more| *more > 0) {
            lines.push(format!("  … {more} bytes more by --json"));
        }
        lines.join("\n")
    }
}

/// Reads a datum with the schema it was written with, whatever its type.
pub async fn decode(registry: &Registry, bytes: &[u8]) -> Result<(Option<String>, serde_json::Value), Error> {
    let avro = |error: apache_avro::Error| Error::Schema(docfleet_outbox::Error::Avro(error.to_string()));
    let (id, mut datum) = codec::unframe(bytes)?;
    let schema = registry.schema(id).await?;
    let reader = GenericDatumReader::builder(&schema).build().map_err(avro)?;
    let value = reader.read_value(&mut datum).map_err(avro)?;
    if !datum.is_empty() {
        let detail = format!("{} bytes are left over after the datum", datum.len());
        return Err(Error::Schema(docfleet_outbox::Error::Avro(detail)));
    }
    Ok((record_name(&schema).map(str::to_owned), value.try_into().map_err(avro)?))
}
