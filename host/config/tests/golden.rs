//! Bad config files beside the exact messages they must give: `tests/golden/config/NAME.toml` and `NAME.err`.
//! `BELFRY_BLESS=1` writes the messages anew; read them before committing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use belfry_config::{Config, LoadInput};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/config")
}

fn builtins() -> Vec<String> {
    [
        "collector-system",
        "collector-http",
        "source-mcp-server",
        "handler-console",
        "handler-webhook",
        "handler-email",
        "section-metrics",
        "section-alerts",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What `belfry check` prints: errors, or warnings when there are none.
fn messages(path: &Path) -> String {
    let env = BTreeMap::from([("SET".to_owned(), "value".to_owned())]);
    let input =
        LoadInput { path: Some(path.to_owned()), env, flags: Vec::new(), builtins: builtins(), ..LoadInput::default() };
    let text = match Config::load(&input) {
        Ok(loaded) => loaded.warnings.iter().map(|w| format!("{w}\n")).collect(),
        Err(problems) => format!("{problems}\n"),
    };
    text.replace(&format!("{}/", folder().display()), "")
}

#[test]
fn every_bad_file_gives_exactly_its_messages() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().path())
        .flat_map(|p| if p.is_dir() { vec![p.join("belfry.toml")] } else { vec![p] })
        .filter(|p| p.extension().is_some_and(|e| e == "toml") && p.is_file())
        .collect();
    files.sort();
    assert!(files.len() > 10, "the golden files are gone");
    let mut wrong = String::new();
    for file in files {
        let err = file.with_extension("err");
        let got = messages(&file);
        if std::env::var_os("BELFRY_BLESS").is_some() {
            std::fs::write(&err, &got).unwrap();
        }
        let want = std::fs::read_to_string(&err).unwrap_or_default();
        if got != want || got.is_empty() {
            wrong.push_str(&format!("== {}\n-- expected\n{want}-- got\n{got}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_error_says_how_to_mend_it() {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "err") {
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text.lines().count() % 2, 0, "{}", path.display());
            for pair in text.lines().collect::<Vec<_>>().chunks(2) {
                assert!(pair[0].contains(": error: ") || pair[0].contains(": warning: "), "{}", pair[0]);
                assert!(pair[1].starts_with("  help: "), "{}", pair[1]);
            }
        }
    }
}

/// A change of keys shows up in review, and editors can use the file.
#[test]
fn the_schema_is_the_one_in_the_repository() {
    let path = folder().with_file_name("config.schema.json");
    let schema = format!("{:#}\n", belfry_config::schema());
    if std::env::var_os("BELFRY_BLESS").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    assert!(std::fs::read_to_string(&path).unwrap_or_default() == schema, "{} has changed", path.display());
}
