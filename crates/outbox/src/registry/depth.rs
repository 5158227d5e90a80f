use apache_avro::{Schema, schema::Name};

/// Whether a schema refers to itself, at any distance. A few bytes that follow such a one make the decoder call itself until its
/// stack is used up, which no process survives; none of our events needs it.
pub(super) fn is_recursive(schema: &Schema) -> bool {
    within(schema, &mut Vec::new())
}

/// `open`: the records around it. A reference to another one is to a record that was looked at where it is defined.
fn within<'a>(schema: &'a Schema, open: &mut Vec<&'a Name>) -> bool {
    match schema {
        Schema::Ref { name } => open.contains(&name),
        Schema::Array(array) => within(&array.items, open),
        Schema::Map(map) => within(&map.types, open),
        Schema::Union(union) => union.variants().iter().any(|variant| within(variant, open)),
        Schema::Record(record) => {
            open.push(&record.name);
            let found = record.fields.iter().any(|field| within(&field.schema, open));
            open.pop();
            found
        }
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(fields: &str) -> Schema {
        Schema::parse_str(&format!(r#"{{"type":"record","name":"A","fields":[{fields}]}}"#)).unwrap()
    }

    #[test]
    fn a_schema_that_refers_to_itself_is_seen_at_any_distance() {
        for fields in [
            r#"{"name":"next","type":["null","A"]}"#,
            r#"{"name":"all","type":{"type":"array","items":"A"}}"#,
            r#"{"name":"by","type":{"type":"map","values":["null","A"]}}"#,
            r#"{"name":"b","type":{"type":"record","name":"B","fields":[{"name":"a","type":["null","A"]}]}}"#,
        ] {
            assert!(is_recursive(&record(fields)), "{fields}");
        }
    }

    #[test]
    fn a_name_that_is_used_twice_is_no_recursion() {
        let twice = r#"{"name":"b","type":{"type":"record","name":"B","fields":[]}},{"name":"c","type":["null","B"]}"#;
        assert!(!is_recursive(&record(twice)));
        for schema in ["\"string\"", r#"{"type":"array","items":"long"}"#] {
            assert!(!is_recursive(&Schema::parse_str(schema).unwrap()));
        }
    }
}
