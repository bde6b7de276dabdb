//! The keys of `[[scrape]]`.

use super::{GREATEST, POSITIVE, key};
use crate::spec::Kind::*;
use crate::spec::Need::*;
use crate::spec::{Kind, TableSpec};

const COUNT: Kind = Whole { min: 0, max: GREATEST };

pub(super) static SCRAPE: TableSpec = TableSpec {
    doc: "Targets that say their metrics over HTTP, as Prometheus scrapes them.",
    keys: &[
        key("job", Text, Required, "A unique name; the label `job`."),
        key("enabled", Bool, Default("true"), "Scraped or not."),
        key("targets", Texts, Optional, "Addresses, like \"localhost:9100\"."),
        key("labels", TextMap, Optional, "Added to the series of `targets`."),
        key("static", Tables(&STATIC), Optional, "Further addresses, each group with its labels."),
        key("file", Tables(&FILE), Optional, "Addresses from files that are read again when they change."),
        key("dns", Tables(&DNS), Optional, "Addresses from DNS."),
        key("http", Tables(&HTTP), Optional, "Addresses from a web service."),
        key("interval", Duration, Optional, "How often; else [collection] interval."),
        key("timeout", Duration, Optional, "How long an answer may take; else [collection] timeout."),
        key("scheme", Word(&["http", "https"]), Default("\"http\""), "How targets are asked."),
        key("path", Text, Default("\"/metrics\""), "Where their metrics are."),
        key("params", Anything, Optional, "Query parameters: { module = \"http_2xx\" }, or a list of values."),
        key("headers", SecretMap, Optional, "Sent with each request."),
        key("secret_headers", TableMap(&SECRET_HEADER), Optional, "Headers whose values are secrets."),
        key("basic_auth", Table(&BASIC_AUTH), Optional, "Name and password."),
        key("authorization", Table(&AUTHORIZATION), Optional, "A token."),
        key("tls", Table(&TLS), Optional, "How connections are secured."),
        key("follow_redirects", Bool, Default("true"), "Go where an answer points."),
        key("compression", Bool, Default("true"), "Ask for packed answers."),
        key(
            "fallback_format",
            Word(&["text", "openmetrics", "protobuf"]),
            Optional,
            "What an answer is that does not say it; else it is refused.",
        ),
        key("honor_labels", Bool, Default("false"), "Labels of the target win; else they become `exported_…`."),
        key("honor_timestamps", Bool, Default("true"), "Times that the target gives are taken."),
        key("track_timestamps_staleness", Bool, Default("false"), "Series with times of their own end at once, too."),
        key("native_histograms", Bool, Default("false"), "Ask for protobuf, which carries native histograms."),
        key("classic_histograms", Bool, Default("false"), "Of a histogram that is both, keep the classic one too."),
        key(
            "type_and_unit_labels",
            Bool,
            Optional,
            "Series get the labels `__type__` and `__unit__`; else [collection] type_and_unit_labels.",
        ),
        key("extra_metrics", Bool, Default("false"), "Write time-out, limit and size of each scrape too."),
        key("limits", Table(&LIMITS), Optional, "Bounds of an answer."),
        key("relabel", Tables(&RELABEL), Optional, "Rules for targets, in order."),
        key("metric_relabel", Tables(&RELABEL), Optional, "Rules for samples, in order."),
    ],
};

static STATIC: TableSpec = TableSpec {
    doc: "Addresses with labels of their own.",
    keys: &[
        key("targets", Texts, Required, "Addresses, like \"localhost:9100\"."),
        key("labels", TextMap, Optional, "Added to their series."),
    ],
};

static FILE: TableSpec = TableSpec {
    doc: "JSON or YAML files of target groups, as Prometheus reads them.",
    keys: &[
        key("files", Texts, Required, "Paths; `*` may stand in the file's name."),
        key("refresh", Duration, Default("\"5m\""), "They are read again after this at the latest."),
    ],
};

static DNS: TableSpec = TableSpec {
    doc: "Names to look up.",
    keys: &[
        key("names", Texts, Required, "Names, like \"_metrics._tcp.example.org\"."),
        key("type", Word(&["A", "AAAA", "MX", "NS", "SRV"]), Default("\"SRV\""), "What is looked up."),
        key("port", Whole { min: 1, max: 65_535 }, Optional, "For all but SRV, which knows its port."),
        key(
            "server",
            Text,
            Optional,
            "The name server, like \"10.0.0.2\" or \"127.0.0.1:5353\"; else the machine's own.",
        ),
        key("refresh", Duration, Default("\"30s\""), "How often."),
    ],
};

static HTTP: TableSpec = TableSpec {
    doc: "A web service that answers target groups as JSON, as Prometheus' http_sd does.",
    keys: &[
        key("url", Url, Required, "Where."),
        key("refresh", Duration, Default("\"1m\""), "How often."),
        key("headers", SecretMap, Optional, "Sent with each request."),
        key("secret_headers", TableMap(&SECRET_HEADER), Optional, "Headers whose values are secrets."),
        key("basic_auth", Table(&BASIC_AUTH), Optional, "Name and password."),
        key("authorization", Table(&AUTHORIZATION), Optional, "A token."),
        key("tls", Table(&TLS), Optional, "How connections are secured."),
        key("follow_redirects", Bool, Default("true"), "Go where an answer points."),
    ],
};

pub(super) static SECRET_HEADER: TableSpec = TableSpec {
    doc: "A header's secret value.",
    keys: &[
        key("env", Text, Optional, "The environment variable that holds it."),
        key("file", Text, Optional, "The file that holds it; read at each request."),
    ],
};

