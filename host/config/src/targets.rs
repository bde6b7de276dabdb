//! Files of scrape targets, as Prometheus' file_sd and http_sd have them: a list of groups, each with `targets` and
//! `labels`. They are read while running, so they are no part of the config.

use std::path::{Path, PathBuf};

use belfry_model::Labels;
use serde::Deserialize;

use crate::read::{is_pattern, matching, plain};
use crate::types::scrape::StaticGroup;

/// A larger file of targets is a mistake: this is room for a hundred thousand.
const FILE_BYTES_MAX: u64 = 32 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    labels: Option<std::collections::BTreeMap<String, String>>,
}

/// Reads groups from JSON.
pub fn targets_from_json(text: &str) -> Result<Vec<StaticGroup>, String> {
    serde_json::from_str::<Vec<Option<Group>>>(text).map(groups).map_err(|e| e.to_string())
}

/// Reads groups from a file: `.json`, else YAML. The error does not name its folder.
pub fn targets_from_file(path: &Path) -> Result<Vec<StaticGroup>, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fault = |why: String| format!("{name}: {why}");
    let bytes = std::fs::metadata(path).map_err(|e| fault(plain(&e)))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(fault(format!("it has {bytes} bytes, {FILE_BYTES_MAX} are the most")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| fault(plain(&e)))?;
    if path.extension().is_some_and(|e| e == "json") {
        return targets_from_json(&text).map_err(fault);
    }
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let read: Result<Option<Vec<Option<Group>>>, _> = serde_saphyr::from_str(&text);
    let first_line = |e: serde_saphyr::Error| fault(e.to_string().lines().next().unwrap_or_default().to_owned());
    read.map(|g| groups(g.unwrap_or_default())).map_err(first_line)
}

fn groups(read: Vec<Option<Group>>) -> Vec<StaticGroup> {
    read.into_iter()
        .flatten()
        .map(|g| StaticGroup { targets: g.targets, labels: Labels::from_pairs(g.labels.unwrap_or_default()) })
        .collect()
}

/// The path itself, or the files that its `*` in the last part stands for, in order. The error says which pattern's
/// folder cannot be read; one that is not there yet is such a folder, too.
pub fn target_files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !is_pattern(path) {
        return Ok(vec![path.to_owned()]);
    }
    matching(path).map_err(|e| {
        let pattern = path.file_name().unwrap_or_default().to_string_lossy();
        format!("cannot look for {pattern} in its folder: {}", plain(&e))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_from_json_and_yaml() {
        let folder = tempfile::tempdir().unwrap();
        let yaml = "- targets: ['a:1', b:2]\n  labels: {env: prod}\n- targets: [c:3]\n";
        let json = r#"[{"targets": ["a:1", "b:2"], "labels": {"env": "prod"}}, {"targets": ["c:3"]}]"#;
        for (name, text) in [("t.yml", yaml), ("t.json", json)] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let read = targets_from_file(&path).unwrap();
            assert_eq!(read.len(), 2);
            assert_eq!(read[0].targets, ["a:1", "b:2"]);
            assert_eq!(read[0].labels.to_string(), r#"{env="prod"}"#);
        }
        std::fs::write(folder.path().join("t.yml"), "").unwrap();
        assert_eq!(targets_from_file(&folder.path().join("t.yml")), Ok(vec![]));
        std::fs::write(folder.path().join("t.yml"), "- tragets: [a]\n").unwrap();
        let said = targets_from_file(&folder.path().join("t.yml")).unwrap_err();
        assert!(said.starts_with("t.yml: ") && said.contains("tragets"), "{said}");
        let said = targets_from_file(&folder.path().join("gone.yml")).unwrap_err();
        assert_eq!(said, "gone.yml: there is no such file or folder");
        let mut names = target_files(&folder.path().join("*.*")).unwrap();
        names.iter_mut().for_each(|p| *p = p.file_name().unwrap().into());
        assert_eq!(names, [PathBuf::from("t.json"), PathBuf::from("t.yml")]);
    }

    /// The folder of `*.json` is the one that Belfry runs in, as `--config belfry.toml` has it.
    #[test]
    fn a_pattern_without_a_folder_means_this_folder() {
        let found = target_files(Path::new("*.toml")).unwrap();
        assert_eq!(found.iter().map(|p| p.file_name().unwrap()).collect::<Vec<_>>(), ["Cargo.toml"]);
    }

    #[test]
    fn a_pattern_whose_folder_cannot_be_read_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let said = target_files(&folder.path().join("gone/*.json")).unwrap_err();
        assert_eq!(said, "cannot look for *.json in its folder: there is no such file or folder");
    }
}
