//! `openapi.yaml` as a judge of answers.

use std::sync::LazyLock;

use reqwest::header::HeaderMap;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

pub static OPENAPI: LazyLock<Value> = LazyLock::new(|| {
    serde_yaml_ng::from_str(include_str!("../../openapi.yaml")).expect("openapi.yaml is YAML without exotic keys")
});

/// Panics when an answer is not what the contract says of this operation.
pub fn check_answer(method: &str, path: &str, status: u16, headers: &HeaderMap, body: &[u8]) {
    let Some(operation) = operation(method, path) else {
        assert!(
            status == 404 || status == 405,
            "{method} {path} is not in the contract and was answered with {status}"
        );
        let problem = serde_json::from_slice(body).expect("a problem");
        return conforms(&OPENAPI["components"]["schemas"]["Problem"], &problem, path).unwrap();
    };
    let response = resolve(&operation["responses"][status.to_string()]);
    assert!(
        response.is_object(),
        "{method} {path}: the contract knows no answer {status}: {}",
        String::from_utf8_lossy(body)
    );
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let required = resolve(header)["required"] == true;
        assert!(!required || headers.contains_key(name), "{method} {path} {status}: no header {name}");
    }
    let Some(contents) = response["content"].as_object() else {
        return assert!(body.is_empty(), "{method} {path} {status}: a body that the contract does not know");
    };
    let mime = headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mime = mime.split(';').next().unwrap_or_default();
    let media = contents.get(mime).or_else(|| contents.get("*/*"));
    let media = media.unwrap_or_else(|| panic!("{method} {path} {status}: the contract knows no {mime}"));
    if mime.ends_with("json") {
        let value: Value = serde_json::from_slice(body).expect("JSON");
        conforms(&media["schema"], &value, path)
            .unwrap_or_else(|why| panic!("{method} {path} {status}: {why}: {value}"));
    }
}

fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next()?;
    let fits = |template: &str| {
        let (mut given, mut wanted) = (path.split('/'), template.split('/'));
        loop {
            match (given.next(), wanted.next()) {
                (None, None) => return true,
                (Some(g), Some(w)) if g == w || (w.starts_with('{') && !g.is_empty()) => {}
                _ => return false,
            }
        }
    };
    let (_, item) = OPENAPI["paths"].as_object()?.iter().find(|(template, _)| fits(template))?;
    item.get(method.to_lowercase())
}

fn resolve(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let found = OPENAPI.pointer(reference.trim_start_matches('#'));
            found.unwrap_or_else(|| panic!("{reference} leads nowhere"))
        }
        None => value,
    }
}

/// The part of JSON Schema that `openapi.yaml` uses.
pub fn conforms(schema: &'static Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = resolve(schema);
    if let Some(options) = schema["oneOf"].as_array() {
        let fitting = options.iter().filter(|option| conforms(option, value, at).is_ok()).count();
        return if fitting == 1 { Ok(()) } else { Err(format!("{at} fits {fitting} of the alternatives")) };
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    if !types.is_empty() && !types.iter().any(|name| is_of(name, value)) {
        return Err(format!("{at} is none of {types:?}"));
    }
    if schema["enum"].as_array().is_some_and(|allowed| !allowed.contains(value)) {
        return Err(format!("{at} is not one of {}", schema["enum"]));
    }
    if let Some(number) = value.as_f64() {
        let below = schema["minimum"].as_f64().is_some_and(|least| number < least);
        let above = schema["maximum"].as_f64().is_some_and(|most| number > most);
        if below || above {
            return Err(format!("{at} is out of range"));
        }
    }
    match value {
        Value::String(text) => well_formed(schema["format"].as_str(), text).map_err(|why| format!("{at} {why}")),
        Value::Array(items) => items.iter().try_for_each(|item| conforms(&schema["items"], item, &format!("{at}[]"))),
        Value::Object(fields) => {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !fields.contains_key(name) {
                    return Err(format!("{at} has no {name}"));
                }
            }
            for (name, field) in fields {
                match schema["properties"].get(name) {
                    Some(property) => conforms(property, field, &format!("{at}.{name}"))?,
                    None if schema["additionalProperties"] == false => {
                        return Err(format!("{at} has an unknown {name}"));
                    }
                    None => {}
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn well_formed(format: Option<&str>, text: &str) -> Result<(), &'static str> {
    let good = match format {
        Some("uuid") => uuid::Uuid::parse_str(text).is_ok(),
        Some("date-time") => OffsetDateTime::parse(text, &Rfc3339).is_ok(),
        Some("uri") => url::Url::parse(text).is_ok(),
        Some("uri-reference") => text.starts_with('/'),
        _ => true,
    };
    if good { Ok(()) } else { Err("is not of its format") }
}
