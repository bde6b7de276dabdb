//! Finds the files, reads them all, and answers either a config or every problem there is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::keys::{DROPPED, ROOT};
use crate::problem::{Origin, Place, Problem, Problems, Report};
use crate::read::{self, Context, plain};
use crate::types::{Collection, Config, Plugin};
use crate::{overrides, show, spec, tree};

/// What runs when there is no config file.
const DEFAULTS: &str = include_str!("defaults.toml");
/// Its name in messages.
const DEFAULTS_NAME: &str = "(embedded defaults)";

/// A larger config file is a mistake.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A setting from the command line; it wins over the environment and the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetByFlag {
    /// As it is printed in messages: `--listen`.
    pub flag: String,
    /// What it sets: `server.listen`.
    pub key: String,
    /// To what.
    pub value: String,
}

/// What loading needs.
#[derive(Clone, Debug, Default)]
pub struct LoadInput {
    /// `belfry.toml`; `None` for the embedded defaults. `conf.d/*.toml` beside it is merged.
    pub path: Option<PathBuf>,
    /// The environment: for `${VAR}`, secrets and `BELFRY_SECTION__KEY`.
    pub env: BTreeMap<String, String>,
    /// From the command line.
    pub flags: Vec<SetByFlag>,
    /// Names of the built-in plugins (`collector-system`, …).
    pub builtins: Vec<String>,
    /// Looks into a component's file: what the config names must be one. `None` looks at nothing.
    pub inspect: Option<Inspect>,
    /// A rule file that is named and not there is warned of, no more: the caller may have a version of it.
    pub rule_files_may_be_away: bool,
}

/// Is this file a component that can be loaded?
pub type Inspect = fn(&Path) -> Result<(), Refused>;

/// Why it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

/// Where settings stand that only a start can find wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Of `server.listen`.
    pub listen: Place,
    /// Of `storage.path`.
    pub storage: Place,
    /// Of each scrape job, by name.
    pub scrapes: BTreeMap<String, Place>,
}

/// A config and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Ready to use.
    pub config: Config,
    /// Of all that went in (files, overrides): equal digests are equal configs, secrets in files and variables aside.
    pub digest: String,
    /// The files it was read from, the main one first; empty with the embedded defaults.
    pub files: Vec<PathBuf>,
    /// What does not stop Belfry.
    pub warnings: Vec<Problem>,
    /// The whole config as TOML, defaults included, secrets redacted.
    pub shown: String,
    /// For what is found wrong later.
    pub places: Places,
}

impl Loaded {
    /// [`Loaded::shown`] as JSON.
    pub fn shown_json(&self) -> serde_json::Value {
        // It was written by `show`, which writes nothing but TOML.
        toml::from_str(&self.shown).unwrap_or_default()
    }

    /// [`Loaded::shown`] as YAML, which clients of Prometheus look for.
    pub fn shown_yaml(&self) -> String {
        serde_saphyr::to_string(&self.shown_json()).unwrap_or_default()
    }
}

impl Config {
    /// Reads `belfry.toml` with `conf.d`, variables, overrides and secrets, and checks all of it.
    pub fn load(input: &LoadInput) -> Result<Loaded, Problems> {
        let mut report = Report::default();
        let (texts, base) = read_files(input, &mut report);
        let mut digest = blake3::Hasher::new();
        let mut root = tree::Table::default();
        for (name, text) in &texts {
            for part in [name.as_bytes(), text.as_bytes()] {
                digest.update(&(part.len() as u64).to_le_bytes());
                digest.update(part);
            }
            let source = report.sources.add_file(name.clone(), text);
            let table = tree::parse(source, text, &mut report);
            tree::merge(&mut root, table, &mut report);
        }
        tree::expand(&mut root, &input.env, &mut report);
        for (name, value) in overrides::apply(&mut root, input, &mut report) {
            digest.update(name.as_bytes());
            digest.update(b"=");
            digest.update(value.as_bytes());
            digest.update(b"\n");
        }
        spec::check(&mut root, &ROOT, "", &mut report);
        let mut context = Context {
            report: &mut report,
            env: &input.env,
            base: &base,
            builtins: &input.builtins,
            inspect: input.inspect,
            rule_files_may_be_away: input.rule_files_may_be_away,
            plugins: Default::default(),
            channels: Default::default(),
        };
        let config = read::config(&root, &mut context);
        let (listen, storage, scrapes) = read::places(&root);
        let places = Places {
            listen: report.sources.place(listen),
            storage: report.sources.place(storage),
            scrapes: scrapes.into_iter().map(|(job, at)| (job, report.sources.place(at))).collect(),
        };
        let (errors, warnings) = report.finish();
        match config {
            Some(config) if errors.is_empty() => Ok(Loaded {
                config,
                digest: digest.finalize().to_hex().to_string(),
                files: if input.path.is_some() { texts.into_iter().map(|(n, _)| n.into()).collect() } else { vec![] },
                warnings,
                shown: show::show(&root),
                places,
            }),
            _ => Err(Problems(errors)),
        }
    }

