//! Schemas of answers that no DTO stands for.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// The answer of `/health`: a constant text.
pub(super) enum Alive {}

impl JsonSchema for Alive {
    fn schema_name() -> Cow<'static, str> {
        "Alive".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "required": ["status"], "properties": {"status": {"const": "alive"}}})
    }
}

pub(super) fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!({})
}

pub(super) fn text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string"})
}

pub(super) fn events(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "description": "`event` is `overview`, `sources`, `alerts`, `plugins` or `reports`; `data` is the JSON that the \
                        route /api/ of that name answers, on one line. Each is a whole picture, never a difference.",
    })
}
