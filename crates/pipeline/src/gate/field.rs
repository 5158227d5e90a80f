use apache_avro::{Schema, reader::datum::GenericDatumReader, types::Value};

/// What stands at a dotted path of a datum, as text: for kill switches by payload field. None where there is nothing, or
/// something that has no parts and no plain text.
///
/// Decodes the whole datum a second time, so it is for when a command asks. The datum was decoded before: its bounds on
/// allocation are set.
pub fn of_datum(writer: &Schema, mut datum: &[u8], path: &str) -> Option<String> {
    let reader = GenericDatumReader::builder(writer).build().ok()?;
    let decoded = reader.read_value(&mut datum).ok()?;
    let mut value = plain(&decoded);
    for part in path.split('.') {
        let Value::Record(fields) = value else { return None };
        value = plain(&fields.iter().find(|(name, _)| name == part)?.1);
    }
    text(value)
}

/// What a union holds.
fn plain(value: &Value) -> &Value {
    match value {
        Value::Union(_, inner) => plain(inner),
        other => other,
    }
}

fn text(value: &Value) -> Option<String> {
    Some(match value {
        Value::String(text) | Value::Enum(_, text) => text.clone(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Int(number) | Value::Date(number) | Value::TimeMillis(number) => number.to_string(),
        Value::Long(number)
        | Value::TimeMicros(number)
        | Value::TimestampMillis(number)
        | Value::TimestampMicros(number) => number.to_string(),
        Value::Uuid(id) => id.to_string(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use apache_avro::writer::datum::GenericDatumWriter;

    use super::*;

    fn datum() -> (Schema, Vec<u8>) {
        let schema = Schema::parse_str(
            r#"{"type": "record", "name": "E", "fields": [
                {"name": "meta", "type": {"type": "record", "name": "M", "fields": [{"name": "tenant", "type": "string"}]}},
                {"name": "data", "type": {"type": "record", "name": "D", "fields": [
                    {"name": "kind", "type": ["null", "string"]}, {"name": "size", "type": "long"},
                    {"name": "verdict", "type": {"type": "enum", "name": "V", "symbols": ["clean", "infected"]}}]}}]}"#,
        )
        .unwrap();
        let data = Value::Record(vec![
            ("kind".into(), Value::Union(1, Box::new(Value::String("pdf".into())))),
            ("size".into(), Value::Long(42)),
            ("verdict".into(), Value::Enum(1, "infected".into())),
        ]);
        let meta = Value::Record(vec![("tenant".into(), Value::String("acme".into()))]);
        let event = Value::Record(vec![("meta".into(), meta), ("data".into(), data)]);
        let mut bytes = Vec::new();
        GenericDatumWriter::builder(&schema).build().unwrap().write_value(&mut bytes, event).unwrap();
        (schema, bytes)
    }

    #[test]
    fn a_field_is_found_by_its_path_and_nothing_else_is() {
        let (schema, bytes) = datum();
        let at = |path: &str| of_datum(&schema, &bytes, path);
        assert_eq!(at("data.kind").as_deref(), Some("pdf"));
        assert_eq!(at("data.size").as_deref(), Some("42"));
        assert_eq!(at("data.verdict").as_deref(), Some("infected"));
        assert_eq!(at("meta.tenant").as_deref(), Some("acme"));
        for nothing in ["", ".", "data", "data.", "kind", "data.kind.x", "data.nothing", "data..kind"] {
            assert_eq!(at(nothing), None, "{nothing:?}");
        }
        assert_eq!(of_datum(&schema, &bytes[..3], "meta.tenant"), None, "a datum that is cut off");
    }
}
