//! How a route is described.
//!
//! Invariant: a description is data, made at compile time; the schemas of answers and bodies are asked for by type.
//! Not here: which routes there are (`routes.rs`), the document made of them.

use schemars::{JsonSchema, Schema, SchemaGenerator};

pub(super) const JSON: &str = "application/json";

/// Makes the schema of a type, and of the types in it as components.
pub(super) type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

/// The schema of `T`.
pub(super) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// One method of one path.
pub(super) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub tag: &'static str,
    pub summary: &'static str,
    pub parameters: &'static [Parameter],
    /// Status codes that come with `answer`.
    pub statuses: &'static [&'static str],
    pub media_type: &'static str,
    pub answer: MakeSchema,
    /// JSON that it takes.
    pub body: Option<MakeSchema>,
    /// It needs the token even where reading does not.
    pub manages: bool,
    /// POST does the same, with the parameters as a form.
    pub takes_form: bool,
}

impl Route {
    pub const fn get(path: &'static str, tag: &'static str, summary: &'static str, answer: MakeSchema) -> Self {
        Self {
            method: "get",
            path,
            tag,
            summary,
            parameters: &[],
            statuses: &["200"],
            media_type: JSON,
            answer,
            body: None,
            manages: false,
            takes_form: false,
        }
    }

    /// A route that needs the token.
    pub const fn manage(
        method: &'static str,
        path: &'static str,
        tag: &'static str,
        summary: &'static str,
        answer: MakeSchema,
    ) -> Self {
        let mut route = Self::get(path, tag, summary, answer);
        route.method = method;
        route.manages = true;
        route
    }

    pub const fn with(mut self, parameters: &'static [Parameter]) -> Self {
        self.parameters = parameters;
        self
    }

    pub const fn body(mut self, body: MakeSchema) -> Self {
        self.body = Some(body);
        self
    }

    pub const fn statuses(mut self, statuses: &'static [&'static str]) -> Self {
        self.statuses = statuses;
        self
    }

    pub const fn media_type(mut self, media_type: &'static str) -> Self {
        self.media_type = media_type;
        self
    }

    pub const fn takes_form(mut self) -> Self {
        self.takes_form = true;
        self
    }

    /// Prometheus' routes answer errors in Prometheus' way.
    pub fn is_prometheus(&self) -> bool {
        self.path.starts_with("/api/v1/")
    }
}

/// One parameter of a route.
pub(super) struct Parameter {
    pub name: &'static str,
    pub place: &'static str,
    pub required: bool,
    pub description: &'static str,
    pub value: ValueKind,
}

/// What a parameter's text is read as.
#[derive(Clone, Copy)]
pub(super) enum ValueKind {
    Text,
    Integer,
    /// Text; the parameter may stand several times.
    Repeated,
}

impl Parameter {
    /// In the query string; may be left out.
    pub const fn query(name: &'static str, description: &'static str) -> Self {
        Self { name, place: "query", required: false, description, value: ValueKind::Text }
    }

    /// A part of the path.
    pub const fn path(name: &'static str, description: &'static str) -> Self {
        Self { name, place: "path", required: true, description, value: ValueKind::Text }
    }

    pub const fn needed(mut self) -> Self {
        self.required = true;
        self
    }

    pub const fn value(mut self, value: ValueKind) -> Self {
        self.value = value;
        self
    }
}