pub(super) static BASIC_AUTH: TableSpec = TableSpec {
    doc: "HTTP basic authentication.",
    keys: &[
        key("username", Text, Required, "The name."),
        key("password", Secret, Optional, "The password; better `password_file`, or \"${VAR}\"."),
        key("password_file", Text, Optional, "A file that holds it; read at each request."),
    ],
};

pub(super) static AUTHORIZATION: TableSpec = TableSpec {
    doc: "A token in the header `Authorization`.",
    keys: &[
        key("type", Text, Default("\"Bearer\""), "The word before the token."),
        key("token", Secret, Optional, "The token; better `token_file`, or \"${VAR}\"."),
        key("token_file", Text, Optional, "A file that holds it; read at each request."),
    ],
};

pub(super) static TLS: TableSpec = TableSpec {
    doc: "TLS.",
    keys: &[
        key("ca_file", Text, Optional, "Certificates to trust (PEM) instead of Mozilla's and the system's."),
        key("cert_file", Text, Optional, "Our certificate (PEM)."),
        key("key_file", Text, Optional, "Its key (PEM)."),
        key("server_name", Text, Optional, "The name that the certificate must have."),
        key("insecure_skip_verify", Bool, Default("false"), "Trust anybody."),
    ],
};

static LIMITS: TableSpec = TableSpec {
    doc: "Bounds; an answer beyond one is refused as a whole. 0 is none.",
    keys: &[
        key("body_size", Bytes, Default("\"64MiB\""), "Of an answer, unpacked."),
        key("samples", COUNT, Default("0"), "Of an answer, after relabelling."),
        key("labels", COUNT, Default("0"), "Of a series."),
        key("label_name", COUNT, Default("0"), "Bytes of a label's name."),
        key("label_value", COUNT, Default("0"), "Bytes of a label's value."),
        key("targets", COUNT, Default("0"), "Of the job; with more, none is scraped."),
        key("series", COUNT, Optional, "Open at a time, of a target; new ones beyond are left out."),
    ],
};

/// What a relabelling rule may do.
pub(crate) static RELABEL_ACTIONS: [&str; 11] = [
    "replace",
    "keep",
    "drop",
    "keepequal",
    "dropequal",
    "hashmod",
    "labelmap",
    "labeldrop",
    "labelkeep",
    "lowercase",
    "uppercase",
];

static RELABEL: TableSpec = TableSpec {
    doc: "A relabelling rule.",
    keys: &[
        key("source_labels", Texts, Optional, "Their values are joined …"),
        key("separator", Text, Default("\";\""), "… with this between them."),
        key("regex", Text, Default("\"(.*)\""), "Must match the whole (RE2, as Prometheus has it)."),
        key("modulus", POSITIVE, Optional, "For `hashmod`."),
        key("target_label", Text, Optional, "What is set or compared."),
        key("replacement", Text, Default("\"$1\""), "What it is set to; `$1` is the first group."),
        key("action", Word(&RELABEL_ACTIONS), Default("\"replace\""), "What is done."),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    /// What docs/operations.md says of jobs and rules.
    fn documented() -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
        let text = std::fs::read_to_string(path).expect("the page");
        let scraping = text.split("\n## Scraping").nth(1).expect("its part on scraping");
        scraping.split("\n- **Targets**").next().expect("what is before the list").to_owned()
    }

    /// The row of a key of the job itself.
    fn row<'t>(text: &'t str, key: &str) -> Option<&'t str> {
        let first = |l: &&str| l.split('|').nth(1).is_some_and(|c| c.contains(&format!("`{key}`")));
        text.lines().filter(|l| l.starts_with('|')).find(first)
    }

    #[test]
    fn every_key_is_documented_with_its_default() {
        let text = documented();
        for key in SCRAPE.keys {
            let own = row(&text, key.name).or_else(|| row(&text, &format!("[[scrape.{}]]", key.name)));
            let own = own.unwrap_or_else(|| panic!("`{}` has no row", key.name));
            let default = own.rsplit('|').nth(1).unwrap_or_default();
            match key.need {
                Default(value) => assert_eq!(default.trim(), format!("`{value}`"), "{own}"),
                Required => assert_eq!(default.trim(), "needed", "{own}"),
                Optional => {}
            }
            let (Table(inner) | Tables(inner) | TableMap(inner)) = key.kind else { continue };
            if std::ptr::eq(inner, &RELABEL) || std::ptr::eq(inner, &LIMITS) {
                continue;
            }
            // Those of `http` that the job has too stand in its own rows.
            for key in inner.keys.iter().filter(|k| row(&text, k.name).is_none()) {
                assert!(
                    own.contains(&format!("`{}", key.name)) || own.contains(&format!("{} =", key.name)),
                    "{}: {own}",
                    key.name
                );
                if let Default(value) = key.need {
                    assert!(default.contains(&format!("`{} = {value}`", key.name)), "{}: {own}", key.name);
                }
            }
        }
        let limits = row(&text, "limits").expect("a row");
        assert_eq!(LIMITS.keys.iter().map(|k| k.name).find(|k| !limits.contains(&format!("`{k}`"))), None);
    }

    #[test]
    fn every_rule_and_what_it_does_is_documented() {
        let text = documented();
        let rules = text.split("\nA rule has").nth(1).expect("what a rule has");
        for key in RELABEL.keys {
            assert!(rules.contains(&format!("`{}`", key.name)), "{}", key.name);
            if let Default(value) = key.need {
                assert!(rules.contains(&format!("`{value}`")), "{}: {value}", key.name);
            }
        }
        for action in RELABEL_ACTIONS {
            assert!(row(rules, action).is_some(), "{action}");
        }
    }
}
