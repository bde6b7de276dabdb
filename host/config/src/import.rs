//! Imports the scrape jobs of a `prometheus.yml`: prints `[[scrape]]` tables, and says with line numbers what could not
//! be carried over.
//!
//! Invariant: what is printed is read back by this crate and means the same, files that must be there aside; nothing is
//! left out in silence; what Prometheus refuses is refused, with its line.

mod elsewhere;
mod http;
mod protocols;
mod shapes;
mod targets;
mod yaml;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use belfry_model::duration::parse_duration;
use toml::Value as Toml;

use crate::read::INTERVAL_MIN;
use shapes::Fault;
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

/// Theirs, ours, and whether `global` has it too. A later row is an older name.
const FLAGS: [(&str, &str, bool); 8] = [
    ("honor_labels", "honor_labels", false),
    ("honor_timestamps", "honor_timestamps", false),
    ("track_timestamps_staleness", "track_timestamps_staleness", false),
    ("follow_redirects", "follow_redirects", false),
    ("enable_compression", "compression", false),
    ("always_scrape_classic_histograms", "classic_histograms", true),
    ("scrape_classic_histograms", "classic_histograms", false),
    ("extra_scrape_metrics", "extra_metrics", true),
];

/// Theirs and ours; `global` has them all, and a job's 0 is that of `global`.
const LIMITS: [(&str, &str); 6] = [
    ("body_size_limit", "body_size"),
    ("sample_limit", "samples"),
    ("label_limit", "labels"),
    ("label_name_length_limit", "label_name"),
    ("label_value_length_limit", "label_value"),
    ("target_limit", "targets"),
];

/// Keys of a job that are no table of their own here, beside those above.
const PLAIN: [&str; 7] =
    ["job_name", "scrape_interval", "scrape_timeout", "metrics_path", "scheme", "params", "fallback_scrape_protocol"];

/// Keys of Prometheus that are neither carried over nor a mistake. It refuses what it does not know.
const TOP_ELSEWHERE: [&str; 6] = ["runtime", "storage", "tracing", "remote_write", "remote_read", "otlp"];
const GLOBAL_ELSEWHERE: [&str; 7] = [
    "rule_query_offset",
    "query_log_file",
    "scrape_failure_log_file",
    "keep_dropped_targets",
    "metric_name_validation_scheme",
    "metric_name_escaping_scheme",
    "convert_classic_histograms_to_nhcb",
];
const JOB_ELSEWHERE: [&str; 7] = [
    "scrape_failure_log_file",
    "keep_dropped_targets",
    "metric_name_validation_scheme",
    "metric_name_escaping_scheme",
    "convert_classic_histograms_to_nhcb",
    "native_histogram_bucket_limit",
    "native_histogram_min_bucket_factor",
];

const ESCAPING: [&str; 4] = ["allow-utf-8", "underscores", "dots", "values"];

/// The bounds that `limits` cannot lift.
const BOUNDS_KEPT: &str = "series without a bound: Belfry keeps at most [storage] series_limit in all (1000000 unless it is \
                           set), of at most 128 labels each, with names and values of at most 8192 bytes";

const NO_JOBS: &str = "there are no scrape jobs in it, so nothing is printed";

/// Reads a `prometheus.yml`. Its relative paths start in `folder`, and are printed from there. The error is the file's:
/// it is no YAML, or no such config.
pub fn import_prometheus(text: &str, folder: &Path) -> Result<Imported, (u32, String)> {
    let root = yaml::parse(text)?;
    // Nothing is a config of defaults there.
    if !matches!(root.kind, Kind::Map(_) | Kind::Null) {
        return Err(root.fault("this is no Prometheus config: a mapping with `scrape_configs` is expected"));
    }
    let mut import = Import { out: String::new(), notes: Vec::new(), folder, global: root.get("global") };
    for (key, node) in root.entries("")? {
        elsewhere::check(key, node)?;
        match key {
            "global" => import.global(node)?,
            "scrape_configs" => {}
            "rule_files" => import.note(node, "`rule_files`: list them in [rules] files"),
            "scrape_config_files" => import.note(node, "`scrape_config_files`: import each of those files"),
            "alerting" => {
                import.note(node, "`alerting`: Belfry delivers alerts itself, through [[channel]] and [route]")
            }
            other if TOP_ELSEWHERE.contains(&other) => {
                import.note(node, format!("`{other}` is no part of scraping"));
            }
            other => return Err(node.fault(format!("`{other}` is not known to Prometheus: mend or remove it"))),
        }
    }
    let jobs = root.get("scrape_configs").unwrap_or(&root);
    let each = match root.get("scrape_configs") {
        Some(jobs) => jobs.items("scrape_configs")?,
        None => Vec::new(),
    };
    import.note(jobs, if each.is_empty() { NO_JOBS } else { BOUNDS_KEPT });
    let mut names = BTreeSet::new();
    for job in each {
        let name = import.job(job)?;
        if !names.insert(name.clone()) {
            return Err(job.fault(format!("two jobs are named `{name}`: rename one")));
        }
    }
    import.notes.sort();
    Ok(Imported { toml: import.out, notes: import.notes })
}

