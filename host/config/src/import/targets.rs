//! The tables of a job: where its targets come from, and its rules.

use std::time::Duration;

use belfry_model::duration::parse_duration;
use toml::Value as Toml;

use super::elsewhere::go_url_fault;
use super::shapes::Fault;
use super::yaml::Node;
use super::{Import, Pace, list, string};
use crate::keys::scrape::RELABEL_ACTIONS;
use crate::read::{needs_target_label, regex_fault};

/// What is written here.
pub(super) const TABLES: [&str; 6] = [
    "relabel_configs",
    "metric_relabel_configs",
    "static_configs",
    "file_sd_configs",
    "dns_sd_configs",
    "http_sd_configs",
];

/// Prometheus refuses keys that it does not know.
fn known(node: &Node, key: &str, known: &[&str]) -> Result<(), Fault> {
    match node.entries(key)?.into_iter().find(|(k, _)| !known.contains(k)) {
        Some((other, node)) => Err(node.fault(format!("`{other}` is not known to Prometheus in `{key}`"))),
        None => Ok(()),
    }
}

/// A browser would take more for one: blanks around it, and `http:a`.
fn is_web_address(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once("://") else { return false };
    ["http", "https"].iter().any(|s| scheme.eq_ignore_ascii_case(s))
        && go_url_fault(text).is_none()
        // Not `http:///x`, of which a browser makes `http://x`.
        && !text.get(scheme.len() + 3..).is_none_or(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
        && url::Url::parse(text).is_ok_and(|u| u.has_host())
}

/// Keys of a rule and what they may say where they have no use.
const RULE_DEFAULTS: [(&str, &str); 6] = [
    ("source_labels", ""),
    ("separator", ";"),
    ("regex", ""),
    ("modulus", "0"),
    ("target_label", ""),
    ("replacement", "$1"),
];

/// Keys that these actions have no use for, and that Prometheus takes for a mistake.
fn refuse_useless(action: &str, rule: &Node) -> Result<(), Fault> {
    let used: &[&str] = match action {
        "labeldrop" | "labelkeep" => &["regex"],
        "keepequal" | "dropequal" => &["source_labels", "target_label"],
        _ => return Ok(()),
    };
    for (key, default) in RULE_DEFAULTS {
        let Some(node) = rule.get(key).filter(|_| !used.contains(&key)) else { continue };
        let is_default = match key {
            "modulus" => node.whole(key)? == 0,
            // Set is set there, whatever they are.
            "source_labels" | "regex" => false,
            _ => node.text(key)? == default,
        };
        if !is_default {
            return Err(
                node.fault(format!("`{key}`: `{action}` has no use for it, and takes only {}", used.join(", ")))
            );
        }
    }
    Ok(())
}

/// What a label of all targets of a static group is, as far as it can be told without a target.
enum Told<'a> {
    /// Nothing says so.
    Not,
    /// This text, of this line.
    To(&'a str, u32),
    /// It depends on the target.
    Unknown,
}

/// Labels, and rules that ask for nothing, may say how targets are asked; what cannot be is refused, as `promtool` does.
fn check_static(group: &Node, rules: &[&Node], pace: Pace) -> Result<(), Fault> {
    if group.get("targets").map_or(Ok(Vec::new()), |n| n.items("targets"))?.is_empty() {
        return Ok(());
    }
    let address = told(group, rules, "__address__")?;
    if let Told::To("", line) = address {
        return Err((line, "`__address__` is made empty: a target needs an address".to_owned()));
    }
    let duration = |label: &str, otherwise: Duration| {
        Ok::<_, Fault>(match told(group, rules, label)? {
            Told::Not => Some((otherwise, None)),
            Told::To(text, line) => match parse_duration(text) {
                Ok(duration) if !duration.is_zero() => Some((duration, Some(line))),
                _ => return Err((line, format!("`{label}`: `{text}` is no duration from 1ms on"))),
            },
            Told::Unknown => None,
        })
    };
    let interval = duration("__scrape_interval__", pace.interval)?;
    let timeout = duration("__scrape_timeout__", pace.timeout)?;
    if let (Some((interval, of_interval)), Some((timeout, of_timeout))) = (interval, timeout)
        && timeout > interval
    {
        let line = of_timeout.or(of_interval).unwrap_or(group.line);
        let message = "the labels make `__scrape_timeout__` longer than `__scrape_interval__`: lower it";
        return Err((line, message.to_owned()));
    }
    Ok(())
}

fn told<'a>(group: &'a Node, rules: &[&'a Node], label: &str) -> Result<Told<'a>, Fault> {
    let mut told = match group.get("labels").and_then(|labels| labels.get(label)) {
        // A target is its address.
        _ if label == "__address__" => Told::Unknown,
        Some(node) if !node.text(label)?.is_empty() => Told::To(node.text(label)?, node.line),
        _ => Told::Not,
    };
    for rule in rules {
        let text = |key: &str, default: &'static str| rule.get(key).map_or(Ok(default), |n| n.text(key));
        let action = text("action", "replace")?.to_lowercase();
        let target = text("target_label", "")?;
        told = match action.as_str() {
            // Whether a target is kept is not looked at: one that is not kept is not asked.
            "keep" | "drop" | "keepequal" | "dropequal" => return Ok(Told::Unknown),
            "labelmap" | "labeldrop" | "labelkeep" => return Ok(Told::Unknown),
            _ if target.contains('$') => return Ok(Told::Unknown),
            _ if target != label => told,
            "replace" => {
                let asks = rule.get("source_labels").is_some() || rule.get("regex").is_some();
                match rule.get("replacement") {
                    Some(node) if !asks && !node.text("replacement")?.contains('$') => {
                        Told::To(node.text("replacement")?, node.line)
                    }
                    // What is not there is empty, and an empty label is none.
                    None if !asks => Told::To("", rule.line),
                    _ => return Ok(Told::Unknown),
                }
            }
            _ => return Ok(Told::Unknown),
        };
    }
    Ok(told)
}

impl Import<'_> {
    /// Are there any targets?
    pub(super) fn tables(&mut self, job: &Node, pace: Pace) -> Result<bool, Fault> {
        let each = |key: &str| job.get(key).map_or(Ok(Vec::new()), |n| n.items(key));
        let is_relabelled = !each("relabel_configs")?.is_empty();
        let begin = self.out.len();
        for group in each("static_configs")? {
            self.group(group, is_relabelled)?;
            check_static(group, &each("relabel_configs")?, pace)?;
        }
        for found in each("file_sd_configs")? {
            self.files(found)?;
        }
        for found in each("dns_sd_configs")? {
            self.dns(found)?;
        }
        for found in each("http_sd_configs")? {
            self.out.push_str("[[scrape.http]]\n");
            let Some(url) = found.get("url") else {
                return Err(found.fault("`url` is missing: say where the targets are listed"));
            };
            let text = url.text("url")?;
            if !is_web_address(text) {
                return Err(
                    url.fault(format!("`url`: `{text}` is not an address; write it like http://localhost:8000/x"))
                );
            }
            self.line("url", string(text));
            self.refresh(found)?;
            if let Some(node) = found.get("follow_redirects") {
                self.line("follow_redirects", Toml::Boolean(node.flag("follow_redirects")?));
            }
            self.http(found, &["url", "refresh_interval", "follow_redirects"], &[])?;
        }
        let has_targets = self.out.len() > begin;
        for (from, to) in [("relabel_configs", "relabel"), ("metric_relabel_configs", "metric_relabel")] {
            for rule in each(from)? {
                self.rule(to, rule)?;
            }
        }
        Ok(has_targets)
    }

    fn group(&mut self, group: &Node, is_relabelled: bool) -> Result<(), Fault> {
        known(group, "static_configs", &["targets", "labels"])?;
        let mut targets = Vec::new();
        for target in group.get("targets").map_or(Ok(Vec::new()), |n| n.items("targets"))? {
            let text = target.text("targets")?;
            if text.trim().is_empty() {
                self.note(target, "an empty target");
                continue;
            }
            if text.contains('/') && !is_relabelled {
                let help = "write host and port alone, and the rest as `scheme` and `metrics_path`";
                return Err(target.fault(format!("the target `{text}` is no host with a port: {help}")));
            }
            targets.push(text);
        }
        self.out.push_str("[[scrape.static]]\n");
        self.line("targets", list(&targets));
        let mut labels = toml::Table::new();
        for (name, node) in group.get("labels").map_or(Ok(Vec::new()), |n| n.entries("labels"))? {
            if name.is_empty() {
                return Err(node.fault("a label has no name: give it one, or remove it"));
            }
            labels.insert(name.to_owned(), string(node.text(name)?));
        }
        if !labels.is_empty() {
            self.line("labels", Toml::Table(labels));
        }
        Ok(())
    }

    fn files(&mut self, found: &Node) -> Result<(), Fault> {
        known(found, "file_sd_configs", &["files", "refresh_interval"])?;
        let mut files = Vec::new();
        let items = found.get("files").map_or(Ok(Vec::new()), |n| n.items("files"))?;
        if items.is_empty() {
            return Err(found.fault("`files` is missing: name at least one file of targets"));
        }
        for file in items {
            let text = file.text("files")?;
            let is_known = |ends: [&str; 3]| ends.iter().any(|e| text.ends_with(e));
            if text.rsplit_once('/').is_some_and(|(folder, _)| folder.contains('*')) {
                return Err(file.fault(format!("`{text}`: `*` may stand in the file's name alone")));
            } else if is_known([".json", ".yml", ".yaml"]) {
                files.push(self.absolute(text));
            } else if is_known([".JSON", ".YML", ".YAML"]) {
                self.note(file, format!("`{text}`: the name must end in small letters"));
            } else {
                return Err(file.fault(format!("`{text}`: name files that end in .json, .yml or .yaml")));
            }
        }
        self.out.push_str("[[scrape.file]]\n");
        self.line("files", Toml::Array(files));
        self.refresh(found)
    }

    fn dns(&mut self, found: &Node) -> Result<(), Fault> {
        known(found, "dns_sd_configs", &["names", "type", "port", "refresh_interval"])?;
        let names = found.get("names").map_or(Ok(Vec::new()), |n| n.texts("names"))?;
        if names.is_empty() {
            return Err(found.fault("`names` is missing: say what is looked up"));
        }
        self.out.push_str("[[scrape.dns]]\n");
        self.line("names", list(&names));
        let kind = found.get("type").map_or(Ok(""), |n| n.text("type"))?.to_uppercase();
        match kind.as_str() {
            "" => {}
            "SRV" | "A" | "AAAA" | "MX" | "NS" => self.line("type", string(&kind)),
            _ => return Err(found.fault(format!("`type`: `{kind}` is none of SRV, A, AAAA, MX, NS"))),
        }
        match found.get("port").map_or(Ok(0), |n| n.whole("port"))? {
            0 if !["", "SRV"].contains(&kind.as_str()) => {
                return Err(found.fault(format!("`port` is missing: an {kind} record does not tell one")));
            }
            0 => {}
            port @ 1..=65_535 => self.line("port", Toml::Integer(port)),
            port => return Err(found.fault(format!("`port`: {port} is none from 1 to 65535"))),
        }
        self.refresh(found)
    }

    fn refresh(&mut self, node: &Node) -> Result<(), Fault> {
        let Some(node) = node.get("refresh_interval") else { return Ok(()) };
        let (text, every) = node.duration("refresh_interval")?;
        if every < Duration::from_secs(1) {
            self.note(node, format!("`refresh_interval`: {text} is too short: 1s is printed"));
            self.line("refresh", string("1s"));
        } else {
            self.line("refresh", string(text));
        }
        Ok(())
    }

    fn rule(&mut self, to: &str, rule: &Node) -> Result<(), Fault> {
        self.out.push_str(&format!("[[scrape.{to}]]\n"));
        let action = rule.get("action").map_or(Ok("replace"), |n| n.text("action"))?.to_lowercase();
        if !RELABEL_ACTIONS.contains(&action.as_str()) {
            return Err(
                rule.fault(format!("`action`: `{action}` is not known; use one of {}", RELABEL_ACTIONS.join(", ")))
            );
        }
        let target = rule.get("target_label").map_or(Ok(""), |n| n.text("target_label"))?;
        if needs_target_label(&action) && target.is_empty() {
            return Err(rule.fault(format!("`{action}` needs `target_label`: say which label is meant")));
        }
        if action == "hashmod" && rule.get("modulus").map_or(Ok(0), |n| n.whole("modulus"))? == 0 {
            return Err(rule.fault("`hashmod` needs `modulus`, from 1 on"));
        }
        refuse_useless(&action, rule)?;
        for (key, node) in rule.entries(to)? {
            match key {
                "source_labels" => self.line(key, list(&node.texts(key)?)),
                "modulus" => match node.whole(key)? {
                    0 => {}
                    modulus => self.line(key, Toml::Integer(modulus)),
                },
                "action" => self.line(key, string(&action)),
                "target_label" if target.is_empty() => {}
                "target_label" if !needs_target_label(&action) => {
                    self.note(node, format!("`target_label`: `{action}` has no use for it"));
                }
                "regex" => {
                    let regex = node.text(key)?;
                    if let Some(why) = regex_fault(regex) {
                        return Err(node.fault(format!("`regex`: `{regex}` is no regular expression: {why}")));
                    }
                    self.line(key, string(regex));
                }
                "separator" | "target_label" | "replacement" => self.line(key, string(node.text(key)?)),
                other => return Err(node.fault(format!("`{other}` is not known to Prometheus in a rule"))),
            }
        }
        Ok(())
    }
}
