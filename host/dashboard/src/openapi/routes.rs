//! The routes there are.
//!
//! Invariant: as the router has them, with the types that they answer; tests compare.

use super::plain::{self, Alive};
use super::prometheus;
use super::route::ValueKind::{Integer, Repeated};
use super::route::{Parameter, Route, of};
use crate::dto::{
    Accepted, AlertEpisodeView, Alerts, ArchivedReport, ChannelView, CurrentMetrics, LogLevel, Overview, PluginView,
    Readiness, ReportView, RuleView, SloView, Slos, Source, TimeSeries,
};

const NAME: &[Parameter] = &[Parameter::path("name", "Its name.")];

const START: Parameter = Parameter::query("start", "RFC 3339 or seconds since the epoch.");
const END: Parameter = Parameter::query("end", "RFC 3339 or seconds since the epoch.");
const LIMIT: Parameter = Parameter::query("limit", "At most this many; 0 for all.").value(Integer);
const PROMQL: Parameter = Parameter::query("query", "PromQL.").needed();
const TIMEOUT: Parameter = Parameter::query("timeout", "Give up after this long: 30s, or seconds.");

const LOOKBACK: Parameter =
    Parameter::query("lookback_delta", "How far back an instant selector looks: 5m, or seconds. Default 5m.");
const STATS: Parameter =
    Parameter::query("stats", "Anything: `data.stats` has the `timings` in seconds and the `samples` of the query.");

const SELECTION: &[Parameter] =
    &[Parameter::query("match[]", "A series selector; may repeat.").value(Repeated), START, END, LIMIT];
const NEEDED_SELECTION: &[Parameter] =
    &[Parameter::query("match[]", "A series selector; may repeat.").value(Repeated).needed(), START, END, LIMIT];
const LABEL_SELECTION: &[Parameter] = &[
    Parameter::path("name", "Of the label."),
    Parameter::query("match[]", "A series selector; may repeat.").value(Repeated),
    START,
    END,
    LIMIT,
];

