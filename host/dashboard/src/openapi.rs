//! The API's own description: `GET /api/openapi.json`, in OpenAPI 3.1.
//!
//! Invariant: it names the routes there are (a test compares), and its schemas are made of the types that the routes
//! write; what stands in their docs is told to the reader of the document too.
//! Not here: the routes' code, the fields and their meaning (see [`crate::dto`]).

mod plain;
mod prometheus;
mod route;
mod routes;

use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use self::prometheus::PrometheusAnswer;
use self::route::{JSON, Parameter, Route, ValueKind};
use self::routes::ROUTES;
use crate::App;
use crate::dto::ErrorBody;

/// Where OpenAPI keeps schemas that others refer to.
const COMPONENTS: &str = "/components/schemas";

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/openapi.json", get(document))
}

async fn document() -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-cache")], Json(description()))
}

fn description() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|s| s.definitions_path = COMPONENTS.into());
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation(&mut generator, route, route.method);
        if route.takes_form {
            path["post"] = operation(&mut generator, route, "post");
        }
    }
    let mut schemas = Value::Object(generator.take_definitions(true));
    tidy_descriptions(&mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Belfry", "version": env!("CARGO_PKG_VERSION"), "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas,
        },
    })
}

fn operation(generator: &mut SchemaGenerator, route: &Route, method: &str) -> Value {
    let as_form = route.takes_form && method == "post";
    let stays = |p: &&Parameter| !as_form || p.place == "path";
    let parameters: Vec<Value> = route
        .parameters
        .iter()
        .filter(stays)
        .map(|p| {
            json!({
                "name": p.name, "in": p.place, "required": p.required, "description": p.description,
                "schema": value_schema(p.value),
            })
        })
        .collect();
    let answer = (route.answer)(generator);
    let mut responses = Map::new();
    for status in route.statuses {
        let description = match *status {
            "503" => "Not ready.",
            "202" => "Begun.",
            _ => "Done.",
        };
        let mut response = json!({"description": description});
        if *status != "204" {
            response["content"] = json!({route.media_type: {"schema": answer}});
        }
        responses.insert((*status).to_owned(), response);
    }
    responses.insert(
        "default".to_owned(),
        json!({"description": "Not done.", "content": {JSON: {"schema": failure(generator, route)}}}),
    );
    let mut operation = json!({
        "operationId": operation_id(method, route.path), "summary": route.summary, "tags": [route.tag],
        "parameters": parameters, "responses": responses,
    });
    if as_form {
        let content = json!({"application/x-www-form-urlencoded": {"schema": form(route.parameters)}});
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    if let Some(body) = route.body {
        operation["requestBody"] = json!({"required": true, "content": {JSON: {"schema": body(generator)}}});
    }
    if route.manages {
        operation["security"] = json!([{"token": []}]);
    }
    operation
}

/// Who may not ask hears so in the same way everywhere, before Prometheus' part is reached.
fn failure(generator: &mut SchemaGenerator, route: &Route) -> Value {
    let plain = generator.subschema_for::<ErrorBody>();
    if route.is_prometheus() {
        return json!({"anyOf": [generator.subschema_for::<PrometheusAnswer>(), plain]});
    }
    plain.to_value()
}

fn form(parameters: &[Parameter]) -> Value {
    let fields = || parameters.iter().filter(|p| p.place == "query");
    let properties: Map<String, Value> = fields()
        .map(|p| {
            let mut schema = value_schema(p.value);
            schema["description"] = p.description.into();
            (p.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<&str> = fields().filter(|p| p.required).map(|p| p.name).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

fn value_schema(value: ValueKind) -> Value {
    match value {
        ValueKind::Text => json!({"type": "string"}),
        ValueKind::Integer => json!({"type": "integer"}),
        ValueKind::Repeated => json!({"type": "array", "items": {"type": "string"}}),
    }
}

/// `get`, `/api/plugins/{name}` → `get_api_plugins_name`; Prometheus' `/-/` is for managing.
fn operation_id(method: &str, path: &str) -> String {
    let path = path.replace("/-/", "/manage/");
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

/// The docs are written for readers of the code: their links and line breaks mean nothing here.
fn tidy_descriptions(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == "description" => {
                        *text = text.replace("[`", "`").replace("`]", "`").replace('\n', " ");
                    }
                    other => tidy_descriptions(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy_descriptions),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
