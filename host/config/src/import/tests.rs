use super::*;
use crate::{Config, LoadInput};

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
    let imported = import_prometheus(FILE).unwrap();
    let notes: Vec<String> = imported.notes.iter().map(|(line, note)| format!("{line}: {note}")).collect();
    assert_eq!(
        notes,
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
limits = { body_size = "15MiB", samples = 100 }
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
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("belfry.toml");
    std::fs::write(&path, import_prometheus(FILE).unwrap().toml).unwrap();
    let config = Config::load(&LoadInput { path: Some(path), ..LoadInput::default() }).unwrap().config;
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
    assert_eq!(import_prometheus("a: 1").unwrap_err(), (1, "there is no `scrape_configs`".to_owned()));
    assert_eq!(import_prometheus("a:\n  - b\n c: [").unwrap_err().0, 3);
    assert_eq!(import_prometheus("").unwrap_err().1, "the file is empty");
    assert!(import_prometheus("- 1").unwrap_err().1.contains("no Prometheus config"));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[a-z_:\\- \n\\[\\]{}&*<'\"]{0,80}") {
        let _ = import_prometheus(&text);
    }
}
