//! What a good config becomes: defaults, variables, overrides, secrets, merged files.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use belfry_config::types::{self, *};
use belfry_config::{Config, LoadInput, Loaded, Problems, SetByFlag, load_dropped};
use proptest::prelude::*;

fn builtins() -> Vec<String> {
    ["collector-system", "handler-console", "handler-webhook", "section-metrics", "section-alerts"]
        .map(str::to_owned)
        .to_vec()
}

fn input(path: Option<&Path>, env: &[(&str, &str)]) -> LoadInput {
    LoadInput {
        path: path.map(Path::to_owned),
        env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        flags: Vec::new(),
        builtins: builtins(),
        ..LoadInput::default()
    }
}

fn load(text: &str, env: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("belfry.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&input(Some(&path), env))
}

#[test]
fn the_embedded_defaults_are_a_good_config() {
    let loaded = Config::load(&input(None, &[])).unwrap_or_else(|e| panic!("{e}"));
    let config = loaded.config;
    assert_eq!(config.server.listen, "127.0.0.1:8089");
    assert_eq!(config.plugins[0].component.source, Source::Builtin("collector-system".into()));
    assert_eq!(config.route.unwrap().channel, "console");
    assert!(config.rules.len() >= 3);
    assert!(loaded.warnings.is_empty() && loaded.files.is_empty());
}

#[test]
fn an_empty_file_is_a_config_of_defaults() {
    let config = load("", &[]).unwrap().config;
    let ten_s = Duration::from_secs(10);
    let collection = Collection { interval: ten_s, timeout: ten_s / 2, type_and_unit_labels: false };
    assert_eq!(config.collection, collection);
    let quick = load("[collection]\ninterval = \"1s\"", &[]).unwrap().config.collection;
    assert_eq!((quick.interval, quick.timeout), (Duration::from_secs(1), Duration::from_secs(1)));
    assert_eq!(config.storage.retention, Some(Duration::from_secs(15 * 86_400)));
    assert_eq!(config.storage.fsync, Fsync::Every(Duration::from_millis(100)));
    assert_eq!(config.telemetry.log_format, LogFormat::Pretty);
    assert_eq!(config.route, None);
}

#[test]
fn a_named_rule_file_that_is_away_is_warned_of_where_a_version_of_it_may_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("belfry.toml");
    std::fs::write(&path, "[rules]\nfiles = [\"away.yml\"]\n").unwrap();
    let strict = input(Some(&path), &[]);
    let refused = Config::load(&strict).map(drop).unwrap_err().to_string();
    assert!(refused.contains("2:10: error: no rule file matches `away.yml`"), "{refused}");
    let loaded = Config::load(&LoadInput { rule_files_may_be_away: true, ..strict }).unwrap_or_else(|e| panic!("{e}"));
    assert!(loaded.warnings.iter().any(|w| w.to_string().contains("no rule file matches `away.yml`")));
    assert_eq!(loaded.config.rule_settings.patterns, [folder.path().join("away.yml")]);
}

#[test]
fn a_retention_size_without_room_for_the_log_is_refused() {
    let problems = load("[storage]\nretention_size = \"15MiB\"", &[]).unwrap_err().to_string();
    assert!(problems.contains("`retention_size` is less than 16MiB"), "{problems}");
    assert!(load("[storage]\nretention_size = \"16MiB\"", &[]).is_ok());
}

#[test]
fn a_retention_size_of_zero_is_no_bound() {
    for (written, bytes) in [("0", None), ("\"0\"", None), ("\"0GB\"", None), ("\"1GiB\"", Some(1 << 30))] {
        let config = load(&format!("[storage]\nretention_size = {written}"), &[]).unwrap().config;
        assert_eq!(config.storage.retention_bytes, bytes, "{written}");
    }
}