pub(super) const ROUTES: &[Route] = &[
    Route::get(
        "/api/overview",
        "state",
        "How things are: counts, notices, charts and their newest points.",
        of::<Overview>,
    ),
    Route::get("/api/metrics", "state", "Current values by source.", of::<CurrentMetrics>)
        .with(&[Parameter::query("source", "Only this source."), Parameter::query("metric", "Only this metric.")]),
    Route::get("/api/sources", "state", "Sources with their health.", of::<Vec<Source>>),
    Route::get("/api/timeseries", "state", "Samples in buckets.", of::<TimeSeries>).with(&[
        Parameter::query("metric", "Name or selector, e.g. system_cpu_usage_percent{core=\"0\"}.").needed(),
        Parameter::query("source", "Only of this source."),
        Parameter::query("from", "Seconds since the epoch, RFC 3339, or -15m: that long before `to`. Default -1h."),
        Parameter::query("to", "As `from`. Default now."),
        Parameter::query("interval", "Width of a bucket: 10s, 1m, or seconds. Default: about 200 buckets."),
        Parameter::query("aggregator", "sum, avg (default), min, max or count."),
    ]),
    Route::get("/api/alerts", "alerts", "Pending, firing and lately resolved alerts.", of::<Alerts>),
    Route::get("/api/alerts/history", "alerts", "Alerts of the past, newest first.", of::<Vec<AlertEpisodeView>>)
        .with(&[Parameter::query("limit", "At most this many; default 200, at most 1000.").value(Integer)]),
    Route::get("/api/rules", "alerts", "Rules with their last evaluation.", of::<Vec<RuleView>>),
    Route::get("/api/slos", "alerts", "Service level objectives: how they stand, without `detail`.", of::<Slos>),
    Route::get(
        "/api/slos/{name}",
        "alerts",
        "One objective with its queries, alerts and recorded series in `detail`.",
        of::<SloView>,
    )
    .with(NAME),
    Route::get("/api/channels", "alerts", "Channels with their last deliveries.", of::<Vec<ChannelView>>),
    Route::get("/api/plugins", "plugins", "All plugins, without `detail`.", of::<Vec<PluginView>>),
    Route::get(
        "/api/plugins/{name}",
        "plugins",
        "One plugin with its grants, limits, config and log in `detail`.",
        of::<PluginView>,
    )
    .with(NAME),
    Route::manage(
        "post",
        "/api/plugins/{name}/reload",
        "plugins",
        "Read its component again and swap it in.",
        of::<Accepted>,
    )
    .with(NAME),
    Route::get("/api/reports", "reports", "Reports with their schedule.", of::<Vec<ReportView>>),
    Route::get("/api/reports/archive", "reports", "Finished reports, newest first.", of::<Vec<ArchivedReport>>).with(
        &[
            Parameter::query("name", "Only of this report."),
            Parameter::query("limit", "At most this many; default 100.").value(Integer),
            Parameter::query("before", "Only older ones than this id: the next page.").value(Integer),
        ],
    ),
    Route::get(
        "/api/reports/archive/{id}/{file}",
        "reports",
        "One file of a finished report: text/html, application/json or text/csv.",
        plain::any,
    )
    .media_type("*/*")
    .with(&[
        Parameter::path("id", "From the archive.").value(Integer),
        Parameter::path("file", "`file_name` from the archive."),
    ]),
    Route::manage("post", "/api/reports/{name}/run", "reports", "Make it now.", of::<Accepted>)
        .with(NAME)
        .statuses(&["202"]),
    Route::get(
        "/api/events",
        "state",
        "Server-sent events: the whole picture of each kind on connecting, then each that changed.",
        plain::events,
    )
    .media_type("text/event-stream"),
    Route::manage("get", "/api/admin/log-level", "operate", "What is logged.", of::<LogLevel>),
    Route::manage("put", "/api/admin/log-level", "operate", "Log at this level from now on.", of::<LogLevel>)
        .body(of::<LogLevel>),
    Route::get("/api/v1/query", "prometheus", "PromQL at an instant.", prometheus::query_result)
        .with(&[
            PROMQL,
            Parameter::query("time", "RFC 3339 or seconds since the epoch. Default now."),
            TIMEOUT,
            LOOKBACK,
            STATS,
            Parameter::query("limit", "At most this many series; 0 for all.").value(Integer),
        ])
        .takes_form(),
    Route::get("/api/v1/query_range", "prometheus", "PromQL over a range.", prometheus::query_result)
        .with(&[
            PROMQL,
            Parameter::query("start", "First step.").needed(),
            Parameter::query("end", "Last step, if the steps meet it.").needed(),
            Parameter::query("step", "Distance of the steps: 15s, or seconds.").needed(),
            TIMEOUT,
            LOOKBACK,
            STATS,
            Parameter::query("limit", "At most this many series; 0 for all.").value(Integer),
        ])
        .takes_form(),
    Route::get("/api/v1/series", "prometheus", "Label sets of series.", prometheus::label_sets)
        .with(NEEDED_SELECTION)
        .takes_form(),
    Route::get("/api/v1/labels", "prometheus", "Names of labels.", prometheus::names).with(SELECTION).takes_form(),
    Route::get("/api/v1/label/{name}/values", "prometheus", "Values of a label.", prometheus::names)
        .with(LABEL_SELECTION),
    Route::get("/api/v1/metadata", "prometheus", "Kind, unit and help of metrics.", prometheus::metadata).with(&[
        Parameter::query("metric", "Only this one."),
        Parameter::query("limit", "At most this many metrics; a negative number for all.").value(Integer),
        Parameter::query("limit_per_metric", "At most this many entries of a metric; 0 for all.").value(Integer),
    ]),
    Route::get("/api/v1/query_exemplars", "prometheus", "Exemplars of a query's series.", prometheus::answer)
        .with(&[PROMQL, START, END])
        .takes_form(),
    Route::get("/api/v1/format_query", "prometheus", "A query, written as it is usually written.", prometheus::answer)
        .with(&[PROMQL])
        .takes_form(),
    Route::get("/api/v1/parse_query", "prometheus", "The syntax tree of a query.", prometheus::answer)
        .with(&[PROMQL])
        .takes_form(),
    Route::get("/api/v1/rules", "prometheus", "Rule groups with their rules and alerts.", prometheus::answer).with(&[
        Parameter::query("type", "Only `alert` or `record` rules."),
        Parameter::query("rule_name[]", "Only rules of these names; may repeat."),
        Parameter::query("rule_group[]", "Only groups of these names; may repeat."),
        Parameter::query("file[]", "Only groups of these files; may repeat."),
        Parameter::query("match[]", "Only rules whose labels one of these selectors takes; may repeat."),
        Parameter::query("exclude_alerts", "`true`: without alerts."),
        Parameter::query("group_limit", "At most this many groups.").value(Integer),
        Parameter::query("group_next_token", "From the answer before: the next groups."),
    ]),
    Route::get("/api/v1/alerts", "prometheus", "Pending and firing alerts.", prometheus::answer),
    Route {
        method: "post",
        ..Route::get("/api/v1/read", "prometheus", "Remote read: protobuf, compressed by snappy.", plain::any)
            .media_type("application/x-protobuf")
    },
    Route::get("/api/v1/targets", "prometheus", "What is scraped.", prometheus::answer).with(&[
        Parameter::query("state", "active, dropped or any (default)."),
        Parameter::query("scrapePool", "Only of this job."),
    ]),
    Route::get("/api/v1/scrape_pools", "prometheus", "Names of the scraped jobs.", prometheus::answer),
    Route::get("/api/v1/targets/metadata", "prometheus", "What targets say of their metrics.", prometheus::answer)
        .with(&[
            Parameter::query("metric", "Of this one; without it all that a target has, each with its name."),
            Parameter::query("match_target", "Only targets whose labels this selector takes."),
            Parameter::query("limit", "At most this many entries; a negative number for all.").value(Integer),
        ]),
    Route::get("/api/v1/alertmanagers", "prometheus", "None: alerts are routed here.", prometheus::answer),
    Route::get("/api/v1/notifications", "prometheus", "None: notices are on the overview.", prometheus::answer),
    Route::get("/api/v1/status/walreplay", "prometheus", "It is over before this answers.", prometheus::answer),
    Route::get("/api/v1/status/buildinfo", "prometheus", "Which program this is.", prometheus::answer),
    Route::get("/api/v1/status/runtimeinfo", "prometheus", "How it runs.", prometheus::answer),
    Route::get(
        "/api/v1/status/flags",
        "prometheus",
        "Settings, by the names of Prometheus' flags.",
        prometheus::answer,
    ),
    Route::get("/api/v1/status/config", "prometheus", "The config, secrets redacted.", prometheus::answer),
    Route::get("/api/v1/status/tsdb", "prometheus", "Where the many series come from.", prometheus::answer)
        .with(&[Parameter::query("limit", "Lines of each table; default 10.").value(Integer)]),
    Route::manage("post", "/api/v1/admin/tsdb/delete_series", "prometheus", "Delete samples.", plain::any)
        .with(NEEDED_SELECTION)
        .statuses(&["204"]),
    Route::manage("put", "/api/v1/admin/tsdb/delete_series", "prometheus", "As POST.", plain::any)
        .with(NEEDED_SELECTION)
        .statuses(&["204"]),
    Route::manage("post", "/api/v1/admin/tsdb/clean_tombstones", "prometheus", "Nothing to do here.", plain::any)
        .statuses(&["204"]),
    Route::manage("put", "/api/v1/admin/tsdb/clean_tombstones", "prometheus", "As POST.", plain::any)
        .statuses(&["204"]),
    Route::manage("post", "/api/v1/admin/tsdb/snapshot", "prometheus", "Copy the store.", prometheus::answer),
    Route::manage("put", "/api/v1/admin/tsdb/snapshot", "prometheus", "As POST.", prometheus::answer),
    Route::get(
        "/federate",
        "prometheus",
        "The newest sample of each selected series, in Prometheus' text format; errors are plain text.",
        plain::text,
    )
    .with(&[Parameter::query("match[]", "A series selector; may repeat. Without one nothing comes.").value(Repeated)])
    .media_type("text/plain"),
    Route::get("/health", "operate", "The process answers.", of::<Alive>),
    Route::get("/-/healthy", "operate", "As /health.", of::<Alive>),
    Route::get("/ready", "operate", "Ready, by dependency; 503 when not.", of::<Readiness>).statuses(&["200", "503"]),
    Route::get("/health/ready", "operate", "As /ready.", of::<Readiness>).statuses(&["200", "503"]),
    Route::get("/-/ready", "operate", "As /ready.", of::<Readiness>).statuses(&["200", "503"]),
    Route::get(
        "/metrics",
        "operate",
        "Belfry's own metrics: OpenMetrics where `Accept` names it, else the text format.",
        plain::text,
    )
    .media_type("text/plain"),
    Route::manage("post", "/api/admin/backup", "operate", "Copy all data to a new folder.", of::<Accepted>)
        .with(&[Parameter::query("folder", "An absolute path, absent or empty, on Belfry's machine.").needed()]),
    Route::manage("post", "/-/reload", "operate", "Read the config again.", of::<Accepted>),
    Route::manage("put", "/-/reload", "operate", "As POST.", of::<Accepted>),
    Route::get("/api/openapi.json", "operate", "This document.", plain::any),
];
