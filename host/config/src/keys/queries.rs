//! The keys of `[queries]`.

use super::{POSITIVE, key};
use crate::spec::Kind::*;
use crate::spec::Need::*;
use crate::spec::TableSpec;

pub(super) static QUERIES: TableSpec = TableSpec {
    doc: "What a query may take. The API, rules, reports, plugins and the dashboard have the same bounds.",
    keys: &[
        key("lookback", Duration, Default("\"5m\""), "How far back a selector without a range looks."),
        key("timeout", Duration, Default("\"2m\""), "No query takes longer; `timeout` of a request may ask for less."),
        key("series", POSITIVE, Default("500000"), "Series that a query may select."),
        key("samples", POSITIVE, Default("50000000"), "Samples that a query may read."),
        key("points", POSITIVE, Default("50000000"), "Points that a query may hold at any step on its way, or answer."),
        key("memory", Bytes, Default("\"1GiB\""), "What a query may hold: series, buffers, and the answer."),
        key(
            "concurrent",
            Whole { min: 1, max: 1_000 },
            Optional,
            "Queries evaluated at a time; else as many as there are processors, and two more.",
        ),
        key("waiting", Whole { min: 1, max: 100_000 }, Default("256"), "Queries that may wait; more are refused."),
    ],
};
