//! `[rules]`: Prometheus rule files. Finds them; what is in them is read by the rules crate.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Context, plain};
use crate::types::RuleSettings;
use crate::view::View;

/// Prometheus' `global.evaluation_interval`.
const INTERVAL: Duration = Duration::from_secs(60);

pub(super) fn files(view: View<'_>, context: &mut Context<'_>) -> (Vec<PathBuf>, RuleSettings) {
    if view.duration("interval").is_some_and(|d| d.is_zero()) {
        context.error(view.place("interval"), "`interval` is zero", "use 1m, for example");
    }
    let mut settings = RuleSettings {
        patterns: Vec::new(),
        interval: view.duration("interval").unwrap_or(INTERVAL),
        query_offset: view.duration("query_offset").unwrap_or_default(),
        external_labels: view.labels("external_labels"),
    };
    let mut found = Vec::new();
    for (text, at) in view.texts_at("files") {
        let pattern = context.path(text);
        match matching(&pattern) {
            Ok(files) if files.is_empty() && is_pattern(&pattern) => {
                let help = "paths are relative to the config file; one that comes later is loaded then";
                context.warning(at, format!("no rule file matches `{text}`"), help);
            }
            Ok(files) if files.is_empty() && context.rule_files_may_be_away => {
                let help = "its last good version goes on";
                context.warning(at, format!("no rule file matches `{text}`"), help);
            }
            Ok(files) if files.is_empty() => {
                let help = "paths are relative to the config file; `*` may stand in the file's name";
                context.error(at, format!("no rule file matches `{text}`"), help);
            }
            Ok(files) => found.extend(files),
            Err(e) => {
                let help = "create the folder or correct the path";
                context.error(at, format!("cannot look for `{text}`: {}", plain(&e)), help);
            }
        }
        settings.patterns.push(pattern);
    }
    found.sort();
    found.dedup();
    (found, settings)
}

/// Does a `*` stand in its last part?
pub(crate) fn is_pattern(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains('*'))
}

/// What the patterns stand for now, in order and each once; folders that are not there hold nothing.
pub fn rule_files(patterns: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = patterns.iter().flat_map(|p| matching(p).unwrap_or_default()).collect();
    found.sort();
    found.dedup();
    found
}

/// The path itself, or what the `*` in its last part stand for, in order.
pub(crate) fn matching(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let pattern = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if !pattern.contains('*') {
        return Ok(if path.is_file() { vec![path.to_owned()] } else { Vec::new() });
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if fits(&name, &pattern) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Does `name` have the parts between the `*` in their order?
fn fits(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (name, pattern, expected) in [
            ("a.yml", "*.yml", true),
            ("a.yaml", "*.yml", false),
            ("a.rules.yml", "a*les*.yml", true),
            ("ab", "ab*ab", false),
            ("a", "*", true),
            ("abc", "abc", true),
        ] {
            assert_eq!(fits(name, pattern), expected, "{name} {pattern}");
        }
    }
}
