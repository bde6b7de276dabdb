use super::*;
use crate::{Config, LoadInput};

/// Imports a file of `/etc/prometheus`.
fn import(text: &str) -> Imported {
    import_prometheus(text, Path::new("/etc/prometheus")).unwrap_or_else(|(line, e)| panic!("{line}: {e}\n{text}"))
}

/// What is read back of what is printed.
fn read_back(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    read_back_from(text, folder.path())
}

fn read_back_from(text: &str, folder: &Path) -> Config {
    let imported = import_prometheus(text, folder).unwrap_or_else(|(line, e)| panic!("{line}: {e}\n{text}"));
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("belfry.toml");
    std::fs::write(&path, &imported.toml).unwrap();
    let loaded = Config::load(&LoadInput { path: Some(path), ..LoadInput::default() });
    loaded.unwrap_or_else(|e| panic!("{e}\n{}", imported.toml)).config
}

/// A job with a target and `more`.
fn job(more: &str) -> String {
    format!("scrape_configs:\n- job_name: j\n  static_configs: [{{targets: [a:1]}}]\n{more}")
}

/// What is noted, but for the one of each import.
fn notes(text: &str) -> Vec<String> {
    let notes = import(text).notes;
    assert_eq!(notes.iter().filter(|(_, note)| note == BOUNDS_KEPT).count(), 1, "{notes:?}");
    notes.iter().filter(|(_, note)| note != BOUNDS_KEPT).map(|(line, note)| format!("{line}: {note}")).collect()
}

fn refusal(text: &str) -> String {
    let (line, message) = import_prometheus(text, Path::new("/")).expect_err(text);
    format!("{line}: {message}")
}

const FILE: &str = r#"global:
  scrape_interval: 15s
  external_labels: {region: eu}
rule_files: [a.yml]
scrape_configs:
  - job_name: node
    scrape_interval: 5s
    honor_labels: true
    sample_limit: 100
    body_size_limit: 15MB
    static_configs:
      - targets: ['a:9100', "b:9100"]
        labels: {env: prod, "odd": "${HOME}"}
    metric_relabel_configs:
      - source_labels: [__name__]
        regex: 'go_(.*)\.x'
        action: Drop
  - &base
    job_name: probe
    metrics_path: /probe
    params: {module: [http_2xx]}
    scheme: https
    authorization: {credentials: token}
    tls_config:
      insecure_skip_verify: true
      min_version: TLS12
    file_sd_configs: [{files: ['t/*.json'], refresh_interval: 1m}]
    dns_sd_configs: [{names: [example.org], type: A, port: 9}]
    http_sd_configs: [{url: 'http://localhost:1/x', basic_auth: {username: u, password: p}}]
    kubernetes_sd_configs: [{role: pod}]
    relabel_configs:
      - source_labels: [__address__]
        target_label: __param_target
        replacement: x${1}
      - {target_label: shard, source_labels: [a], modulus: 3, action: hashmod}
  - <<: *base
    job_name: again
"#;

#[test]
fn jobs_become_tables_and_the_rest_is_told_of() {
    let imported = import(FILE);
    assert_eq!(
        notes(FILE),
        [
            "3: `external_labels`: set [rules] external_labels",
            "4: `rule_files`: list them in [rules] files",
            "26: `min_version` has no counterpart",
            "26: `min_version` has no counterpart",
            "30: discovery by kubernetes is not there: write its targets to a file ([[scrape.file]]) or serve them ([[scrape.http]])",
            "30: discovery by kubernetes is not there: write its targets to a file ([[scrape.file]]) or serve them ([[scrape.http]])",
        ]
    );
    let first = imported.toml.split("\n\n").next().unwrap();
    assert_eq!(
        first,
        r#"[[scrape]]
job = "node"
interval = "5s"
timeout = "5s"
honor_labels = true
limits = { body_size = "15MiB", samples = 100, series = 0 }
[[scrape.static]]
targets = ["a:9100", "b:9100"]
labels = { env = "prod", odd = "$${HOME}" }
[[scrape.metric_relabel]]
source_labels = ["__name__"]
regex = 'go_(.*)\.x'
action = "drop""#
    );
}

#[test]
fn what_is_printed_is_read_back() {
    let config = read_back(FILE);
    let jobs: Vec<&str> = config.scrapes.iter().map(|s| s.job.as_str()).collect();
    assert_eq!(jobs, ["node", "probe", "again"]);
    assert_eq!(config.scrapes[0].groups[0].labels.get("odd"), Some("${HOME}"));
    assert_eq!(config.scrapes[0].limits.body_bytes, 15 << 20);
    assert_eq!(config.scrapes[1].discoveries.len(), 3);
    assert_eq!(config.scrapes[1].relabel[0].replacement, "x${1}");
    assert_eq!(config.scrapes[1].timeout, std::time::Duration::from_secs(10));
    assert_eq!(config.scrapes[2].relabel, config.scrapes[1].relabel);
}

