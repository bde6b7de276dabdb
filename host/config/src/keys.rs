//! The keys of `belfry.toml`, with their types, defaults and meanings.

mod queries;
pub(crate) mod remote;
pub(crate) mod scrape;
mod slo;
mod storage;

use crate::spec::Kind::*;
use crate::spec::Need::*;
use crate::spec::{Key, Kind, Need, TableSpec};

const fn key(name: &'static str, kind: Kind, need: Need, doc: &'static str) -> Key {
    Key { name, kind, need, doc }
}

const GREATEST: i64 = i64::MAX;
const POSITIVE: Kind = Whole { min: 1, max: GREATEST };

pub(crate) static ROOT: TableSpec = TableSpec {
    doc: "Belfry's config.",
    keys: &[
        key("server", Table(&SERVER), Optional, "The dashboard and the HTTP API."),
        key("storage", Table(&STORAGE), Optional, "Where samples are kept."),
        key("collection", Table(&COLLECTION), Optional, "How plugins are asked, unless they say otherwise."),
        key("plugins", Table(&PLUGINS), Optional, "The folder of plugins that are loaded while Belfry runs."),
        key("plugin", Tables(&PLUGIN), Optional, "A collector or metric source."),
        key("scrape", Tables(&scrape::SCRAPE), Optional, "Targets that are scraped, as Prometheus does."),
        key("channel", Tables(&CHANNEL), Optional, "Where alerts and reports go."),
        key("route", Table(&ROUTE), Optional, "Which alert goes to which channel."),
        key("notify", Table(&NOTIFY), Optional, "How deliveries are tried again."),
        key("smtp", Table(&SMTP), Optional, "The mail server for plugins that send mail."),
        key("queries", Table(&queries::QUERIES), Optional, "What a query may take."),
        key("rules", Table(&RULES), Optional, "Prometheus rule files."),
        key("rule", Tables(&RULE), Optional, "A threshold on a metric."),
        key("slo", Tables(&slo::SLO), Optional, "A service level objective."),
        key("report", Tables(&REPORT), Optional, "A report on a schedule."),
        key("telemetry", Table(&TELEMETRY), Optional, "Belfry's own logs and traces."),
    ],
};

static SERVER: TableSpec = TableSpec {
    doc: "The dashboard and the HTTP API.",
    keys: &[
        key("listen", Text, Default("\"127.0.0.1:8089\""), "Address and port. Beyond loopback needs [server.auth]."),
        key("allowed_hosts", Texts, Default("[]"), "Host names a browser may use, beside the listen address."),
        key("external_url", Url, Optional, "Where people reach it, like \"https://belfry.example.com/mon\"."),
        key("auth", Table(&AUTH), Optional, "Who may use it."),
    ],
};

static AUTH: TableSpec = TableSpec {
    doc: "Who may use the server.",
    keys: &[
        key("token", Secret, Optional, "The token that clients send."),
        key("token_file", Text, Optional, "A file that holds the token."),
    ],
};

static STORAGE: TableSpec = TableSpec {
    doc: "Where samples are kept.",
    keys: &[
        key("path", Text, Default("\"data\""), "The data folder."),
        key(
            "backend",
            Word(&["disk", "memory", "prometheus", "influxdb"]),
            Default("\"disk\""),
            "Where samples are; `memory` is for tests and trials.",
        ),
        key("prometheus", Table(&remote::PROMETHEUS), Optional, "The engine of backend = \"prometheus\"."),
        key("influxdb", Table(&remote::INFLUXDB), Optional, "The engine of backend = \"influxdb\"."),
        key("local_retention", Duration, Optional, "Beside an engine: how long samples are kept here, too; else 6h."),
        key("queue_bytes", Bytes, Optional, "Beside an engine: what may wait for it on disk; else 1GiB."),
        key(
            "query",
            Word(&["pass", "local"]),
            Optional,
            "Beside an engine: who evaluates PromQL; else \"pass\", the engine.",
        ),
        key("external_labels", TextMap, Optional, "Beside an engine: added to the series that it gets."),
        key("retention", DurationOrForever, Default("\"15d\""), "Older samples are deleted."),
        key("retention_size", Bytes, Optional, "The oldest samples are deleted beyond this. 0 is no bound."),
        key("downsample", Tables(&storage::DOWNSAMPLE), Optional, "What becomes of old samples."),
        key(
            "fsync",
            Fsync,
            Default("\"100ms\""),
            "How soon writes are forced to the disk; scrapes, which nobody waits for, once a second.",
        ),
        key("durable_ack", Bool, Default("false"), "Remote write is answered once its samples are on the disk."),
        key("out_of_order_window", Duration, Default("\"1h\""), "How late a sample may come."),
        key("series_limit", POSITIVE, Default("1000000"), "More series than this are refused and counted."),
    ],
};

