//! Files that are no plugins beside the exact messages they must give: `tests/golden/component/NAME.wat` (compiled here)
//! or `NAME.txt` (taken as it is), and `NAME.err`.
//! `BELFRY_BLESS=1` writes the messages anew; read them before committing.

use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/component")
}

fn files(wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().and_then(|e| e.to_str()).is_some_and(&wanted))
        .collect();
    files.sort();
    files
}

/// What `belfry plugin inspect` prints after the file's name.
fn message(path: &Path) -> String {
    let source = std::fs::read(path).unwrap();
    let bytes = match path.extension() {
        Some(e) if e == "wat" => wat::parse_bytes(&source).expect("the text is WebAssembly").into_owned(),
        _ => source,
    };
    match belfry_plugin::inspect(&bytes) {
        Ok(info) => panic!("{} is a plugin: {info:?}", path.display()),
        Err(error) => format!("{}\n  help: {}\n", error.reason, error.help),
    }
}

#[test]
fn every_bad_file_gives_exactly_its_message() {
    let sources = files(|e| e == "wat" || e == "txt");
    assert!(sources.len() > 10, "the golden files are gone");
    let mut wrong = String::new();
    for source in sources {
        let err = source.with_extension("err");
        let got = message(&source);
        if std::env::var_os("BELFRY_BLESS").is_some() {
            std::fs::write(&err, &got).unwrap();
        }
        let want = std::fs::read_to_string(&err).unwrap_or_default();
        if got != want {
            wrong.push_str(&format!("== {}\n-- expected\n{want}-- got\n{got}", source.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_message_is_one_line_of_what_is_wrong_and_one_of_how_to_mend_it() {
    for err in files(|e| e == "err") {
        let text = std::fs::read_to_string(&err).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{}", err.display());
        assert!(lines[1].strip_prefix("  help: ").is_some_and(|help| !help.is_empty()), "{}", err.display());
        let has_source = ["wat", "txt"].iter().any(|e| err.with_extension(e).exists());
        assert!(has_source, "{} belongs to no file", err.display());
    }
}
