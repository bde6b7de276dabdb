//! Imports the scrape jobs of a `prometheus.yml`: prints `[[scrape]]` tables, and says with line numbers what could not
//! be carried over.
//!
//! Invariant: what is printed is read back by this crate and means the same, files that must be there aside; nothing is
//! left out in silence; what Prometheus refuses is refused, with its line.

mod http;
mod shapes;
mod targets;
mod yaml;

use std::collections::BTreeSet;
use std::path::Path;

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
const FLAGS: [(&str, &str, bool); 9] = [
    ("honor_labels", "honor_labels", false),
    ("honor_timestamps", "honor_timestamps", false),
    ("track_timestamps_staleness", "track_timestamps_staleness", false),
    ("follow_redirects", "follow_redirects", false),
    ("enable_compression", "compression", false),
    ("scrape_native_histograms", "native_histograms", true),
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

/// Reads a `prometheus.yml`. Its relative paths start in `folder`, and are printed from there. The error is the file's:
/// it is no YAML, or no such config.
pub fn import_prometheus(text: &str, folder: &Path) -> Result<Imported, (u32, String)> {
    let root = yaml::parse(text)?;
    if !matches!(root.kind, Kind::Map(_)) {
        return Err(root.fault("this is no Prometheus config: a mapping with `scrape_configs` is expected"));
    }
    let mut import = Import { out: String::new(), notes: Vec::new(), folder, global: root.get("global") };
    for (key, node) in root.entries("")? {
        match key {
            "global" => import.global(node)?,
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
        return Err(root.fault("there is no `scrape_configs`"));
    };
    let mut names = BTreeSet::new();
    for job in jobs.items("scrape_configs")? {
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
            let is_inherited = FLAGS.iter().any(|(theirs, _, global)| *global && *theirs == key)
                || LIMITS.iter().any(|(theirs, _)| *theirs == key);
            match key {
                "scrape_interval" | "scrape_timeout" => {}
                "evaluation_interval" => self.note(node, "`evaluation_interval`: set [rules] interval"),
                "external_labels" => self.note(node, "`external_labels`: set [rules] external_labels"),
                _ if is_inherited => {}
                other => self.note(node, format!("`global.{other}` has no counterpart")),
            }
        }
        Ok(())
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
        self.pace(job)?;
        self.plain(job)?;
        self.flags(job)?;
        self.limits(job)?;
        let mut read: Vec<&str> = PLAIN.to_vec();
        read.extend(FLAGS.map(|f| f.0));
        read.extend(LIMITS.map(|l| l.0));
        read.extend(targets::TABLES);
        self.http(job, &read)?;
        let has_targets = self.tables(job)?;
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
    fn pace(&mut self, job: &Node) -> Result<(), Fault> {
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
        Ok(())
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
                table.insert(name.to_owned(), list(&values.texts(name)?));
            }
            self.line("params", Toml::Table(table));
        }
        if let Some(node) = job.get("fallback_scrape_protocol") {
            let format = match node.text("fallback_scrape_protocol")? {
                t if t.starts_with("PrometheusText") => "text",
                t if t.starts_with("OpenMetricsText") => "openmetrics",
                "PrometheusProto" => "protobuf",
                other => return Err(node.fault(format!("`fallback_scrape_protocol`: `{other}` is not known"))),
            };
            self.line("fallback_format", string(format));
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

    fn limits(&mut self, job: &Node) -> Result<(), Fault> {
        let mut table = toml::Table::new();
        for (theirs, ours) in LIMITS {
            for from in [Some(job), self.global].into_iter().flatten() {
                let Some(node) = from.get(theirs) else { continue };
                let value = match theirs {
                    "body_size_limit" => node.size(theirs).map(|bytes| (bytes > 0).then(|| string(&size(bytes))))?,
                    _ => node.whole(theirs).map(|n| (n > 0).then_some(Toml::Integer(n)))?,
                };
                if let Some(value) = value {
                    table.insert(ours.to_owned(), value);
                    break;
                }
            }
        }
        if !table.is_empty() {
            self.line("limits", Toml::Table(table));
        }
        Ok(())
    }
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