static COLLECTION: TableSpec = TableSpec {
    doc: "How plugins and targets are asked, unless they say otherwise.",
    keys: &[
        key("interval", Duration, Default("\"10s\""), "How often."),
        key("timeout", Duration, Default("\"5s\""), "How long an answer may take; at most the interval."),
        key(
            "type_and_unit_labels",
            Bool,
            Default("false"),
            "Series that are scraped or come by remote write 2 get the labels `__type__` and `__unit__`.",
        ),
    ],
};

static PLUGINS: TableSpec = TableSpec {
    doc: "The folder of plugins that are loaded while Belfry runs, and the engine that runs all plugins.",
    keys: &[
        key("dir", Text, Optional, "Components put here are loaded, replaced and unloaded at once."),
        key("memory_slot", Bytes, Default("\"256MiB\""), "The most memory that any plugin can be allowed."),
        key("instances", Whole { min: 1, max: 10_000 }, Default("256"), "Plugins' instances at a time."),
    ],
};

static GRANTS: TableSpec = TableSpec {
    doc: "What a plugin may use. Nothing by default.",
    keys: &[
        key("http", Texts, Optional, "Origins, like \"https://api.github.com\" or \"https://*.example.org\"."),
        key(
            "system",
            Words(&["cpu", "memory", "disk", "network", "process", "sensors", "host"]),
            Optional,
            "Parts of this machine.",
        ),
        key("query", Bool, Optional, "May read every series."),
        key("mail", Texts, Optional, "Addresses, \"*@example.org\" or \"*\"."),
        key("kv", Bool, Optional, "May keep state of its own."),
    ],
};

static LIMITS: TableSpec = TableSpec {
    doc: "Bounds of a plugin.",
    keys: &[
        key("call_time", Duration, Optional, "Wall time of a call."),
        key("cpu_time", Duration, Optional, "CPU time of a call."),
        key("memory", Bytes, Optional, "All linear memories together."),
        key("hostcall_bytes", Bytes, Optional, "Bytes copied into and out of the plugin in a call."),
        key("log_lines", Whole { min: 0, max: u32::MAX as i64 }, Optional, "Log lines of a call."),
        key("log_line_bytes", Bytes, Optional, "Bytes of a log line."),
        key("series", Whole { min: 1, max: u32::MAX as i64 }, Optional, "Series open at a time."),
        key("samples_per_call", Whole { min: 1, max: u32::MAX as i64 }, Optional, "Samples of a call."),
        key("http_requests", Whole { min: 0, max: u32::MAX as i64 }, Optional, "HTTP requests of a call."),
        key("http_concurrent", Whole { min: 1, max: u32::MAX as i64 }, Optional, "HTTP requests at a time."),
        key("http_response_bytes", Bytes, Optional, "Bytes of an HTTP answer."),
        key("kv_bytes", Bytes, Optional, "Bytes of its own state."),
    ],
};

static SECRET: TableSpec = TableSpec {
    doc: "A secret that a plugin uses as {{secret.NAME}} and never sees.",
    keys: &[
        key("env", Text, Optional, "The environment variable that holds it."),
        key("file", Text, Optional, "The file that holds it."),
        key("value", Secret, Optional, "The secret itself; better `env` or `file`."),
        key("for", Texts, Optional, "Origins it may be sent to; else every granted one."),
    ],
};