struct Import<'a> {
    out: String,
    notes: Vec<(u32, String)>,
    folder: &'a Path,
    global: Option<&'a Node>,
}

impl Import<'_> {
    fn note(&mut self, node: &Node, what: impl Into<String>) {
        self.notes.push((node.line, what.into()));
    }

    fn line(&mut self, key: &str, value: Toml) {
        let key = Toml::Table([(key.to_owned(), value)].into_iter().collect()).to_string();
        let inner = key.trim().strip_prefix('{').and_then(|k| k.strip_suffix('}')).unwrap_or(&key);
        self.out.push_str(inner.trim());
        self.out.push('\n');
    }

    fn absolute(&self, path: &str) -> Toml {
        string(&self.folder.join(path).to_string_lossy())
    }

    /// A path; an empty one is none.
    fn path(&self, node: &Node, key: &str) -> Result<Option<Toml>, Fault> {
        let text = node.text(key)?;
        Ok((!text.is_empty()).then(|| self.absolute(text)))
    }

    fn global(&mut self, global: &Node) -> Result<(), Fault> {
        for (key, node) in global.entries("global")? {
            elsewhere::check(key, node)?;
            let is_inherited = protocols::KEYS.contains(&key)
                || FLAGS.iter().any(|(theirs, _, global)| *global && *theirs == key)
                || LIMITS.iter().any(|(theirs, _)| *theirs == key);
            match key {
                "scrape_interval" | "scrape_timeout" => {}
                "evaluation_interval" => self.note(node, "`evaluation_interval`: set [rules] interval"),
                "external_labels" => self.note(node, "`external_labels`: set [rules] external_labels"),
                _ if is_inherited => {}
                other if GLOBAL_ELSEWHERE.contains(&other) => {
                    self.note(node, format!("`global.{other}` has no counterpart"));
                }
                other => return Err(node.fault(format!("`global.{other}` is not known to Prometheus"))),
            }
        }
        words(global)
    }

    /// Answers its name. A job whose targets are found by nothing that is here is printed as a comment: as a table it
    /// would be refused, and all others with it.
    fn job(&mut self, job: &Node) -> Result<String, Fault> {
        let entries = job.entries("scrape_configs")?;
        let Some(name) = job.get("job_name") else {
            return Err(job.fault("`job_name` is missing: name each job"));
        };
        let name = name.text("job_name")?;
        if name.trim().is_empty() {
            return Err(job.fault("`job_name` is empty: name each job"));
        }
        let before = std::mem::take(&mut self.out);
        self.out.push_str("[[scrape]]\n");
        self.line("job", string(name));
        let pace = self.pace(job)?;
        words(job)?;
        elsewhere::check_names(self.global, job)?;
        http::check_job_tls(job)?;
        self.plain(job)?;
        self.flags(job)?;
        self.protocols(job)?;
        self.limits(job)?;
        let mut read: Vec<&str> = PLAIN.to_vec();
        read.extend(FLAGS.map(|f| f.0));
        read.extend(protocols::KEYS);
        read.extend(LIMITS.map(|l| l.0));
        read.extend(targets::TABLES);
        self.http(job, &read, &JOB_ELSEWHERE)?;
        let has_targets = self.tables(job, pace)?;
        let text = std::mem::replace(&mut self.out, before);
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        if has_targets {
            self.out.push_str(&text);
        } else {
            let at = entries.iter().find(|(key, _)| key.ends_with("_sd_configs")).map_or(job, |(_, node)| node);
            self.note(
                at,
                format!("the job `{name}` has no targets that can be carried over: it is printed as a comment"),
            );
            self.out.push_str(
                "# Without targets: add [[scrape.static]], [[scrape.file]], [[scrape.dns]] or [[scrape.http]].\n",
            );
            for line in text.lines() {
                self.out.push_str(&format!("# {line}\n"));
            }
        }
        Ok(name.to_owned())
    }

    /// 0 is what is not set, as with Prometheus, and a time-out that was not set is never longer than the interval.
    fn pace(&mut self, job: &Node) -> Result<Pace, Fault> {
        let set = |table: Option<&Node>, key: &str| match table.and_then(|t| t.get(key)) {
            Some(node) => {
                let (text, duration) = node.duration(key)?;
                Ok((!duration.is_zero()).then(|| (text.to_owned(), duration, node.line)))
            }
            None => Ok::<_, Fault>(None),
        };
        let default = |text: &str| (text.to_owned(), parse_duration(text).unwrap_or(INTERVAL_MIN), 0);
        let mut interval = default(INTERVAL);
        let mut timeout = default(TIMEOUT);
        for table in [self.global, Some(job)] {
            interval = set(table, "scrape_interval")?.unwrap_or(interval);
            match set(table, "scrape_timeout")? {
                Some(own) if own.1 > interval.1 => {
                    let message =
                        format!("`scrape_timeout` ({}) is longer than `scrape_interval` ({})", own.0, interval.0);
                    return Err((own.2, format!("{message}: lower it")));
                }
                Some(own) => timeout = own,
                None if timeout.1 > interval.1 => timeout = interval.clone(),
                None => {}
            }
        }
        if interval.1 < INTERVAL_MIN {
            self.notes.push((interval.2, format!("`scrape_interval`: {} is too short: 100ms is printed", interval.0)));
            interval.0 = "100ms".to_owned();
        }
        self.line("interval", string(&interval.0));
        self.line("timeout", string(&timeout.0));
        Ok(Pace { interval: interval.1, timeout: timeout.1 })
    }

    fn plain(&mut self, job: &Node) -> Result<(), Fault> {
        if let Some(node) = job.get("metrics_path") {
            let path = node.text("metrics_path")?;
            // Prometheus puts the slash there itself.
            let slash = if path.starts_with('/') { "" } else { "/" };
            self.line("path", string(&format!("{slash}{path}")));
        }
        if let Some(node) = job.get("scheme") {
            let scheme = node.text("scheme")?.to_lowercase();
            match scheme.as_str() {
                "" => {}
                "http" | "https" => self.line("scheme", string(&scheme)),
                _ => return Err(node.fault(format!("`scheme`: `{scheme}` is neither http nor https"))),
            }
        }
        if let Some(node) = job.get("params") {
            let mut table = toml::Table::new();
            for (name, values) in node.entries("params")? {
                table.insert(name.to_owned(), list(&values.texts_or_empty(name)?));
            }
            self.line("params", Toml::Table(table));
        }
        if let Some(node) = job.get("fallback_scrape_protocol") {
            match node.text("fallback_scrape_protocol")? {
                "" => {}
                "PrometheusText0.0.4" | "PrometheusText1.0.0" => self.line("fallback_format", string("text")),
                "OpenMetricsText0.0.1" | "OpenMetricsText1.0.0" => self.line("fallback_format", string("openmetrics")),
                "PrometheusProto" => self.line("fallback_format", string("protobuf")),
                other => return Err(node.fault(format!("`fallback_scrape_protocol`: `{other}` is not known"))),
            }
        }
        Ok(())
    }

    fn flags(&mut self, job: &Node) -> Result<(), Fault> {
        let mut written = BTreeSet::new();
        for (theirs, ours, is_global) in FLAGS {
            let inherited = || self.global.filter(|_| is_global).and_then(|g| g.get(theirs));
            let Some(node) = job.get(theirs).or_else(inherited) else { continue };
            let value = node.flag(theirs)?;
            if written.insert(ours) {
                self.line(ours, Toml::Boolean(value));
            } else {
                self.note(node, format!("`{theirs}`: a newer name of it is set, too"));
            }
        }
        Ok(())
    }

    /// What is not set is no bound there, and told to be none here, where some are set unless told otherwise.
    fn limits(&mut self, job: &Node) -> Result<(), Fault> {
        let mut table: toml::Table =
            [("body_size".to_owned(), string("0")), ("series".to_owned(), Toml::Integer(0))].into_iter().collect();
        for (theirs, ours) in LIMITS {
            for from in [Some(job), self.global].into_iter().flatten() {
                let Some(node) = from.get(theirs) else { continue };
                let value = match theirs {
                    "body_size_limit" => node.size(theirs).map(|bytes| (bytes > 0).then(|| string(&size(bytes))))?,
                    // There are more numbers of theirs than of TOML's: all of those are none.
                    _ => node
                        .count(theirs)
                        .map(|n| (n > 0).then(|| i64::try_from(n).unwrap_or(i64::MAX)))?
                        .map(Toml::Integer),
                };
                if let Some(value) = value {
                    table.insert(ours.to_owned(), value);
                    break;
                }
            }
        }
        self.line("limits", Toml::Table(table));
        Ok(())
    }
}