#[test]
fn what_is_no_config_is_refused_with_its_line() {
    assert!(refusal("a:\n  - b\n c: [").starts_with("3: "));
    assert!(refusal("- 1").contains("no Prometheus config"));
}

#[test]
fn a_null_is_the_default() {
    let text = "
  scrape_interval:
  scrape_timeout: ~
  metrics_path:
  scheme: null
  honor_labels:
  params:
  basic_auth: {username: u, password: }
  relabel_configs: [{action: keep, source_labels: [a], regex: }]";
    let found = &read_back(&job(text)).scrapes[0];
    assert_eq!((found.path.as_str(), found.scheme.as_str()), ("/metrics", "http"));
    assert_eq!((found.interval.as_secs(), found.timeout.as_secs()), (60, 10));
    assert_eq!(found.relabel[0].regex, "(.*)");
    assert!(!import(&job(text)).toml.contains('~'));
    // In quotes it is a text.
    assert_eq!(read_back(&job("  relabel_configs: [{action: keep, regex: '~'}]")).scrapes[0].relabel[0].regex, "~");
    assert_eq!(read_back(&job("  relabel_configs: [{action: keep, regex: ''}]")).scrapes[0].relabel[0].regex, "");
}

#[test]
fn texts_stay_texts() {
    use crate::types::scrape::HttpAuth;
    let config =
        read_back(&job("  basic_auth: {username: 'true', password: 12345}\n  tls_config: {insecure_skip_verify: yes}"));
    let http = &config.scrapes[0].http;
    assert!(matches!(&http.auth, HttpAuth::Basic(name, _) if name == "true"), "{http:?}");
    assert!(http.tls.insecure_skip_verify);
    let config = read_back(&job("  metrics_path: \"/a\\nb\"\n  authorization: {type: X, credentials: true}"));
    assert_eq!(config.scrapes[0].path, "/a\nb");
    assert!(matches!(&config.scrapes[0].http.auth, HttpAuth::Token(kind, _) if kind == "X"));
}

#[test]
fn a_job_without_targets_does_not_hold_back_the_others() {
    let text = "scrape_configs:
- job_name: k8s
  kubernetes_sd_configs: [{role: pod}]
  relabel_configs: [{source_labels: [a], target_label: b}]
- job_name: none
  static_configs:
- job_name: node
  static_configs: [{targets: [a:1]}, {}]
";
    let jobs: Vec<String> = read_back(text).scrapes.into_iter().map(|s| s.job).collect();
    assert_eq!(jobs, ["node"]);
    let imported = import(text);
    assert!(imported.toml.contains("\n# job = \"k8s\"\n") && imported.toml.contains("\n# [[scrape.relabel]]\n"));
    let told: Vec<u32> =
        imported.notes.iter().filter(|(_, n)| n.contains("printed as a comment")).map(|n| n.0).collect();
    assert_eq!(told, [3, 5]);
}

