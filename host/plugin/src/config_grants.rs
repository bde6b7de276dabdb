//! Grants that a config implies: what a schema marks with `x-belfry-grant` is an address that its user wrote down to be
//! reached, so it need not be written twice.
//!
//! Invariant: only values that stand in the config are granted, never a schema's defaults or examples: those are the
//! plugin's words, and a plugin grants itself nothing.
//! Not here: what a grant allows (`capabilities/`).

use serde_json::Value;
use url::Url;

use crate::spec::Grants;

/// Schemas nest, but not like this.
const DEPTH_MAX: usize = 32;

/// `grants`, and what `config` adds to them under `schema`.
pub(crate) fn with_config(grants: &Grants, config: &Value, schema: &Value) -> Grants {
    let mut all = grants.clone();
    walk(schema, config, &mut all, 0);
    all
}

fn walk(schema: &Value, value: &Value, grants: &mut Grants, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    if let (Some(capability), Some(text)) = (schema["x-belfry-grant"].as_str(), value.as_str()) {
        grant(capability, text, grants);
    }
    for all in ["allOf", "anyOf", "oneOf"] {
        for part in schema[all].as_array().into_iter().flatten() {
            walk(part, value, grants, depth + 1);
        }
    }
    for item in value.as_array().into_iter().flatten() {
        walk(&schema["items"], item, grants, depth + 1);
    }
    for (key, item) in value.as_object().into_iter().flatten() {
        let property = &schema["properties"][key];
        let property = if property.is_null() { &schema["additionalProperties"] } else { property };
        walk(property, item, grants, depth + 1);
    }
}

fn grant(capability: &str, text: &str, grants: &mut Grants) {
    let (list, value) = match capability {
        // A placeholder in place of the host is no address: its origin must be granted by name.
        "http" => match Url::parse(text) {
            Ok(url)
                if matches!(url.scheme(), "http" | "https") && !url.origin().ascii_serialization().contains('{') =>
            {
                (&mut grants.http, url.origin().ascii_serialization())
            }
            _ => return,
        },
        "mail" => (&mut grants.mail, text.to_owned()),
        _ => return,
    };
    if !list.contains(&value) {
        list.push(value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn http(schema: &Value, config: &Value) -> Vec<String> {
        with_config(&Grants::default(), config, schema).http
    }

    #[test]
    fn marked_urls_are_granted_by_origin_wherever_they_stand() {
        let marked = json!({"type": "string", "x-belfry-grant": "http"});
        let schema = json!({"properties": {
            "url": marked,
            "list": {"items": {"oneOf": [marked, {"properties": {"url": marked}}]}},
            "unmarked": {"type": "string"},
        }});
        let config = json!({
            "url": "https://a.example/path?x=1",
            "list": ["http://127.0.0.1:9000/x", {"url": "https://a.example/again"}],
            "unmarked": "https://evil.example",
        });
        assert_eq!(http(&schema, &config), ["http://127.0.0.1:9000", "https://a.example"]);
    }

    #[test]
    fn a_plugins_own_words_grant_nothing() {
        let schema = json!({"properties": {"url":
            {"x-belfry-grant": "http", "default": "https://evil.example", "const": "https://evil.example"}}});
        assert!(http(&schema, &json!({})).is_empty());
    }

    #[test]
    fn what_is_no_address_grants_nothing() {
        let schema = json!({"properties": {"url": {"x-belfry-grant": "http"}}});
        for url in ["{{secret.webhook}}", "file:///etc/passwd", "https://{{secret.host}}/x", ""] {
            assert!(http(&schema, &json!({ "url": url })).is_empty(), "{url}");
        }
    }

    #[test]
    fn mail_goes_to_the_addresses_of_the_config() {
        let schema = json!({"properties": {"to": {"items": {"x-belfry-grant": "mail"}}}});
        let grants = with_config(&Grants::default(), &json!({"to": ["ops@example.org"]}), &schema);
        assert_eq!(grants.mail, ["ops@example.org"]);
    }
}