    /// What runs when there is no config file, as text: also a file to start from.
    pub fn embedded_defaults() -> &'static str {
        DEFAULTS
    }
}

/// Reads the settings of `NAME.wasm` in `[plugins] dir`: `NAME.toml` beside it, or none (then nothing is granted).
/// `Ok(None)` when it is switched off.
pub fn load_dropped(
    component: &Path,
    collection: &Collection,
    env: &BTreeMap<String, String>,
) -> Result<Option<Plugin>, Problems> {
    let mut report = Report::default();
    let settings = component.with_extension("toml");
    let name = settings.display().to_string();
    let text = match read_file(&settings) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => {
            unreadable(&settings, &e, &mut report);
            String::new()
        }
    };
    let source = report.sources.add_file(name, &text);
    let mut table = tree::parse(source, &text, &mut report);
    tree::expand(&mut table, env, &mut report);
    spec::check(&mut table, &DROPPED, "", &mut report);
    let base = component.parent().unwrap_or(Path::new(""));
    let mut context = Context {
        report: &mut report,
        env,
        base,
        builtins: &[],
        inspect: None,
        rule_files_may_be_away: false,
        plugins: Default::default(),
        channels: Default::default(),
    };
    let at = Origin { source, offset: 0 };
    let plugin = read::dropped(&table, at, component, collection, &mut context);
    let (errors, _) = report.finish();
    if errors.is_empty() { Ok(plugin) } else { Err(Problems(errors)) }
}

/// Names and texts of all files, and where relative paths start. What cannot be read is reported.
fn read_files(input: &LoadInput, report: &mut Report) -> (Vec<(String, String)>, PathBuf) {
    let Some(path) = &input.path else {
        return (vec![(DEFAULTS_NAME.to_owned(), DEFAULTS.to_owned())], PathBuf::new());
    };
    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut texts = Vec::new();
    let mut paths = vec![path.clone()];
    match conf_d(&base.join("conf.d")) {
        Ok(more) => paths.extend(more),
        Err(e) => unreadable(&base.join("conf.d"), &e, report),
    }
    for path in paths {
        match read_file(&path) {
            Ok(text) => texts.push((path.display().to_string(), text)),
            Err(e) => unreadable(&path, &e, report),
        }
    }
    (texts, base)
}

fn unreadable(path: &Path, e: &std::io::Error, report: &mut Report) {
    let help = match e.kind() {
        std::io::ErrorKind::NotFound => "name another file with --config, or leave it out for the built-in defaults",
        _ => "make it a readable file of UTF-8 text",
    };
    let at = report.sources.add_override(&path.display().to_string());
    report.error(at, format!("cannot read the config: {}", plain(e)), help);
}

fn read_file(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("it has {bytes} bytes, {FILE_BYTES_MAX} are the most")));
    }
    let bytes = std::fs::read(path)?;
    String::from_utf8(bytes).map_err(|e| {
        std::io::Error::other(format!("it is not UTF-8 (byte {} is the first wrong one)", e.utf8_error().valid_up_to()))
    })
}

/// `*.toml` in order of name; none when there is no such folder.
fn conf_d(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if path.extension().is_some_and(|e| e == "toml") && !hidden && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