#[test]
fn the_external_url_is_an_address_that_paths_can_be_added_to() {
    let read = |written: &str| load(&format!("[server]\nexternal_url = \"{written}\""), &[]);
    assert_eq!(load("", &[]).unwrap().config.server.external_url, None);
    for (written, url) in [
        ("https://belfry.example.com/mon", "https://belfry.example.com/mon"),
        ("https://belfry.example.com/mon/", "https://belfry.example.com/mon"),
        ("http://10.0.0.1:8089", "http://10.0.0.1:8089"),
        ("HTTPS://Belfry.example/", "https://belfry.example"),
    ] {
        assert_eq!(read(written).unwrap().config.server.external_url.as_deref(), Some(url));
    }
    for (written, wrong) in [
        ("belfry.example.com", "is no HTTP address"),
        ("ftp://belfry.example.com", "is no HTTP address"),
        ("https:belfry", "is no HTTP address"),
        ("https://", "is no HTTP address"),
        ("https://belfry.example.com/?a=b", "has a query or a fragment"),
        ("https://belfry.example.com/#a", "has a query or a fragment"),
        ("https://u:p@belfry.example.com/", "has credentials in it"),
    ] {
        let text = read(written).unwrap_err().to_string();
        let help = "help: write it like \"https://belfry.example.com/mon\"";
        assert!(text.contains(&format!(":2:16: error: `external_url` {wrong}\n  {help}")), "{text}");
    }
}