/// How often and for how long a job's targets are asked, before their labels say otherwise.
#[derive(Clone, Copy)]
struct Pace {
    interval: Duration,
    timeout: Duration,
}

/// Values of `global` or a job that are not carried over, but must be known.
fn words(table: &Node) -> Result<(), Fault> {
    for (key, known) in
        [("metric_name_validation_scheme", &["utf8", "legacy"][..]), ("metric_name_escaping_scheme", &ESCAPING[..])]
    {
        if let Some(node) = table.get(key) {
            let text = node.text(key)?;
            if !text.is_empty() && !known.contains(&text) {
                return Err(node.fault(format!("`{key}`: `{text}` is none of {}", known.join(", "))));
            }
        }
    }
    protocols::check(table)
}

/// A string for our config, where `${VAR}` would be filled in.
fn string(text: &str) -> Toml {
    Toml::String(text.replace("${", "$${"))
}

fn list(texts: &[&str]) -> Toml {
    Toml::Array(texts.iter().map(|t| string(t)).collect())
}

fn size(bytes: u64) -> String {
    [("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .iter()
        .find(|(_, bits)| bytes.trailing_zeros() >= *bits)
        .map_or_else(|| bytes.to_string(), |(unit, bits)| format!("{}{unit}", bytes >> bits))
}

#[cfg(test)]
mod tests;