static PLUGIN: TableSpec = TableSpec {
    doc: "A collector or metric source.",
    keys: &[
        key("name", Text, Required, "A unique name."),
        key("source", Text, Required, "\"builtin:NAME\" or the path of a .wasm file."),
        key("enabled", Bool, Default("true"), "Loaded or not."),
        key("interval", Duration, Optional, "How often it is asked; else [collection] interval."),
        key("timeout", Duration, Optional, "How long an answer may take; else [collection] timeout."),
        key("config", Anything, Optional, "For the plugin."),
        key("labels", TextMap, Optional, "Added to all its series."),
        key("grants", Table(&GRANTS), Optional, "What it may use."),
        key("limits", Table(&LIMITS), Optional, "Its bounds."),
        key("secrets", TableMap(&SECRET), Optional, "Secrets by name."),
    ],
};

/// `NAME.toml` beside `NAME.wasm` in `[plugins] dir`.
pub(crate) static DROPPED: TableSpec = TableSpec {
    doc: "Settings of a plugin in the plugin folder.",
    keys: &[
        key("enabled", Bool, Default("true"), "Loaded or not."),
        key("interval", Duration, Optional, "How often it is asked; else [collection] interval."),
        key("timeout", Duration, Optional, "How long an answer may take; else [collection] timeout."),
        key("config", Anything, Optional, "For the plugin."),
        key("labels", TextMap, Optional, "Added to all its series."),
        key("grants", Table(&GRANTS), Optional, "What it may use."),
        key("limits", Table(&LIMITS), Optional, "Its bounds."),
        key("secrets", TableMap(&SECRET), Optional, "Secrets by name."),
    ],
};

static CHANNEL: TableSpec = TableSpec {
    doc: "Where alerts and reports go.",
    keys: &[
        key("name", Text, Required, "A unique name."),
        key("handler", Text, Required, "\"builtin:NAME\", the path of a .wasm file or the name of a plugin."),
        key("config", Anything, Optional, "For the handler."),
        key("grants", Table(&GRANTS), Optional, "What it may use."),
        key("limits", Table(&LIMITS), Optional, "Its bounds."),
        key("secrets", TableMap(&SECRET), Optional, "Secrets by name."),
    ],
};

static ROUTE: TableSpec = TableSpec {
    doc: "Which alert goes to which channel. The first child that matches wins.",
    keys: &[
        key("channel", Text, Optional, "Where matching alerts go; else where the parent's go."),
        key("matchers", Texts, Optional, "All must match, like 'severity=\"critical\"'. Not at the root."),
        key("group_by", Texts, Optional, "Labels that make a group; [\"...\"] for all."),
        key("group_wait", Duration, Optional, "How long a new group waits for company; 30s at the root."),
        key("group_interval", Duration, Optional, "Between two messages of a group that changes; 5m at the root."),
        key("repeat_interval", Duration, Optional, "Between two messages of a group that stays; 4h at the root."),
        key("continue", Bool, Optional, "Try the next sibling too."),
        key("routes", Tables(&ROUTE), Optional, "Children."),
    ],
};

static NOTIFY: TableSpec = TableSpec {
    doc: "How alerts are delivered.",
    keys: &[key("retry", Table(&RETRY), Optional, "How deliveries are tried again.")],
};

static RETRY: TableSpec = TableSpec {
    doc: "How deliveries are tried again.",
    keys: &[
        key("initial", Duration, Default("\"1s\""), "The first pause."),
        key("max", Duration, Default("\"5m\""), "The longest pause."),
        key("give_up_after", Duration, Default("\"1d\""), "When a delivery is given up."),
    ],
};

static SMTP: TableSpec = TableSpec {
    doc: "The mail server for plugins that send mail.",
    keys: &[
        key("host", Text, Required, "Its name or address."),
        key("port", Whole { min: 1, max: 65_535 }, Optional, "587, or 465 with tls = \"tls\", or 25 with \"none\"."),
        key("tls", Word(&["starttls", "tls", "none"]), Default("\"starttls\""), "How the connection is secured."),
        key("username", Text, Optional, "For logging in."),
        key("password", Secret, Optional, "For logging in."),
        key("password_file", Text, Optional, "A file that holds the password."),
        key("from", Text, Required, "The sender's address."),
        key("timeout", Duration, Default("\"30s\""), "How long it may take."),
    ],
};