#[test]
fn labels_of_a_group_of_targets_have_any_name_but_none() {
    let job = |labels: &str| {
        let text = format!("[[scrape]]\njob = \"a\"\n[[scrape.static]]\ntargets = [\"h:1\"]\nlabels = {labels}\n");
        load(&text, &[]).map(|l| l.config.scrapes[0].groups[0].labels.to_string())
    };
    assert_eq!(job(r#"{ "zone.name" = "x", "größe" = "y" }"#).unwrap(), r#"{"größe"="y", "zone.name"="x"}"#);
    assert!(job(r#"{ "" = "x" }"#).unwrap_err().to_string().contains("a label has no name"));
}

#[test]
fn a_scrape_job_says_whether_its_series_tell_kind_and_unit_or_the_collection_does() {
    let of_jobs = |collection: &str| {
        let job = |name: &str, key: &str| format!("[[scrape]]\njob = \"{name}\"\ntargets = [\"h:1\"]\n{key}\n");
        let text = format!(
            "{collection}\n{}{}{}",
            job("silent", ""),
            job("on", "type_and_unit_labels = true"),
            job("off", "type_and_unit_labels = false")
        );
        let scrapes = load(&text, &[]).unwrap().config.scrapes;
        scrapes.iter().map(|s| s.type_and_unit_labels).collect::<Vec<_>>()
    };
    assert_eq!(of_jobs(""), [false, true, false]);
    assert_eq!(of_jobs("[collection]\ntype_and_unit_labels = true"), [true, true, false]);
}

/// One job's file must not hold back a start: the job is down until it is there. The engine's are another matter.
#[test]
fn files_of_a_job_may_come_later_and_those_of_the_engine_may_not() {
    let files = "basic_auth = { username = \"u\", password_file = \"pw\" }\n\
                 tls = { ca_file = \"ca\", cert_file = \"cert\", key_file = \"key\" }\n\
                 secret_headers = { X = { file = \"x\" } }\n";
    let job =
        format!("[[scrape]]\njob = \"a\"\ntargets = [\"b:1\"]\n{files}[[scrape.http]]\nurl = \"http://c\"\n{files}");
    let loaded = load(&job, &[]).unwrap_or_else(|e| panic!("{e}"));
    let http = &loaded.config.scrapes[0].http;
    let named = |file: &Option<std::path::PathBuf>| file.as_ref().is_some_and(|f| f.ends_with("ca"));
    assert!(named(&http.tls.ca_file) && http.tls.identity.is_some() && http.headers.len() == 1, "{http:?}");
    assert_eq!(loaded.places.scrapes["a"].line_column, Some((2, 7)));
    let engine = format!(
        "[storage]\nbackend = \"prometheus\"\n[storage.prometheus]\nwrite_url = \"http://a/w\"\nread_url = \"http://a\"\n{files}"
    );
    let refused = load(&engine, &[]).expect_err("its files are not there").to_string();
    for file in ["pw", "ca", "cert", "key", "x"] {
        assert!(refused.contains(&format!("`{file}`")), "{file}: {refused}");
    }
    // Nothing is no secret.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pw"), " ").unwrap();
    let path = folder.path().join("belfry.toml");
    std::fs::write(&path, &job).unwrap();
    let refused = Config::load(&input(Some(&path), &[])).expect_err("it is empty").to_string();
    assert!(refused.contains("the secret file `pw` is empty"), "{refused}");
}

#[test]
fn variables_fill_strings_and_overrides_beat_the_file_and_flags_beat_both() {
    let text = "[server]\nlisten = \"${HOST:-127.0.0.1}:${PORT}\"\n[storage]\npath = \"here\"\nretention = \"1d\"";
    let loaded = load(text, &[("PORT", "9000")]).unwrap();
    assert_eq!(loaded.config.server.listen, "127.0.0.1:9000");

    let env = [
        ("PORT", "9000"),
        ("BELFRY_SERVER__LISTEN", "127.0.0.1:7000"),
        ("BELFRY_SERVER__ALLOWED_HOSTS", "a.example, b.example"),
        ("BELFRY_STORAGE__SERIES_LIMIT", "77"),
        ("BELFRY_NOTIFY__RETRY__MAX", "1h"),
        ("BELFRY_CONFIG", "ignored"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("belfry.toml");
    std::fs::write(&path, text).unwrap();
    let mut with_flag = input(Some(&path), &env);
    with_flag.flags.push(SetByFlag { flag: "--data".into(), key: "storage.path".into(), value: "/elsewhere".into() });
    let config = Config::load(&with_flag).unwrap().config;
    assert_eq!(config.server.listen, "127.0.0.1:7000");
    assert_eq!(config.server.allowed_hosts, ["a.example", "b.example"]);
    assert_eq!(config.storage.series_limit, 77);
    assert_eq!(config.retry.max, Duration::from_secs(3600));
    assert_eq!(config.storage.path, Path::new("/elsewhere"));
    assert_eq!(config.storage.retention, Some(Duration::from_secs(86_400)));
}

#[test]
fn a_bad_override_names_the_variable() {
    let problems = load("", &[("BELFRY_SERVER__LISTN", "x"), ("BELFRY_STORAGE__SERIES_LIMIT", "many")]).unwrap_err();
    let text = problems.to_string();
    assert!(text.contains("BELFRY_SERVER__LISTN: error: there is no setting `LISTN`\n  help: did you mean `LISTEN`?"));
    assert!(text.contains("BELFRY_STORAGE__SERIES_LIMIT: error: `series_limit` cannot be \"many\""), "{text}");
}

#[test]
fn conf_d_is_merged_and_both_places_of_a_double_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("belfry.toml");
    let channel = |name: &str| format!("[[channel]]\nname = \"{name}\"\nhandler = \"builtin:handler-console\"\n");
    std::fs::write(&path, format!("[storage]\npath = \"d\"\n[route]\nchannel = \"b\"\n{}", channel("a"))).unwrap();
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    std::fs::write(folder.path().join("conf.d/10.toml"), format!("storage.retention = \"2d\"\n{}", channel("b")))
        .unwrap();
    let loaded = Config::load(&input(Some(&path), &[])).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.config.channels.len(), 2);
    assert_eq!(loaded.config.storage.path, folder.path().join("d"));
    assert_eq!(loaded.files.len(), 2);

    std::fs::write(folder.path().join("conf.d/20.toml"), format!("storage.path = \"e\"\n{}", channel("a"))).unwrap();
    let text = Config::load(&input(Some(&path), &[])).unwrap_err().to_string();
    assert!(text.contains("20.toml:1:9: error: `path` is set twice"), "{text}");
    assert!(text.contains("belfry.toml:2:1; keep one"), "{text}");
    assert!(text.contains("20.toml:3:8: error: two channels are named `a`"), "{text}");
}

const SECRETS: &str = r#"
[server.auth]
token_file = "token"
[smtp]
host = "mail.example"
from = "Belfry <belfry@example.org>"
username = "u"
password = "${PASSWORD}"
[[channel]]
name = "hook"
handler = "builtin:handler-webhook"
config = { url = "https://hooks.example/{{secret.id}}", api_token = "inline-5" }
grants = { http = ["https://hooks.example"] }
secrets = { id = { env = "HOOK_ID", for = ["https://hooks.example"] }, plain = { value = "inline-6" } }
"#;

#[test]
fn secrets_come_from_files_and_variables_and_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("belfry.toml");
    std::fs::write(&path, SECRETS).unwrap();
    std::fs::write(folder.path().join("token"), "tok-1\n").unwrap();
    let loaded = Config::load(&input(Some(&path), &[("PASSWORD", "pw-2"), ("HOOK_ID", "id-3")]))
        .unwrap_or_else(|e| panic!("{e}"));
    let config = &loaded.config;
    assert_eq!(config.server.token, Some(SecretText("tok-1".into())));
    assert_eq!(config.smtp.as_ref().unwrap().login, Some(("u".into(), SecretText("pw-2".into()))));
    assert_eq!(config.channels[0].component.secrets["id"].value, SecretText("id-3".into()));
    let printed = format!("{}{:?}", loaded.shown, loaded.config.smtp);
    for secret in ["tok-1", "pw-2", "id-3", "inline-5", "inline-6"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
    assert!(loaded.shown.contains("retention = \"15d\""), "defaults are shown: {}", loaded.shown);
}

#[test]
fn headers_and_credentials_in_addresses_are_not_shown() {
    let text = r#"
[storage]
backend = "prometheus"
[storage.prometheus]
url = "http://localhost:9090"
headers = { X-Key = "secret-2" }
[[scrape]]
job = "found"
headers = { X-Key = "secret-3" }
[[scrape.http]]
url = "https://user:secret-4@sd.example/list?token=secret-5"
headers = { X-Key = "secret-6" }
"#;
    let loaded = load(text, &[]).unwrap_or_else(|e| panic!("{e}"));
    assert!(!loaded.shown.contains("secret-"), "{}", loaded.shown);
    assert!(loaded.shown.contains("https://<redacted>@sd.example/list?<redacted>"), "{}", loaded.shown);
    assert!(loaded.shown.contains("X-Key = \"<redacted>\""), "{}", loaded.shown);

    let yaml = loaded.shown_yaml();
    assert!(!yaml.contains("secret-"), "{yaml}");
    let read: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(read, loaded.shown_json());
    assert_eq!(read["storage"]["backend"], "prometheus");
    let scrape = &loaded.config.scrapes[0];
    let types::scrape::Discovery::Http { url, .. } = &scrape.discoveries[0] else { panic!("{scrape:?}") };
    assert_eq!(url, "https://user:secret-4@sd.example/list?token=secret-5");
    assert_eq!(scrape.http.headers[0].1, types::scrape::SecretSource::Text(SecretText("secret-3".into())));
}

#[test]
fn what_is_shown_beside_an_engine_is_what_is_in_effect_there() {
    let text = "[storage]\npath = \"/data\"\nbackend = \"prometheus\"\n\
                [storage.prometheus]\nurl = \"http://localhost:9090\"\n";
    let loaded = load(text, &[]).unwrap();
    let storage = &loaded.shown_json()["storage"];
    assert_eq!(storage["retention"], serde_json::Value::Null, "it is not in force");
    // Written out they are the same config.
    let said = |key: &str| format!("{key} = {}\n", storage[key]);
    let keys: String = ["local_retention", "queue_bytes", "query"].map(said).concat();
    let again = load(&text.replacen("\n", &format!("\n{keys}"), 1), &[]).unwrap();
    // Each is in a folder of its own.
    assert_eq!(
        types::Storage { path: loaded.config.storage.path.clone(), ..again.config.storage },
        loaded.config.storage
    );
    assert_eq!(again.shown, loaded.shown);
    let kept = load(&text.replacen("\n", "\nretention = \"9d\"\n", 1), &[]).unwrap();
    assert!(kept.shown.contains("retention = \"9d\""), "{}", kept.shown);
    let alone = load("", &[]).unwrap();
    assert!(!alone.shown.contains("local_retention"), "{}", alone.shown);
}

#[test]
fn a_step_of_downsampling_beyond_the_local_window_names_the_key_of_the_window() {
    let text = "[storage]\nbackend = \"prometheus\"\ndownsample = [{after = \"7d\", resolution = \"5m\"}]\n\
                [storage.prometheus]\nurl = \"http://localhost:9090\"\n";
    let told = load(text, &[]).unwrap_err().to_string();
    assert!(
        told.contains("is not within `local_retention` (6h)") && told.contains("raise `local_retention`"),
        "{told}"
    );
}

#[test]
fn samples_from_before_an_engine_are_kept_unless_the_config_says_for_how_long() {
    let before = |retention: &str| {
        let text = format!(
            "[storage]\nbackend = \"prometheus\"\n{retention}\n[storage.prometheus]\nurl = \"http://localhost:9090\"\n"
        );
        let loaded = load(&text, &[]).unwrap_or_else(|e| panic!("{e}"));
        let storage = &loaded.config.storage;
        assert_eq!(storage.retention, Some(Duration::from_secs(6 * 3600)), "what is here of the engine's");
        let warned = loaded.warnings.iter().any(|w| w.to_string().contains("`retention` is for samples from before"));
        (storage.remote.as_ref().unwrap().retention_before, warned)
    };
    assert_eq!(before(""), (None, false));
    assert_eq!(before("retention = \"forever\""), (None, true));
    assert_eq!(before("retention = \"30d\""), (Some(Duration::from_secs(30 * 86_400)), true));
}

/// The whole of what the documentation shows.
#[test]
fn a_full_config_becomes_values() {
    let text = r##"
[server]
listen = "127.0.0.1:8089"
[storage]
path = "data"
retention = "15d"
[collection]
interval = "10s"
timeout = "5s"

[[plugin]]
name = "host"
source = "builtin:collector-system"
interval = "5s"
config = { per_core = true }
grants = { system = ["cpu", "memory", "disk", "network", "process"] }
limits = { memory = "32MiB", call_time = "2s" }

[[plugin]]
name = "github"
source = "plugins/github.wasm"
grants = { http = ["https://api.github.com"] }
secrets = { token = { env = "GITHUB_TOKEN", for = ["https://api.github.com"] } }

[[channel]]
name = "ops"
handler = "builtin:handler-webhook"
config = { channel = "#alerts" }
grants = { http = ["https://hooks.slack.com"] }
secrets = { webhook = { file = "slack", for = ["https://hooks.slack.com"] } }
[route]
channel = "ops"
group_by = ["alertname"]
[[route.routes]]
matchers = ['severity="critical"']
channel = "ops"

[rules]
files = ["rules/*.yml"]
[[rule]]
name = "High CPU"
metric = "system_cpu_usage_percent"
condition = "greater_than"
threshold = 90.0
duration = "1m"
severity = "warning"

[[report]]
name = "Daily summary"
schedule = "0 9 * * *"
time_zone = "Europe/Berlin"
formats = ["html", "json"]
deliver = ["ops"]
[[report.section]]
plugin = "builtin:section-metrics"
config = { period = "24h" }
"##;
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in
        [("belfry.toml", text), ("plugins/github.wasm", ""), ("slack", "s"), ("rules/a.yml", ""), ("rules/b.yaml", "")]
    {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let input = input(Some(&folder.path().join("belfry.toml")), &[("GITHUB_TOKEN", "t")]);
    let loaded = Config::load(&input).unwrap_or_else(|e| panic!("{e}"));
    let config = loaded.config;
    let host = &config.plugins[0];
    assert_eq!((host.interval, host.timeout), (Duration::from_secs(5), Duration::from_secs(5)));
    assert_eq!(host.component.config, r#"{"per_core":true}"#);
    assert_eq!(host.component.limits.memory_bytes, Some(32 << 20));
    assert_eq!(config.plugins[1].component.source, Source::File(folder.path().join("plugins/github.wasm")));
    assert_eq!(config.plugins[1].component.secrets["token"].origins, ["https://api.github.com"]);
    assert_eq!(config.rule_files, [folder.path().join("rules/a.yml")]);
    assert_eq!((config.rules[0].condition, config.rules[0].threshold), (Condition::GreaterThan, 90.0));
    assert_eq!(config.rules[0].interval, Duration::from_secs(10));
    let report = &config.reports[0];
    assert_eq!(report.formats, [ReportFormat::Html, ReportFormat::Json]);
    assert_eq!((report.sections[0].title.as_str(), report.deliver[0].as_str()), ("Metrics", "ops"));
    assert!(loaded.warnings.is_empty());
}

#[test]
fn routes_inherit_from_their_parents() {
    let text = r#"
[[channel]]
name = "ops"
handler = "builtin:handler-console"
[[channel]]
name = "pager"
handler = "builtin:handler-console"
[route]
channel = "ops"
group_by = ["alertname", "job"]
repeat_interval = "1h"
[[route.routes]]
matchers = ['severity="critical"']
channel = "pager"
continue = true
group_wait = "0s"
  [[route.routes.routes]]
  matchers = ["team=~'x.*'"]
  repeat_interval = "2h"
"#;
    let route = load(&text.replace("\"team=~'x.*'\"", "'team=~\"x.*\"'"), &[]).unwrap_or_else(|e| panic!("{e}")).config;
    let route = route.route.unwrap();
    let child = &route.routes[0];
    assert!(child.continue_ && child.matchers.len() == 1);
    let grandchild = &child.routes[0];
    assert_eq!(grandchild.channel, "pager");
    assert_eq!(grandchild.group_by, ["alertname", "job"]);
    assert_eq!((grandchild.group_wait, grandchild.repeat_interval), (Duration::ZERO, Duration::from_secs(7200)));
    assert!(!grandchild.continue_);
}

#[test]
fn a_dropped_plugin_has_its_settings_beside_it_and_no_grants_without() {
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("extra.wasm");
    let ten_s = Duration::from_secs(10);
    let all = Collection { interval: ten_s, timeout: ten_s / 2, type_and_unit_labels: false };
    let load = || load_dropped(&component, &all, &BTreeMap::new());

    let plugin = load().unwrap().unwrap();
    assert_eq!((plugin.name.as_str(), plugin.interval), ("extra", Duration::from_secs(10)));
    assert_eq!(plugin.component.source, Source::File(component.clone()));
    assert_eq!(plugin.component.grants, Grants::default());

    let settings = folder.path().join("extra.toml");
    std::fs::write(&settings, "interval = \"2s\"\ngrants = { system = [\"cpu\"] }\nconfig = { a = 1 }").unwrap();
    let plugin = load().unwrap().unwrap();
    assert_eq!((plugin.interval, plugin.timeout), (Duration::from_secs(2), Duration::from_secs(2)));
    assert_eq!(plugin.component.grants.system, ["cpu"]);
    assert_eq!(plugin.component.config, r#"{"a":1}"#);

    std::fs::write(&settings, "enabled = false").unwrap();
    assert_eq!(load().unwrap(), None);
    std::fs::write(&settings, "intervall = 2\ngrants = { system = [\"gpu\"] }").unwrap();
    let text = load().unwrap_err().to_string();
    assert!(
        text.contains("extra.toml:1:1: error: unknown key `intervall`\n  help: did you mean `interval`?"),
        "{text}"
    );
    assert!(text.contains("extra.toml:2:22: error: `system` cannot be \"gpu\""), "{text}");
}

#[test]
fn the_digest_follows_the_content() {
    let digest = |text: &str, env: &[(&str, &str)]| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("digest");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("belfry.toml"), text).unwrap();
        Config::load(&input(Some(&folder.join("belfry.toml")), env)).unwrap().digest
    };
    let base = digest("", &[]);
    assert_eq!(base, digest("", &[("UNRELATED", "1")]));
    assert_ne!(base, digest("# more", &[]));
    assert_ne!(base, digest("", &[("BELFRY_STORAGE__PATH", "x")]));
}

#[test]
fn a_config_that_is_not_there_is_one_clear_problem() {
    let problems = Config::load(&input(Some(Path::new("/nowhere/belfry.toml")), &[])).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "/nowhere/belfry.toml: error: cannot read the config: there is no such file or folder\n  help: name another file with \
         --config, or leave it out for the built-in defaults"
    );
}

#[test]
fn the_schema_knows_every_section_and_refuses_unknown_keys() {
    let schema = belfry_config::schema();
    let properties = schema["properties"].as_object().unwrap();
    for key in ["server", "storage", "plugin", "channel", "route", "rule", "report", "telemetry"] {
        assert!(properties.contains_key(key), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["route"]["properties"]["routes"]["items"]["$ref"], "#/properties/route");
    assert_eq!(schema["properties"]["collection"]["properties"]["interval"]["default"], "10s");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_panics(text in "(\\[{0,2}[a-z.]{0,12}\\]{0,2}|[a-z_]{1,9} = [-0-9a-z\"'\\[\\]{},.$ ]{0,16}|.{0,30}|\n){0,12}") {
        let _ = load(&text, &BTreeMap::from([("A", "1")]).into_iter().collect::<Vec<_>>());
    }

    /// Real keys with values of every type: what is wrong is said, nothing panics.
    #[test]
    fn no_value_panics(
        key in prop::sample::select(vec![
            "server.listen", "server.auth", "storage.retention", "storage.fsync", "storage.series_limit", "collection.interval",
            "plugin", "channel", "route", "route.routes", "rules.files", "rule", "report", "telemetry.log_level", "smtp", "notify.retry",
        ]),
        value in prop::sample::select(vec![
            "1", "-1", "1.5", "true", "\"\"", "\"x\"", "\"${\"", "[]", "[1]", "[[]]", "{}", "[{}]", "[{ name = 1 }]",
            "[{ name = \"a\", routes = [{}], section = [{}], secrets = { a = {} }, grants = { http = [\"\"] } }]",
            "2020-01-01", "nan", "9223372036854775807",
        ]),
    ) {
        let _ = load(&format!("{key} = {value}"), &[]);
    }
}
