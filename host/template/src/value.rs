//! What a template computes with: Go's values, as far as templates can see them.
//!
//! Invariant: `go_type` is what Go's `%T` prints for the value that Prometheus has there.
//! Not here: how values are printed (`gofmt`), what can be done with them (`functions`).

use std::collections::BTreeMap;
use std::sync::Arc;

use belfry_model::Labels;

use crate::DataValue;

/// One element of a query's answer, as templates see it: `.Labels` and `.Value`. Where histograms may be among them, its
/// value is a [`DataValue`].
#[derive(Clone, Debug, PartialEq)]
pub struct QuerySample<V = f64> {
    /// Metric name included.
    pub labels: Labels,
    /// Its value.
    pub value: V,
}

pub(crate) type Sample = QuerySample<DataValue>;

/// A value inside a template.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Go's `nil`.
    Nil,
    /// The zero `reflect.Value`: printed as `<no value>`.
    Missing,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Arc<str>),
    /// `map[string]string`: a missing key is the empty string.
    Labels(Labels),
    /// `map[string]interface{}`.
    Map(Arc<BTreeMap<String, Value>>),
    /// `[]interface{}`: no function of Prometheus makes one; Alertmanager's data has them.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the data of notification templates"))]
    List(Arc<[Value]>),
    /// A query's answer.
    Samples(Arc<[Arc<Sample>]>),
    /// One element of it.
    Sample(Arc<Sample>),
    /// Nanoseconds since the epoch, in UTC.
    Time(i64),
    /// Nanoseconds.
    Duration(i64),
    /// An integer with a name, like `time.Month`: compared as the one, printed as the other; and its Go type.
    Named(i64, &'static str, &'static str),
    /// A native histogram, as it is printed.
    Histogram(Arc<str>),
    /// A struct with these exported fields in Go's order, and its Go type.
    Struct(Arc<[(&'static str, Value)]>, &'static str),
}

impl From<&DataValue> for Value {
    fn from(v: &DataValue) -> Self {
        match v {
            DataValue::Number(v) => Self::Float(*v),
            DataValue::Histogram(text) => Self::Histogram(text.as_str().into()),
        }
    }
}

impl Value {
    pub fn string(s: impl Into<Arc<str>>) -> Self {
        Self::String(s.into())
    }

    /// Go's truth: not the zero value, not empty.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil | Self::Missing => false,
            Self::Bool(b) => *b,
            Self::Int(n) | Self::Duration(n) | Self::Named(n, ..) => *n != 0,
            Self::Float(v) => *v != 0.0,
            Self::String(s) => !s.is_empty(),
            Self::Labels(l) => !l.is_empty(),
            Self::Map(m) => !m.is_empty(),
            Self::List(l) => !l.is_empty(),
            Self::Samples(s) => !s.is_empty(),
            Self::Sample(_) | Self::Time(_) | Self::Histogram(_) | Self::Struct(..) => true,
        }
    }

    /// As Go's `%T` names it.
    pub fn go_type(&self) -> &'static str {
        match self {
            Self::Nil | Self::Missing => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::String(_) => "string",
            Self::Labels(_) => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::List(_) => "[]interface {}",
            Self::Samples(_) => "template.queryResult",
            Self::Sample(_) => "*template.sample",
            Self::Time(_) => "*time.Time",
            Self::Duration(_) => "time.Duration",
            Self::Histogram(_) => "*histogram.FloatHistogram",
            Self::Named(_, _, t) | Self::Struct(_, t) => t,
        }
    }
}
