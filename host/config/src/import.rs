//! Imports the scrape jobs of a `prometheus.yml`: prints `[[scrape]]` tables, and says with line numbers what could not
//! be carried over.
//!
//! Invariant: what is printed is read back by this crate; nothing is left out in silence.

mod yaml;

use toml::Value as Toml;

use yaml::{Kind, Node};

/// What came of a `prometheus.yml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// `[[scrape]]` tables.
    pub toml: String,
    /// What was not carried over: line and reason, in order.
    pub notes: Vec<(u32, String)>,
}

/// Prometheus' own defaults, where a file has no `global`.
const INTERVAL: &str = "1m";
const TIMEOUT: &str = "10s";

/// Reads a `prometheus.yml`. The error is the file's: it is no YAML, or no such config.
pub fn import_prometheus(text: &str) -> Result<Imported, (u32, String)> {
    let root = yaml::parse(text)?;
    let mut import = Import { out: String::new(), notes: Vec::new() };
    if !matches!(root.kind, Kind::Map(_)) {
        return Err((
            root.line,
            "this is no Prometheus config: a mapping with `scrape_configs` is expected".to_owned(),
        ));
    }
    let (mut interval, mut timeout) = (INTERVAL.to_owned(), TIMEOUT.to_owned());
    for (key, node) in root.entries() {
        match key {
            "global" => {
                for (key, node) in node.entries() {
                    match key {
                        "scrape_interval" => interval = node.text().to_owned(),
                        "scrape_timeout" => timeout = node.text().to_owned(),
                        "evaluation_interval" => import.note(node, "`evaluation_interval`: set [rules] interval"),
                        "external_labels" => import.note(node, "`external_labels`: set [rules] external_labels"),
                        other => import.note(node, format!("`global.{other}`: set it in each [[scrape]]")),
                    }
                }
            }
            "scrape_configs" => {}
            "rule_files" => import.note(node, "`rule_files`: list them in [rules] files"),
            "scrape_config_files" => import.note(node, "`scrape_config_files`: import each of those files"),
            "alerting" => {
                import.note(node, "`alerting`: Belfry delivers alerts itself, through [[channel]] and [route]")
            }
            other => import.note(node, format!("`{other}` is no part of scraping")),
        }
    }
    let Some(jobs) = root.get("scrape_configs") else {
        return Err((root.line, "there is no `scrape_configs`".to_owned()));
    };
    for job in jobs.items() {
        import.job(job, &interval, &timeout);
    }
    import.notes.sort();
    Ok(Imported { toml: import.out, notes: import.notes })
}

struct Import {
    out: String,
    notes: Vec<(u32, String)>,
}

impl Import {
    fn note(&mut self, node: &Node, what: impl Into<String>) {
        self.notes.push((node.line, what.into()));
    }

    fn line(&mut self, key: &str, value: Toml) {
        let key = Toml::Table([(key.to_owned(), value)].into_iter().collect()).to_string();
        let inner = key.trim().strip_prefix('{').and_then(|k| k.strip_suffix('}')).unwrap_or(&key);
        self.out.push_str(inner.trim());
        self.out.push('\n');
    }