#[test]
fn wrong_shapes_are_refused_with_line_and_fix() {
    for (text, expected) in [
        ("scrape_configs: hello", "1: `scrape_configs` is a single value: write a list, like `[a, b]`"),
        ("scrape_configs: [~]", "1: `scrape_configs` has an empty item: fill it in, or remove it"),
        ("scrape_configs:\n- scheme: http", "2: `job_name` is missing: name each job"),
        ("scrape_configs:\n- job_name: ''", "2: `job_name` is empty: name each job"),
        (&format!("{}- job_name: j", job("")), "4: two jobs are named `j`: rename one"),
        (
            "scrape_configs:\n- job_name: j\n  static_configs:\n  - targets: a:1",
            "4: `targets` is a single value: write a list, like `[a, b]`",
        ),
        (
            "scrape_configs:\n- job_name: j\n  static_configs: [{targets: [a:1/x]}]",
            "3: the target `a:1/x` is no host with a port: write host and port alone, and the rest as `scheme` and `metrics_path`",
        ),
        (
            &job("  relabel_configs: [{source_labels: job, target_label: x}]"),
            "4: `source_labels` is a single value: write a list, like `[a, b]`",
        ),
        (
            &job("  relabel_configs: [{source_labels: [x]}]"),
            "4: `replace` needs `target_label`: say which label is meant",
        ),
        (&job("  metrics_path: [a]"), "4: `metrics_path` is a list: write one text"),
        (&job("  params: {a: b}"), "4: `a` is a single value: write a list, like `[a, b]`"),
        (&job("  basic_auth: x"), "4: `basic_auth` is a single value: write a mapping, like `{name: value}`"),
        (&job("  scheme: http\n  scheme: https"), "5: `scheme` is set twice: keep one"),
        (&job("  scheme: ftp"), "4: `scheme`: `ftp` is neither http nor https"),
        (&job("  honor_labels: 1"), "4: `honor_labels`: `1` is neither true nor false; write it without quotes"),
        (
            &job("  honor_labels: 'true'"),
            "4: `honor_labels`: `true` is neither true nor false; write it without quotes",
        ),
        (&job("  sample_limit: '5'"), "4: `sample_limit`: `5` is no whole number from 0 on, without quotes"),
        (&job("  sample_limit: -1"), "4: `sample_limit`: `-1` is no whole number from 0 on, without quotes"),
        (&job("  scrape_interval: 30"), "4: `scrape_interval`: `30` is not a duration; write it like 30s or 1m30s"),
        (&job("  scrape_timeout: 2m"), "4: `scrape_timeout` (2m) is longer than `scrape_interval` (1m): lower it"),
        (&job("  body_size_limit: 10"), "4: `body_size_limit`: `10` is no size; write it like 15MB"),
        (
            &job("  bearer_token: a\n  basic_auth: {username: b}"),
            "5: `bearer_token` and `basic_auth` are both set: keep one of them",
        ),
        (&job("  file_sd_configs: [{files: ['a/*/b.yml']}]"), "4: `a/*/b.yml`: `*` may stand in the file's name alone"),
        (&job("  <<: 1"), "4: `<<` takes a mapping or a list of them: write `<<: *name`"),
    ] {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

/// The second of a list fills what the first leaves out, and what is written later wins, as promtool shows it.
#[test]
fn merged_mappings_are_carried_over() {
    let text = "
scrape_configs:
- &common {scrape_interval: 30s, metrics_path: /common, job_name: first}
- &more {honor_labels: true, metrics_path: /more, job_name: second}
- <<: [*common, *more]
  job_name: list
  static_configs: [{targets: [a:1]}]
- <<: *common
  <<: *more
  job_name: twice
  static_configs: [{targets: [a:1]}]
- <<: *common
  metrics_path: /own
  job_name: own
  static_configs: [{targets: [a:1]}]
";
    let found: Vec<_> =
        read_back(text).scrapes.into_iter().map(|s| (s.interval.as_secs(), s.honor_labels, s.path)).collect();
    // The first two have no targets: they are comments.
    assert_eq!(
        found,
        [(30, true, "/common".to_owned()), (30, true, "/more".to_owned()), (30, false, "/own".to_owned())]
    );
}

#[test]
fn what_is_set_for_all_jobs_is_put_into_each() {
    let text = "global:
  sample_limit: 5000
  body_size_limit: 10MB
  label_limit: 30
  label_name_length_limit: 1
  label_value_length_limit: 2
  target_limit: 3
  always_scrape_classic_histograms: true
  query_log_file: q.log
scrape_configs:
- job_name: a
  static_configs: [{targets: [a:1]}]
- job_name: b
  sample_limit: 7
  label_limit: 0
  always_scrape_classic_histograms: false
  static_configs: [{targets: [a:1]}]
";
    let config = read_back(text);
    let limits = |i: usize| {
        let l = &config.scrapes[i].limits;
        [l.samples, l.body_bytes, l.labels, l.label_name_bytes, l.label_value_bytes, l.targets]
    };
    assert_eq!(limits(0), [5000, 10 << 20, 30, 1, 2, 3]);
    // A job's 0 is what it did not set, as with Prometheus.
    assert_eq!(limits(1), [7, 10 << 20, 30, 1, 2, 3]);
    assert_eq!(config.scrapes.iter().map(|s| s.classic_histograms).collect::<Vec<_>>(), [true, false]);
    assert_eq!(notes(text), ["9: `global.query_log_file` has no counterpart"]);
}

#[test]
fn schemes_are_in_small_letters_and_no_key_goes_in_silence() {
    let text = job("  scheme: HTTPS\n  enable_http2: false\n  proxy_url: x");
    assert_eq!(read_back(&text).scrapes[0].scheme, "https");
    assert_eq!(notes(&text), ["6: `proxy_url` is not supported: what is asked, is asked without a proxy"]);
}

/// As promtool takes it.
#[test]
fn a_file_without_jobs_is_imported_as_nothing() {
    for text in [
        "",
        "# x",
        "---",
        "~",
        "{}",
        "global:",
        "global: {scrape_interval: 5s}",
        "scrape_configs:",
        "scrape_configs: []",
    ] {
        let imported = import(text);
        assert_eq!((imported.toml.as_str(), imported.notes), ("", vec![(1, NO_JOBS.to_owned())]), "{text}");
    }
    let told = import("scrape_config_files: [a.yml]").notes;
    assert_eq!(told[0], (1, "`scrape_config_files`: import each of those files".to_owned()));
}

#[test]
fn what_belfry_has_not_is_named_with_its_line_and_what_means_the_same_is_not() {
    const O: &str = "client_id: a, client_secret: b, token_url: 'http://x'";
    let proxy = |line, key| format!("{line}: `{key}` is not supported: what is asked, is asked without a proxy");
    let oauth = |line| format!("{line}: `oauth2` is not supported: what is asked, is asked without a token");
    for (more, told) in [
        (format!("  oauth2: {{{O}, scopes: [a], endpoint_params: {{a: b}}, tls_config: {{ca_file: f}}}}"), vec![oauth(4)]),
        (format!("  http_sd_configs: [{{url: 'http://a', oauth2: {{{O}}}}}]"), vec![oauth(4)]),
        ("  proxy_url: 'http://p:1'\n  no_proxy: a".to_owned(), vec![proxy(4, "proxy_url"), proxy(5, "no_proxy")]),
        (
            "  proxy_from_environment: true\n  proxy_connect_header: {a: [b]}".to_owned(),
            vec![proxy(4, "proxy_from_environment"), proxy(5, "proxy_connect_header")],
        ),
        ("  http_sd_configs: [{url: 'http://a', proxy_url: p}]".to_owned(), vec![proxy(4, "proxy_url")]),
        (
            "  enable_http2: true".to_owned(),
            vec!["4: `enable_http2` is not supported: what is asked, is asked by HTTP/1.1".to_owned()],
        ),
        (
            "  http_sd_configs: [{url: 'http://a', tls_config: {cert: a, key_file: f}}]".to_owned(),
            vec![
                "4: `cert` has no counterpart".to_owned(),
                "4: of `cert_file` and `key_file` one is missing, so the other is left out".to_owned(),
            ],
        ),
        ("  native_histogram_bucket_limit: 5".to_owned(), vec!["4: `native_histogram_bucket_limit` has no counterpart".to_owned()]),
        (
            "  enable_http2: false\n  proxy_url: ''\n  no_proxy: ''\n  proxy_from_environment: no\n  proxy_connect_header: {}".to_owned(),
            vec![],
        ),
    ] {
        assert_eq!(notes(&job(&more)), told, "{more}");
        assert_eq!(read_back(&job(&more)).scrapes.len(), 1);
    }
}

/// As promtool refuses it, though Belfry has no such setting.
#[test]
fn what_belfry_has_not_is_refused_where_prometheus_refuses_it() {
    const O: &str = "client_id: a, token_url: x";
    for (more, expected) in [
        ("oauth2: {}", "4: `oauth2` needs `client_id`"),
        ("oauth2: x", "4: `oauth2` is a single value"),
        ("oauth2: {client_id: a}", "4: `oauth2` needs `token_url`"),
        (&format!("oauth2: {{{O}, nosuch: 1}}"), "4: `nosuch` is not known to Prometheus in `oauth2`"),
        (&format!("oauth2: {{{O}, scopes: a}}"), "4: `scopes` is a single value"),
        (
            &format!("oauth2: {{{O}, client_secret: a, client_secret_file: b}}"),
            "4: `client_secret` and `client_secret_file`",
        ),
        (&format!("oauth2: {{{O}, tls_config: {{cert_file: f}}}}"), "4: `key_file` is missing"),
        (&format!("oauth2: {{{O}, no_proxy: x}}"), "4: `no_proxy` needs `proxy_url`"),
        (&format!("oauth2: {{{O}}}\n  basic_auth: {{}}"), "5: `oauth2` and `basic_auth` are both set"),
        ("proxy_url: ':'", "4: `proxy_url`: `:` is no address: its scheme is missing"),
        ("proxy_url: 'http://p:x'", "4: `proxy_url`: `http://p:x` is no address: its port is none"),
        ("proxy_url: [a]", "4: `proxy_url` is a list"),
        ("proxy_url: p\n  proxy_from_environment: true", "5: `proxy_from_environment` and `proxy_url` are both set"),
        ("proxy_from_environment: true\n  no_proxy: a", "4: `proxy_from_environment` and `no_proxy` are both set"),
        ("proxy_connect_header: {a: [b]}", "4: `proxy_connect_header` needs `proxy_url` or"),
        ("proxy_connect_header: {a: b}", "4: `a` is a single value"),
        ("enable_http2: maybe", "4: `enable_http2`: `maybe` is neither true nor false"),
        ("native_histogram_bucket_limit: -1", "4: `native_histogram_bucket_limit`: `-1` is no whole number"),
        ("native_histogram_min_bucket_factor: x", "4: `native_histogram_min_bucket_factor`: `x` is no number"),
        ("keep_dropped_targets: 1e30", "4: `keep_dropped_targets`: `1e30` is no whole number"),
        ("convert_classic_histograms_to_nhcb: 1", "4: `convert_classic_histograms_to_nhcb`: `1` is neither"),
        ("scrape_failure_log_file: [a]", "4: `scrape_failure_log_file` is a list"),
        ("tls_config: {cert: a, key_file: f}", "4: `key_file` is set and `cert_file` is not"),
        ("tls_config: {cert_file: f, key: a}", "4: `cert_file` is set and `key_file` is not"),
        ("authorization: {credentials: a, credentials_ref: b}", "4: `credentials` and `credentials_ref` are both set"),
        ("metric_name_validation_scheme: legacy", "4: `metric_name_validation_scheme: legacy` needs an"),
        ("kubernetes_sd_configs: x", "4: `kubernetes_sd_configs` is a single value"),
        ("http_sd_configs: [{url: 'http:a'}]", "4: `url`: `http:a` is not an address"),
        ("http_sd_configs: [{url: 'http:///x'}]", "4: `url`: `http:///x` is not an address"),
        ("http_sd_configs: [{url: 'http://a/%z'}]", "4: `url`: `http://a/%z` is not an address"),
        ("proxy_connect_header: {a: ~}", "4: `proxy_connect_header` needs `proxy_url` or"),
        ("http_sd_configs: [{url: ' http://a'}]", "4: `url`: ` http://a` is not an address"),
        ("http_sd_configs: [{url: a/x}]", "4: `url`: `a/x` is not an address"),
    ] {
        let refused = refusal(&job(&format!("  {more}")));
        assert!(refused.starts_with(expected), "{more}\n{refused}");
    }
    for (head, expected) in [
        ("global: {external_labels: [a]}", "1: `external_labels` is a list"),
        ("global: {evaluation_interval: x}", "1: `evaluation_interval`: `x` is not a duration"),
        ("global: {keep_dropped_targets: -1}", "1: `keep_dropped_targets`: `-1` is no whole number"),
        ("rule_files: a", "1: `rule_files` is a single value"),
        ("remote_write: x", "1: `remote_write` is a single value"),
        ("storage: x", "1: `storage` is a single value"),
        (
            "global: {metric_name_validation_scheme: legacy, metric_name_escaping_scheme: allow-utf-8}",
            "1: `metric_name_validation_scheme: legacy` needs",
        ),
    ] {
        let refused = refusal(&format!("{head}\n{}", job("")));
        assert!(refused.starts_with(expected), "{head}\n{refused}");
    }
}

#[test]
fn what_is_empty_beside_another_is_not_set() {
    use crate::types::scrape::{HttpAuth, SecretSource};
    for more in [
        "authorization: {credentials: '', credentials_file: f}",
        "bearer_token: ''\n  bearer_token_file: f",
        "bearer_token: ''\n  authorization: {credentials_file: f}",
    ] {
        let auth = &read_back(&job(&format!("  {more}"))).scrapes[0].http.auth;
        assert!(matches!(auth, HttpAuth::Token(_, SecretSource::File(f)) if f.ends_with("f")), "{more}: {auth:?}");
    }
    let auth = &read_back(&job("  bearer_token_file: ''\n  basic_auth: {username: a}")).scrapes[0].http.auth;
    assert!(matches!(auth, HttpAuth::Basic(..)), "{auth:?}");
    assert!(matches!(read_back(&job("  bearer_token: ''")).scrapes[0].http.auth, HttpAuth::None));
    let auth = &read_back(&job("  authorization: {credentials: '', credentials_file: ''}")).scrapes[0].http.auth;
    assert!(matches!(auth, HttpAuth::Token(_, SecretSource::Text(_))), "{auth:?}");
}

#[test]
fn which_names_are_taken_is_said_for_all_jobs_or_for_one() {
    let legacy = "global: {metric_name_validation_scheme: legacy}\n";
    for text in [
        format!("{legacy}{}", job("")),
        format!("{legacy}{}", job("  metric_name_validation_scheme: legacy")),
        format!("{legacy}{}", job("  metric_name_validation_scheme: utf8\n  metric_name_escaping_scheme: allow-utf-8")),
        job("  metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: underscores"),
    ] {
        import(&text);
    }
}

#[test]
fn relative_paths_start_beside_the_imported_file() {
    use crate::types::scrape::Discovery;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("certs")).unwrap();
    for file in ["certs/ca.pem", "pw", "head"] {
        std::fs::write(folder.path().join(file), "x").unwrap();
    }
    let text = job("
  tls_config: {ca_file: certs/ca.pem}
  basic_auth: {username: u, password_file: pw}
  http_headers: {X-A: {files: [head]}}
  file_sd_configs: [{files: ['*.json', /abs/a.yml]}]");
    let found = &read_back_from(&text, folder.path()).scrapes[0];
    assert_eq!(found.http.tls.ca_file, Some(folder.path().join("certs/ca.pem")));
    let Discovery::File { files, .. } = &found.discoveries[0] else { panic!("{found:?}") };
    assert_eq!(*files, [folder.path().join("*.json"), "/abs/a.yml".into()]);
    let printed = import(&text).toml;
    assert!(printed.contains("password_file = \"/etc/prometheus/pw\""), "{printed}");
    assert!(printed.contains("X-A = { file = \"/etc/prometheus/head\" }"), "{printed}");
}

/// Which are which, promtool says.
#[test]
fn truth_values_and_numbers_are_read_as_prometheus_reads_them() {
    for (written, expected) in
        [("True", true), ("y", true), ("YES", true), ("on", true), ("FALSE", false), ("No", false), ("off", false)]
    {
        let text = job(&format!("  honor_timestamps: {written}"));
        assert_eq!(read_back(&text).scrapes[0].honor_timestamps, expected, "{written}");
    }
    for (written, expected) in [
        (".5", 0),
        ("-0", 0),
        ("1e18", 1_000_000_000_000_000_000),
        ("1_000", 1000),
        ("0x10", 16),
        ("0b11", 3),
        ("0o17", 15),
        ("010", 8),
        ("1e3", 1000),
        ("1.5", 1),
        ("7", 7),
    ] {
        let text = job(&format!("  sample_limit: {written}"));
        assert_eq!(read_back(&text).scrapes[0].limits.samples, expected, "{written}");
    }
    for (written, expected) in [("15MB", 15 << 20), ("1.5GB", 3 << 29), ("1KiB", 1 << 10), ("1KB1B", 1025)] {
        let text = job(&format!("  body_size_limit: {written}"));
        assert_eq!(read_back(&text).scrapes[0].limits.body_bytes, expected, "{written}");
    }
}

/// What would be refused on reading is left out, and told of.
#[test]
fn what_belfry_would_refuse_is_told_of_instead() {
    for (more, note) in [
        ("  basic_auth: {username_file: f}", "4: `username_file` has no counterpart, so `basic_auth` is left out"),
        ("  authorization: {credentials_ref: f}", "4: `credentials_ref` has no counterpart"),
        ("  tls_config: {cert: f, key: g}", "4: `key` has no counterpart"),
        (
            "  http_headers: {Accept: {values: [a]}}",
            "4: the header `Accept`: Belfry sets it itself, or it is no name for a header",
        ),
        ("  http_headers: {X: {values: [a, b]}}", "4: the header `X`: one value can be carried over"),
        ("  relabel_configs: [{action: keep, target_label: x}]", "4: `target_label`: `keep` has no use for it"),
        ("  scrape_interval: 10ms", "4: `scrape_interval`: 10ms is too short: 100ms is printed"),
        (
            "  http_sd_configs: [{url: 'http://a/', refresh_interval: 10ms}]",
            "4: `refresh_interval`: 10ms is too short: 1s is printed",
        ),
        (
            "  basic_auth: {password: x}\n  metrics_path: x\n  relabel_configs: [{action: LabelMap, regex: (.+), modulus: 0}]",
            "",
        ),
    ] {
        let text = job(more);
        assert_eq!(read_back(&text).scrapes.len(), 1);
        let notes = notes(&text);
        assert!(note.is_empty() && notes.is_empty() || notes.iter().any(|n| n == note), "{more}: {notes:?}");
    }
    let labels = "scrape_configs:\n- job_name: j\n  static_configs: [{targets: ['', a:1], labels: {a.b: c, d: e}}]";
    assert_eq!(read_back(labels).scrapes[0].groups[0].targets, ["a:1"]);
    assert_eq!(read_back(labels).scrapes[0].groups[0].labels.get("a.b"), Some("c"));
    assert_eq!(notes(labels), ["3: an empty target"]);
}

/// Prometheus bounds nothing that it is not told to bound.
#[test]
fn what_has_no_bound_gets_none() {
    let limits = |more: &str| read_back(&job(more)).scrapes[0].limits.clone();
    let free = limits("");
    assert_eq!((free.body_bytes, free.samples, free.series), (0, 0, Some(i64::MAX as u64)));
    assert_eq!((free.labels, free.label_name_bytes, free.label_value_bytes, free.targets), (0, 0, 0, 0));
    let bound = limits("  body_size_limit: 10MB\n  sample_limit: 5");
    assert_eq!((bound.body_bytes, bound.samples), (10 << 20, 5));
    // As many as a number of 64 bits can say.
    assert_eq!(limits("  sample_limit: 18446744073709551615").samples, i64::MAX as u64);
    let told = import(&job("")).notes;
    assert_eq!(told, [(2, BOUNDS_KEPT.to_owned())]);
    assert!(BOUNDS_KEPT.contains("series_limit in all (1000000"), "the bound is said: {BOUNDS_KEPT}");
}

#[test]
fn a_null_in_a_parameter_is_an_empty_text() {
    assert_eq!(read_back(&job("  params: {a: [x, ~]}")).scrapes[0].params["a"], ["x", ""]);
}

/// As promtool refuses it.
#[test]
fn what_prometheus_does_not_know_or_forbids_is_refused_with_its_line() {
    let rule = |rule: &str| job(&format!("  relabel_configs: [{{{rule}}}]"));
    for (text, expected) in [
        ("nosuch: 1\nscrape_configs: []", "1: `nosuch` is not known to Prometheus"),
        ("global: {nosuch: 1}\nscrape_configs: []", "1: `global.nosuch` is not known"),
        (&job("  nosuch: x"), "4: `nosuch` is not known"),
        (&job("  nosuch_sd_configs: []"), "4: `nosuch_sd_configs` is not known"),
        (&job("").replace("targets", "target"), "3: `target` is not known to Prometheus in `static_configs`"),
        (&job("  file_sd_configs: [{files: [a.yml], file: x}]"), "4: `file` is not known"),
        (&job("  dns_sd_configs: [{names: [a], name: b}]"), "4: `name` is not known"),
        (&job("  http_sd_configs: [{url: 'http://a', scheme: http}]"), "4: `scheme` is not known"),
        (&rule("target_label: a, source_label: [b]"), "4: `source_label` is not known"),
        (&job("  basic_auth: {user: a}"), "4: `user` is not known"),
        (&job("  authorization: {token: a}"), "4: `token` is not known"),
        (&job("  tls_config: {cafile: a}"), "4: `cafile` is not known"),
        (&job("  tls_config: {min_version: 1.2}"), "4: `min_version`: `1.2` is none of TLS10 to TLS13"),
        (&job("  http_headers: {X: {value: [a]}}"), "4: `value` is not known"),
        (&job("  scrape_protocols: [Foo]"), "4: `scrape_protocols`: `Foo` is none of PrometheusProto, "),
        (&job("  scrape_protocols: []"), "4: `scrape_protocols` is empty"),
        (
            &job("  scrape_protocols: [PrometheusProto, PrometheusProto]"),
            "4: `scrape_protocols`: `PrometheusProto` is there twice",
        ),
        (
            &job("  fallback_scrape_protocol: PrometheusText9"),
            "4: `fallback_scrape_protocol`: `PrometheusText9` is not known",
        ),
        (
            &job("  metric_name_validation_scheme: foo"),
            "4: `metric_name_validation_scheme`: `foo` is none of utf8, legacy",
        ),
        (&job("  http_headers: {user-agent: {values: [x]}}"), "4: the header `user-agent` is not to be set"),
        (&job("  basic_auth: {username: a, username_file: b}"), "4: `username` and `username_file` are both set"),
        (&job("  basic_auth: {password: a, password_file: b}"), "4: `password` and `password_file` are both set"),
        (&job("  tls_config: {cert_file: x}"), "4: `key_file` is missing"),
        (&job("  tls_config: {key: x}"), "4: `cert_file` is missing"),
        (&job("  tls_config: {ca: x, ca_file: y}"), "4: `ca` and `ca_file` are both set"),
        (&rule("action: labeldrop, regex: a, source_labels: [b]"), "4: `source_labels`: `labeldrop` has no use for it"),
        (&rule("action: labelkeep, regex: a, separator: ','"), "4: `separator`: `labelkeep` has no use for it"),
        (&rule("action: labeldrop, regex: a, target_label: b"), "4: `target_label`: `labeldrop` has no use for it"),
        (
            &rule("action: keepequal, source_labels: [a], target_label: b, regex: c"),
            "4: `regex`: `keepequal` has no use",
        ),
        (
            &rule("action: dropequal, source_labels: [a], target_label: b, replacement: c"),
            "4: `replacement`: `dropequal` has",
        ),
        (&rule("target_label: __address__, replacement: ''"), "4: `__address__` is made empty"),
        (&rule("target_label: __address__"), "4: `__address__` is made empty"),
        (
            &rule("target_label: __scrape_timeout__, replacement: 2m"),
            "4: the labels make `__scrape_timeout__` longer than",
        ),
        (&rule("target_label: __scrape_interval__, replacement: 2"), "4: `__scrape_interval__`: `2` is no duration"),
        (
            &job("").replace("]}", "], labels: {__scrape_interval__: 5s}}"),
            "3: the labels make `__scrape_timeout__` longer than",
        ),
    ] {
        let refused = refusal(text);
        assert!(refused.starts_with(expected), "{text}\n{refused}");
    }
}

/// As promtool takes it.
#[test]
fn what_is_near_to_that_is_taken() {
    for more in [
        "  relabel_configs: [{action: labeldrop, regex: a, separator: ;, modulus: 0, replacement: $1}]",
        "  basic_auth: {username: a, username_file: ''}",
        "  tls_config: {cert_file: '', key_file: ''}",
        "  http_headers: {X: }",
        "  fallback_scrape_protocol: ''",
        "  relabel_configs: [{target_label: __scrape_timeout__, replacement: 5m}, {target_label: __scrape_interval__, replacement: 5m}]",
        // Depends on the target.
        "  relabel_configs: [{action: drop, regex: a}, {target_label: __address__, replacement: ''}]",
        "  relabel_configs: [{source_labels: [job], regex: a, target_label: __scrape_timeout__, replacement: 5m}]",
    ] {
        read_back(&job(more));
    }
    // A rule of a job without targets of its own is not asked for an address.
    let found = job("  file_sd_configs: [{files: [/a.yml]}]\n  relabel_configs: [{target_label: __address__}]");
    read_back(&found.replace("{targets: [a:1]}", ""));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[a-z_:\\- \n\\[\\]{}&*<'\"]{0,80}") {
        let _ = import_prometheus(&text, Path::new("/"));
    }

    /// Whatever stands behind a key: it is refused, or what is printed is read back.
    #[test]
    fn what_is_not_refused_is_read_back(
        key in proptest::sample::select(
            PLAIN[1..].iter().chain(&targets::TABLES).copied().chain(FLAGS.map(|f| f.0)).chain(LIMITS.map(|l| l.0))
                .chain(["basic_auth", "authorization", "bearer_token", "http_headers"]).collect::<Vec<_>>()),
        value in proptest::sample::select(vec![
            "", "~", "''", "0", "1", "true", "x", "'\"'", "1s", "0s", "5MB", "[]", "[a]", "[~]", "{}", "{a: b}", "{a: [b]}", "[{}]",
            "{a: {values: [b]}}", "[{targets: [\"a\\n${b\"]}]", "{username: a}", "{credentials: '${'}", "PrometheusProto",
            "[{names: [a]}]", "[{names: [a], type: a, port: 1}]", "[{files: ['a*.json']}]", "[{url: 'http://a'}]",
            "[{action: labeldrop, regex: a}]", "[{action: Drop, separator: ''}]", "[{target_label: a, replacement: ''}]",
        ]),
    ) {
        let text = if key == "static_configs" { job("").replace("[{targets: [a:1]}]", value) } else { job(&format!("  {key}: {value}")) };
        if import_prometheus(&text, Path::new("/")).is_ok() {
            read_back(&text);
        }
    }
}

const TEXTS: &str = "OpenMetricsText1.0.0, OpenMetricsText0.0.1, PrometheusText1.0.0, PrometheusText0.0.4";

#[test]
fn asking_for_protobuf_is_asking_for_native_histograms() {
    let as_if = "`scrape_protocols`: `PrometheusProto` without native histograms: `native_histograms = true` is printed; \
                 remove it if Prometheus runs without --enable-feature=native-histograms";
    let order = |before: &str| {
        let ours = format!("in this order, has no counterpart; Belfry asks for {before}{TEXTS}");
        format!("`scrape_protocols`: that these are asked for, {ours}")
    };
    let (texts, all) = (format!("[{TEXTS}]"), format!("[PrometheusProto, {TEXTS}]"));
    for (protocols, flag, native, told) in [
        (None, None, false, vec![]),
        (None, Some(true), true, vec![]),
        (Some(texts.as_str()), None, false, vec![]),
        (Some(&texts), Some(false), false, vec![]),
        (Some(&all), Some(true), true, vec![]),
        (Some(&all), None, true, vec![format!("4: {as_if}")]),
        (
            Some(&all),
            Some(false),
            false,
            vec!["4: `scrape_protocols`: `PrometheusProto` without native histograms: it is not asked for".to_owned()],
        ),
        (
            Some(&texts),
            Some(true),
            false,
            vec![
                "5: `scrape_native_histograms`: false is printed, for `scrape_protocols` has no `PrometheusProto`, which \
                 alone carries them"
                    .to_owned(),
            ],
        ),
        (Some("[PrometheusText0.0.4]"), None, false, vec![format!("4: {}", order(""))]),
        (Some("[PrometheusProto]"), Some(true), true, vec![format!("4: {}", order("protobuf, "))]),
        (
            Some("[PrometheusText0.0.4, PrometheusProto]"),
            None,
            true,
            vec![format!("4: {as_if}"), format!("4: {}", order("protobuf, "))],
        ),
    ] {
        let flag = flag.map(|f| format!("  scrape_native_histograms: {f}\n")).unwrap_or_default();
        let list = protocols.map(|p| format!("  scrape_protocols: {p}\n")).unwrap_or_default();
        let mut said = notes(&job(&format!("{list}{flag}")));
        said.sort();
        assert_eq!(said, told, "{list}{flag}");
        assert_eq!(read_back(&job(&format!("{list}{flag}"))).scrapes[0].native_histograms, native, "{list}{flag}");
    }
}

#[test]
fn what_all_jobs_ask_for_is_told_once_and_a_job_may_say_otherwise() {
    let text = "global:\n  scrape_protocols: [PrometheusProto]\n  scrape_native_histograms: true\nscrape_configs:\n\
                - {job_name: a, static_configs: [{targets: [a:1]}]}\n\
                - {job_name: b, static_configs: [{targets: [a:1]}]}\n\
                - {job_name: c, static_configs: [{targets: [a:1]}], scrape_protocols: [OpenMetricsText1.0.0]}\n";
    let native: Vec<bool> = read_back(text).scrapes.iter().map(|s| s.native_histograms).collect();
    assert_eq!(native, [true, true, false]);
    let lines: Vec<String> = notes(text).iter().map(|n| n.split('`').take(2).collect()).collect();
    assert_eq!(lines, ["2: scrape_protocols", "3: scrape_native_histograms", "7: scrape_protocols"]);
}
