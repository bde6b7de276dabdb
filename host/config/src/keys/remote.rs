//! The keys of `[storage.prometheus]` and `[storage.influxdb]`.

use super::key;
use super::scrape::{AUTHORIZATION, BASIC_AUTH, SECRET_HEADER, TLS};
use crate::spec::Kind::*;
use crate::spec::Need::*;
use crate::spec::TableSpec;

/// Backends beyond this machine.
pub const ENGINES: [&str; 2] = ["prometheus", "influxdb"];
/// Keys of `[storage]` that have these defaults beside an engine, and no effect without one.
pub const BESIDE_ENGINE: [(&str, &str); 3] = [("local_retention", "6h"), ("queue_bytes", "1GiB"), ("query", "pass")];

pub(super) static PROMETHEUS: TableSpec = TableSpec {
    doc: "An engine that speaks Prometheus: remote write in, its HTTP API out.",
    keys: &[
        key("url", Url, Optional, "Where it is, like \"http://localhost:9090\"."),
        key("write_url", Url, Optional, "Where remote write goes; else /api/v1/write behind `url`."),
        key("read_url", Url, Optional, "What /api/v1/query stands behind; else `url`."),
        key(
            "protocol",
            Word(&["1.0", "2.0"]),
            Default("\"1.0\""),
            "Version of remote write; 2.0 has start timestamps.",
        ),
        key("timeout", Duration, Default("\"30s\""), "How long an answer may take."),
        key("headers", SecretMap, Optional, "Sent with each request, like { X-Scope-OrgID = \"team\" }."),
        key("secret_headers", TableMap(&SECRET_HEADER), Optional, "Headers whose values are secrets."),
        key("basic_auth", Table(&BASIC_AUTH), Optional, "Name and password."),
        key("authorization", Table(&AUTHORIZATION), Optional, "A token."),
        key("tls", Table(&TLS), Optional, "How connections are secured."),
    ],
};

pub(super) static INFLUXDB: TableSpec = TableSpec {
    doc: "InfluxDB: line protocol in, its query API out.",
    keys: &[
        key("url", Url, Required, "Where it is, like \"http://localhost:8086\"."),
        key("version", Whole { min: 1, max: 3 }, Required, "1, 2 or 3."),
        key(
            "database",
            Text,
            Optional,
            "Of versions 1 and 3; of 2 the one that maps to the bucket, if its name differs.",
        ),
        key("retention_policy", Text, Optional, "Of version 1; else the database's own."),
        key("bucket", Text, Optional, "Of version 2."),
        key("org", Text, Optional, "Of version 2."),
        key("token", Secret, Optional, "Of versions 2 and 3; better `token_file`, or \"${VAR}\"."),
        key("token_file", Text, Optional, "A file that holds it; read at each request."),
        key("username", Text, Optional, "Of version 1."),
        key("password", Secret, Optional, "Of version 1; better `password_file`, or \"${VAR}\"."),
        key("password_file", Text, Optional, "A file that holds it; read at each request."),
        key("timeout", Duration, Default("\"30s\""), "How long an answer may take."),
        key("headers", SecretMap, Optional, "Sent with each request."),
        key("secret_headers", TableMap(&SECRET_HEADER), Optional, "Headers whose values are secrets."),
        key("tls", Table(&TLS), Optional, "How connections are secured."),
    ],
};