static RULES: TableSpec = TableSpec {
    doc: "Prometheus rule files.",
    keys: &[
        key("files", Texts, Optional, "Paths; `*` may stand in the file's name. Read again when they change."),
        key("interval", Duration, Default("\"1m\""), "How often a group is evaluated that does not say it itself."),
        key("query_offset", Duration, Default("\"0s\""), "How far before its time a group is evaluated."),
        key("external_labels", TextMap, Optional, "Added to alerts that leave; `$externalLabels` in templates."),
    ],
};

static RULE: TableSpec = TableSpec {
    doc: "A threshold on a metric.",
    keys: &[
        key("name", Text, Required, "A unique name."),
        key("enabled", Bool, Default("true"), "Evaluated or not."),
        key("description", Text, Optional, "For people."),
        key("metric", Text, Required, "A metric, or a selector like 'up{job=\"web\"}'."),
        key(
            "condition",
            Word(&["greater_than", "less_than", "equals", "not_equals", "greater_or_equal", "less_or_equal"]),
            Required,
            "How it is compared.",
        ),
        key("threshold", Number, Required, "With what it is compared."),
        key("duration", Duration, Default("\"0s\""), "How long the condition must hold."),
        key("severity", Word(&["info", "warning", "error", "critical"]), Default("\"warning\""), "How bad it is."),
        key("labels", TextMap, Optional, "Added to the alert."),
        key("annotations", TextMap, Optional, "Added to the alert, for people."),
        key("interval", Duration, Optional, "How often it is evaluated; else [collection] interval."),
    ],
};

static REPORT: TableSpec = TableSpec {
    doc: "A report on a schedule.",
    keys: &[
        key("name", Text, Required, "A unique name."),
        key("title", Text, Optional, "For people; else the name."),
        key("enabled", Bool, Default("true"), "Made or not."),
        key("schedule", Text, Required, "A crontab line, like \"0 9 * * 1-5\", or \"@daily\"."),
        key("time_zone", Text, Default("\"UTC\""), "An IANA name, like \"Europe/Berlin\"."),
        key("period", Duration, Default("\"24h\""), "How much it covers, up to when it is due."),
        key("formats", Words(&["html", "json", "csv"]), Default("[\"html\"]"), "What it is rendered as."),
        key("deliver", Texts, Default("[]"), "Channels that get it; the archive always does."),
        key("section", Tables(&SECTION), Required, "Its parts, in order."),
    ],
};

static SECTION: TableSpec = TableSpec {
    doc: "A part of a report.",
    keys: &[
        key("plugin", Text, Required, "\"builtin:NAME\", the path of a .wasm file or the name of a plugin."),
        key("title", Text, Optional, "Its heading; else the plugin's name."),
        key("config", Anything, Optional, "For the plugin."),
        key("grants", Table(&GRANTS), Optional, "What it may use."),
        key("limits", Table(&LIMITS), Optional, "Its bounds."),
        key("secrets", TableMap(&SECRET), Optional, "Secrets by name."),
    ],
};

static TELEMETRY: TableSpec = TableSpec {
    doc: "Belfry's own logs and traces.",
    keys: &[
        key("log_format", Word(&["pretty", "json"]), Default("\"pretty\""), "How log lines look."),
        key(
            "log_level",
            Text,
            Default("\"info\""),
            "error, warn, info, debug or trace; or by module, like \"info,belfry_plugin=debug\".",
        ),
        key("otlp_endpoint", Url, Optional, "Where spans are sent, like \"http://localhost:4318\"."),
        key("otlp_protocol", Word(&["http", "grpc"]), Default("\"http\""), "How they are sent."),
        key("service_name", Text, Default("\"belfry\""), "Belfry's name in traces."),
    ],
};
