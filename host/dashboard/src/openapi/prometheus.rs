//! Schemas of Prometheus' own JSON, written by hand: the envelope and what `data` is.
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// The envelope of every answer, good or bad.
pub(super) enum PrometheusAnswer {}

impl JsonSchema for PrometheusAnswer {
    fn schema_name() -> Cow<'static, str> {
        "PrometheusAnswer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "The envelope of Prometheus' HTTP API.",
            "required": ["status"],
            "properties": {
                "status": {"type": "string", "enum": ["success", "error"]},
                "data": {"description": "What was asked for; only with success."},
                "errorType": {
                    "type": "string",
                    "description": "Only with error: `bad_data`, `execution`, `timeout`, `canceled` or `internal`.",
                },
                "error": {"type": "string", "description": "Only with error: what is wrong."},
                "warnings": {
                    "type": "array", "items": {"type": "string"},
                    "description": "Left out when there are none: the answer may be wrong or incomplete.",
                },
                "infos": {
                    "type": "array", "items": {"type": "string"},
                    "description": "Left out when there are none: the query may not mean what it seems to.",
                },
            },
        })
    }
}

/// The envelope; what `data` is, Prometheus' documents say.
pub(super) fn answer(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<PrometheusAnswer>()
}

pub(super) fn query_result(generator: &mut SchemaGenerator) -> Schema {
    success(
        generator,
        json!({
            "type": "object",
            "required": ["resultType", "result"],
            "properties": {
                "resultType": {"type": "string", "enum": ["scalar", "string", "vector", "matrix"]},
                "result": {
                    "type": "array",
                    "description": "`scalar` and `string`: [seconds, text]. `vector`: objects of `metric` (labels) and \
                                    `value` ([seconds, text]) or `histogram`. `matrix`: objects of `metric` and \
                                    `values` (a list of [seconds, text]), `histograms` or both.",
                },
                "stats": {
                    "type": "object",
                    "description": "Only where `stats` asks for it: `timings` in seconds; `samples` with \
                                    `totalQueryableSamples` (each sample read counts once) and `peakSamples`.",
                },
            },
        }),
    )
}

pub(super) fn label_sets(generator: &mut SchemaGenerator) -> Schema {
    success(
        generator,
        json!({"type": "array", "items": {"type": "object", "additionalProperties": {"type": "string"}}}),
    )
}

pub(super) fn names(generator: &mut SchemaGenerator) -> Schema {
    success(generator, json!({"type": "array", "items": {"type": "string"}}))
}

pub(super) fn metadata(generator: &mut SchemaGenerator) -> Schema {
    let text = json!({"type": "string"});
    let entry = json!({
        "type": "object", "required": ["type", "help", "unit"], "properties": {"type": text, "help": text, "unit": text},
    });
    success(
        generator,
        json!({
            "type": "object", "description": "By metric.",
            "additionalProperties": {"type": "array", "items": entry},
        }),
    )
}

fn success(generator: &mut SchemaGenerator, data: Value) -> Schema {
    let envelope = generator.subschema_for::<PrometheusAnswer>();
    json_schema!({"allOf": [envelope, {"required": ["data"], "properties": {"data": data}}]})
}
