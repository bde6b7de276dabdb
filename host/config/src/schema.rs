//! The JSON schema of `belfry.toml`, for editors.

use serde_json::{Map, Value, json};

use crate::keys::ROOT;
use crate::spec::{Kind, Need, TableSpec};

/// JSON Schema (2020-12) of `belfry.toml`. Overrides and `${VAR}` are beyond what it can say.
pub fn schema() -> Value {
    let mut schema = table(&ROOT, "#", &mut Vec::new());
    if let Some(object) = schema.as_object_mut() {
        object.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        object.insert("title".to_owned(), "belfry.toml".into());
    }
    schema
}

/// `open` holds the tables around this one with their places: a table inside itself is a reference.
fn table(spec: &'static TableSpec, place: &str, open: &mut Vec<(*const TableSpec, String)>) -> Value {
    if let Some((_, place)) = open.iter().find(|(s, _)| std::ptr::eq(*s, spec)) {
        return json!({ "$ref": place });
    }
    open.push((spec, place.to_owned()));
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in spec.keys {
        let mut property = kind(&key.kind, &format!("{place}/properties/{}", key.name), open);
        if let Some(object) = property.as_object_mut() {
            object.insert("description".to_owned(), key.doc.into());
            match key.need {
                Need::Required => required.push(Value::from(key.name)),
                Need::Default(text) => {
                    if let Ok(value) = serde_json::from_str::<Value>(text) {
                        object.insert("default".to_owned(), value);
                    }
                }
                Need::Optional => {}
            }
        }
        properties.insert(key.name.to_owned(), property);
    }
    open.pop();
    let mut out = json!({
        "type": "object",
        "description": spec.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        out["required"] = Value::Array(required);
    }
    out
}

fn kind(kind: &Kind, place: &str, open: &mut Vec<(*const TableSpec, String)>) -> Value {
    const DURATION: &str = "^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$";
    let text = json!({ "type": "string" });
    match kind {
        Kind::Text | Kind::Secret | Kind::Url => text,
        Kind::Duration => json!({ "type": "string", "pattern": DURATION, "minLength": 1 }),
        Kind::DurationOrForever => {
            json!({ "anyOf": [{ "const": "forever" }, { "type": "string", "pattern": DURATION, "minLength": 1 }] })
        }
        Kind::Fsync => json!({
            "anyOf": [{ "enum": ["always", "never"] }, { "type": "string", "pattern": DURATION, "minLength": 1 }]
        }),
        Kind::Bytes => json!({
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^[0-9]+ *([KMGT]iB|[kKMGT]?B)?$" },
            ]
        }),
        Kind::Whole { min, max: i64::MAX } => json!({ "type": "integer", "minimum": min }),
        Kind::Whole { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Number => json!({ "type": "number" }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Texts => json!({ "type": "array", "items": text }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Words(words) => json!({ "type": "array", "items": { "enum": words } }),
        Kind::TextMap | Kind::SecretMap => json!({ "type": "object", "additionalProperties": text }),
        Kind::Anything => json!({ "type": "object" }),
        Kind::Table(spec) => table(spec, place, open),
        Kind::Tables(spec) => {
            let items = format!("{place}/items");
            json!({ "type": "array", "items": table(spec, &items, open) })
        }
        Kind::TableMap(spec) => {
            let below = format!("{place}/additionalProperties");
            json!({ "type": "object", "additionalProperties": table(spec, &below, open) })
        }
    }
}