    fn job(&mut self, job: &Node, interval: &str, timeout: &str) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out.push_str("[[scrape]]\n");
        let own = |key: &str, or: &str| job.get(key).map_or(or, Node::text).to_owned();
        let (interval, timeout) = (own("scrape_interval", interval), own("scrape_timeout", timeout));
        self.line("job", string(&own("job_name", "")));
        self.line("interval", string(&interval));
        // As Prometheus does where only the interval was shortened.
        let longer = |a: &str, b: &str| {
            let read = belfry_model::duration::parse_duration;
            read(a).ok().zip(read(b).ok()).is_some_and(|(a, b)| a > b)
        };
        let shortened = job.get("scrape_timeout").is_none() && longer(&timeout, &interval);
        self.line("timeout", string(if shortened { &interval } else { &timeout }));
        let mut limits = Vec::new();
        for (key, node) in job.entries() {
            match key {
                "job_name" | "scrape_interval" | "scrape_timeout" => {}
                "metrics_path" => self.line("path", string(node.text())),
                "scheme" => self.line("scheme", string(node.text())),
                "params" => self.line("params", params(node)),
                "honor_labels" | "honor_timestamps" | "track_timestamps_staleness" | "follow_redirects" => {
                    self.boolean(key, node);
                }
                "enable_compression" => self.boolean("compression", node),
                "scrape_native_histograms" => self.boolean("native_histograms", node),
                "scrape_classic_histograms" | "always_scrape_classic_histograms" => {
                    self.boolean("classic_histograms", node);
                }
                "extra_scrape_metrics" => self.boolean("extra_metrics", node),
                "fallback_scrape_protocol" => self.fallback(node),
                "body_size_limit" => limits.push(("body_size", string(&binary_size(node.text())))),
                "sample_limit" => limits.extend(self.count("samples", node)),
                "label_limit" => limits.extend(self.count("labels", node)),
                "label_name_length_limit" => limits.extend(self.count("label_name", node)),
                "label_value_length_limit" => limits.extend(self.count("label_value", node)),
                "target_limit" => limits.extend(self.count("targets", node)),
                // Written below, after the plain keys.
                "relabel_configs"
                | "metric_relabel_configs"
                | "static_configs"
                | "file_sd_configs"
                | "dns_sd_configs"
                | "http_sd_configs" => {}
                other => self.http_key(other, node),
            }
        }
        if !limits.is_empty() {
            let table = limits.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            self.line("limits", Toml::Table(table));
        }
        self.tables(job);
    }

    fn boolean(&mut self, key: &str, node: &Node) {
        match node.text() {
            "true" => self.line(key, Toml::Boolean(true)),
            "false" => self.line(key, Toml::Boolean(false)),
            other => self.note(node, format!("`{key}`: `{other}` is neither true nor false")),
        }
    }

    fn count(&mut self, key: &'static str, node: &Node) -> Option<(&'static str, Toml)> {
        let number = node.text().parse().ok().map(|n| (key, Toml::Integer(n)));
        if number.is_none() {
            self.note(node, format!("`{}` is no whole number", node.text()));
        }
        number
    }

    fn fallback(&mut self, node: &Node) {
        let format = match node.text() {
            t if t.starts_with("PrometheusText") => "text",
            t if t.starts_with("OpenMetricsText") => "openmetrics",
            "PrometheusProto" => "protobuf",
            other => return self.note(node, format!("`fallback_scrape_protocol`: `{other}` is not known")),
        };
        self.line("fallback_format", string(format));
    }

    /// Keys that a job has in common with HTTP discovery.
    fn http_key(&mut self, key: &str, node: &Node) {
        let renamed = |names: &[(&str, &str)], node: &Node| {
            let known = node.entries().filter_map(|(k, n)| {
                let to = names.iter().find(|(from, _)| *from == k)?.1;
                Some((to.to_owned(), scalar(n)))
            });
            Toml::Table(known.collect())
        };
        match key {
            "basic_auth" => {
                self.unknown(node, &["username", "password", "password_file"]);
                let names = [("username", "username"), ("password", "password"), ("password_file", "password_file")];
                self.line("basic_auth", renamed(&names, node));
            }
            "authorization" => {
                self.unknown(node, &["type", "credentials", "credentials_file"]);
                let names = [("type", "type"), ("credentials", "token"), ("credentials_file", "token_file")];
                self.line("authorization", renamed(&names, node));
            }
            "bearer_token" | "bearer_token_file" => {
                let key = if key == "bearer_token" { "token" } else { "token_file" };
                self.line("authorization", Toml::Table([(key.to_owned(), string(node.text()))].into_iter().collect()));
            }
            "tls_config" => {
                let names = ["ca_file", "cert_file", "key_file", "server_name", "insecure_skip_verify"];
                self.unknown(node, &names);
                self.line("tls", renamed(&names.map(|n| (n, n)), node));
            }
            "http_headers" => self.headers(node),
            "enable_http2" => {}
            other if other.ends_with("_sd_configs") => {
                let kind = other.trim_end_matches("_sd_configs");
                let help = "write its targets to a file ([[scrape.file]]) or serve them ([[scrape.http]])";
                self.note(node, format!("discovery by {kind} is not there: {help}"));
            }
            other => self.note(node, format!("`{other}` has no counterpart")),
        }
    }

    fn unknown(&mut self, node: &Node, known: &[&str]) {
        for (key, node) in node.entries().filter(|(k, _)| !known.contains(k)) {
            self.notes.push((node.line, format!("`{key}` has no counterpart")));
        }
    }

    fn headers(&mut self, node: &Node) {
        let (mut plain, mut files) = (toml::Table::new(), toml::Table::new());
        for (name, header) in node.entries() {
            for (kind, values) in header.entries() {
                match (kind, values.items().count(), values.items().next()) {
                    ("values", 1, Some(value)) => drop(plain.insert(name.to_owned(), string(value.text()))),
                    ("files", 1, Some(file)) => {
                        let table = [("file".to_owned(), string(file.text()))].into_iter().collect();
                        files.insert(name.to_owned(), Toml::Table(table));
                    }
                    ("secrets", ..) => {
                        self.note(
                            values,
                            format!("the secret header `{name}`: use secret_headers with a file or variable"),
                        );
                    }
                    _ => self.note(values, format!("the header `{name}`: one value can be carried over")),
                }
            }
        }
        for (key, table) in [("headers", plain), ("secret_headers", files)] {
            if !table.is_empty() {
                self.line(key, Toml::Table(table));
            }
        }
    }

    fn tables(&mut self, job: &Node) {
        let each = |key: &str| job.get(key).into_iter().flat_map(Node::items);
        for group in each("static_configs") {
            self.unknown(group, &["targets", "labels"]);
            self.out.push_str("[[scrape.static]]\n");
            self.line("targets", group.get("targets").map_or(Toml::Array(Vec::new()), list));
            if let Some(labels) = group.get("labels") {
                self.line(
                    "labels",
                    Toml::Table(labels.entries().map(|(k, n)| (k.to_owned(), string(n.text()))).collect()),
                );
            }
        }
        for found in each("file_sd_configs") {
            self.unknown(found, &["files", "refresh_interval"]);
            self.out.push_str("[[scrape.file]]\n");
            self.line("files", found.get("files").map_or(Toml::Array(Vec::new()), list));
            self.refresh(found);
        }
        for found in each("dns_sd_configs") {
            self.unknown(found, &["names", "type", "port", "refresh_interval"]);
            self.out.push_str("[[scrape.dns]]\n");
            self.line("names", found.get("names").map_or(Toml::Array(Vec::new()), list));
            if let Some(kind) = found.get("type") {
                self.line("type", string(kind.text()));
            }
            if let Some(port) = found.get("port").and_then(|p| self.count("port", p)) {
                self.line("port", port.1);
            }
            self.refresh(found);
        }
        for found in each("http_sd_configs") {
            self.out.push_str("[[scrape.http]]\n");
            for (key, node) in found.entries() {
                match key {
                    "url" => self.line("url", string(node.text())),
                    "refresh_interval" => self.refresh(found),
                    "follow_redirects" => self.boolean(key, node),
                    other => self.http_key(other, node),
                }
            }
        }
        for (from, to) in [("relabel_configs", "relabel"), ("metric_relabel_configs", "metric_relabel")] {
            for rule in each(from) {
                self.rule(to, rule);
            }
        }
    }

    fn refresh(&mut self, node: &Node) {
        if let Some(every) = node.get("refresh_interval") {
            self.line("refresh", string(every.text()));
        }
    }

    fn rule(&mut self, to: &str, rule: &Node) {
        self.out.push_str(&format!("[[scrape.{to}]]\n"));
        for (key, node) in rule.entries() {
            match key {
                "source_labels" => self.line(key, list(node)),
                "modulus" => drop(self.count("modulus", node).map(|(k, n)| self.line(k, n))),
                "action" => self.line(key, string(&node.text().to_lowercase())),
                "separator" | "regex" | "target_label" | "replacement" => self.line(key, string(node.text())),
                other => self.note(node, format!("`{other}` has no counterpart in a rule")),
            }
        }
    }
}

/// A string for our config, where `${VAR}` would be filled in.
fn string(text: &str) -> Toml {
    Toml::String(text.replace("${", "$${"))
}

fn scalar(node: &Node) -> Toml {
    match node.text() {
        "true" => Toml::Boolean(true),
        "false" => Toml::Boolean(false),
        text => string(text),
    }
}

fn list(node: &Node) -> Toml {
    Toml::Array(node.items().map(|n| string(n.text())).collect())
}

fn params(node: &Node) -> Toml {
    Toml::Table(node.entries().map(|(name, values)| (name.to_owned(), list(values))).collect())
}

/// Prometheus' `15MB` is 15 MiB.
fn binary_size(text: &str) -> String {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    match unit.trim_end_matches('B') {
        "" => number.to_owned(),
        prefix => format!("{number}{}iB", prefix.trim_end_matches('i')),
    }
}

#[cfg(test)]
mod tests;
