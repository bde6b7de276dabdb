//! What a file is and asks for, read without running or compiling it.
//!
//! Invariant: whatever bytes come in, the answer is facts or a message that says what is wrong and how to mend it.
//! Not here: whether its code is valid (`compile.rs` finds out), what it is granted.

use std::fmt;

use serde::Serialize;
use wasmparser::{ComponentExternalKind, Encoding, Parser, Payload};

use crate::error::LoadError;

/// The contract this host speaks. Guests of any 0.1 load.
pub const CONTRACT_VERSION: &str = "0.1.0";
const PACKAGE: &str = "belfry:plugin/";
const CAPABILITIES: &[&str] = &["sink", "log", "clock", "random", "kv", "http", "system", "query", "net", "mail"];
/// Shared words; importing them asks for nothing.
const WORDS: &[&str] =
    &["types", "plugin", "collector", "metric-source", "alert-handler", "report-handler", "report-section"];
/// A component has a handful of imports; a file with more is made to be awkward.
const NAMES_MAX: usize = 1_000;
/// Of them, those that a message lists, and how much of each: a name may be 100 kB long and hold anything.
const NAMES_LISTED_MAX: usize = 10;
const NAME_CHARS_SHOWN_MAX: usize = 120;

/// What a plugin can do. More will come: nothing may assume that these are all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Measures on a schedule.
    Collector,
    /// Stands for one monitored thing.
    MetricSource,
    /// Delivers groups of alerts.
    AlertHandler,
    /// Delivers reports.
    ReportHandler,
    /// Writes a section of a report.
    ReportSection,
}

impl Kind {
    /// All that this host knows.
    pub const ALL: [Self; 5] =
        [Self::Collector, Self::MetricSource, Self::AlertHandler, Self::ReportHandler, Self::ReportSection];

    /// The interface's name in the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Collector => "collector",
            Self::MetricSource => "metric-source",
            Self::AlertHandler => "alert-handler",
            Self::ReportHandler => "report-handler",
            Self::ReportSection => "report-section",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A component, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComponentInfo {
    /// Capabilities it imports, in order of name: what it asks for.
    pub imports: Vec<String>,
    /// Kinds it exports.
    pub kinds: Vec<Kind>,
    /// The contract's version it was built against.
    pub contract: String,
    /// Bytes of the file.
    pub size: usize,
    /// BLAKE3 of the file, in hex.
    pub digest: String,
}

/// Reads what `bytes` are. The error names the plugin `component`; [`LoadError::plugin`] may be set to a better name.
pub fn inspect(bytes: &[u8]) -> Result<ComponentInfo, LoadError> {
    let names = names(bytes)?;
    let mut imports = Vec::new();
    let mut contract = None;
    let mut unknown = Vec::new();
    for name in &names.imports {
        match split(name) {
            Some((interface, version)) => {
                check_version(name, version)?;
                contract = Some(version.to_owned());
                if CAPABILITIES.contains(&interface) {
                    imports.push(interface.to_owned());
                } else if !WORDS.contains(&interface) {
                    unknown.push(name.as_str());
                }
            }
            None => unknown.push(name),
        }
    }
    if !unknown.is_empty() {
        return Err(unknown_imports(&unknown));
    }
    let mut kinds = Vec::new();
    let mut is_plugin = false;
    let mut unknown_kinds = Vec::new();
    for name in &names.exports {
        let Some((interface, version)) = split(name) else { continue };
        check_version(name, version)?;
        contract = Some(version.to_owned());
        match Kind::ALL.into_iter().find(|k| k.as_str() == interface) {
            Some(kind) => kinds.push(kind),
            None if interface == "plugin" => is_plugin = true,
            None => unknown_kinds.push(name.as_str()),
        }
    }
    if !is_plugin {
        return Err(error(
            "it is a component, but no plugin: it does not export `belfry:plugin/plugin`",
            "export `plugin` and at least one kind; with the Rust SDK: `belfry_sdk::export!(…)`",
        ));
    }
    if kinds.is_empty() {
        return Err(no_kind(&unknown_kinds));
    }
    imports.sort();
    imports.dedup();
    kinds.sort();
    kinds.dedup();
    Ok(ComponentInfo {
        imports,
        kinds,
        contract: contract.unwrap_or_else(|| CONTRACT_VERSION.to_owned()),
        size: bytes.len(),
        digest: blake3::hash(bytes).to_hex().to_string(),
    })
}

struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
}

/// Imports and exports of the outermost component.
fn names(bytes: &[u8]) -> Result<Names, LoadError> {
    if !bytes.starts_with(b"\0asm") {
        return Err(no_wasm(bytes));
    }
    let mut names = Names { imports: Vec::new(), exports: Vec::new() };
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|e| damaged(&e))? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(error(
                    "it is a core WebAssembly module, not a component",
                    "build it with the linker `wasm-component-ld` (set in `.cargo/config.toml`), or turn it into one with \
                     `wasm-tools component new`",
                ));
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    names.imports.push(import.map_err(|e| damaged(&e))?.name.0.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(|e| damaged(&e))?;
                    if export.kind == ComponentExternalKind::Instance {
                        names.exports.push(export.name.0.to_owned());
                    }
                }
            }
            _ => {}
        }
        if names.imports.len() + names.exports.len() > NAMES_MAX {
            return Err(error(
                format!("it has more than {NAMES_MAX} imports and exports"),
                "no plugin needs that many",
            ));
        }
    }
    Ok(names)
}

/// `belfry:plugin/http@0.1.0` → (`http`, `0.1.0`).
fn split(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(PACKAGE).map(|rest| rest.split_once('@').unwrap_or((rest, "")))
}

/// Within 0.x the minor number is what makes versions incompatible.
fn check_version(name: &str, version: &str) -> Result<(), LoadError> {
    let series = |v: &str| v.rsplit_once('.').map(|(series, _)| series.to_owned());
    if series(version) == series(CONTRACT_VERSION) {
        return Ok(());
    }
    if version.is_empty() {
        return Err(error(
            format!("{} does not say of which version of the contract it is", quoted(name)),
            format!("build it against `package belfry:plugin@{CONTRACT_VERSION}`, as the SDKs do"),
        ));
    }
    Err(error(
        format!(
            "it was built for the contract belfry:plugin@{}; this Belfry speaks {CONTRACT_VERSION}",
            shown(version)
        ),
        "build it again with an SDK of version 0.1, or use the Belfry that it was made for",
    ))
}

fn no_kind(unknown: &[&str]) -> LoadError {
    let known = Kind::ALL.map(Kind::as_str).join(", ");
    if unknown.is_empty() {
        return error(
            "it exports `belfry:plugin/plugin` but no kind, so there is nothing to ask it",
            format!("export at least one of {known}"),
        );
    }
    error(
        format!("it exports no kind that this Belfry knows, only {}", list(unknown)),
        format!("the kinds of this Belfry are {known} (a newer one may know more)"),
    )
}

/// One sentence of help for each sort of unknown import: what mends one does not mend the other.
fn unknown_imports(unknown: &[&str]) -> LoadError {
    let any = |sort: fn(&str) -> bool| unknown.iter().any(|name| sort(name));
    let mut help = Vec::new();
    if any(|n| n.starts_with("wasi:")) {
        help.push(
            "Belfry gives plugins no WASI: build Rust for `wasm32-unknown-unknown`, Python with `--stub-wasi`, and take \
             time, randomness and HTTP from the capabilities `clock`, `random` and `http`"
                .to_owned(),
        );
    }
    if any(|n| n.starts_with(PACKAGE)) {
        help.push(format!(
            "the capabilities of this Belfry are {} (a newer one may have more)",
            CAPABILITIES.join(", ")
        ));
    }
    if any(|n| !n.starts_with("wasi:") && !n.starts_with(PACKAGE)) {
        help.push(
            "a plugin can import only interfaces of `belfry:plugin`: put the component that has the others into it \
             (`wac plug`), or build it without them"
                .to_owned(),
        );
    }
    error(format!("it imports what this Belfry does not have: {}", list(unknown)), help.join("; "))
}

/// Told by its first bytes: what people drop into the folder by mistake.
fn no_wasm(bytes: &[u8]) -> LoadError {
    let text = bytes.trim_ascii_start();
    let web_page = text.get(..5).is_some_and(|b| b.eq_ignore_ascii_case(b"<html") || b.eq_ignore_ascii_case(b"<!doc"));
    let (what, help) = if bytes.is_empty() {
        ("the file is empty".to_owned(), "build or copy it again; if it is still being copied, wait for the end")
    } else if bytes.starts_with(b"\x7fELF") {
        (
            "it is not WebAssembly but a native program or library (ELF)".to_owned(),
            "build it for `wasm32-unknown-unknown` with the linker `wasm-component-ld`",
        )
    } else if [&b"(component"[..], b"(module", b";;", b"(;"].iter().any(|start| text.starts_with(start)) {
        (
            "it is the text form of WebAssembly, not a component".to_owned(),
            "turn it into one with `wasm-tools parse FILE.wat -o FILE.wasm`",
        )
    } else if web_page {
        (
            "it is not WebAssembly but a web page".to_owned(),
            "download the file itself: the address may have led to a page about it, or to a login",
        )
    } else if bytes.starts_with(b"\x1f\x8b") || bytes.starts_with(b"PK\x03\x04") {
        ("it is not WebAssembly but an archive or compressed".to_owned(), "unpack it and give the `.wasm` in it")
    } else {
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]);
        (
            format!("it is not WebAssembly: it begins with {head:?}"),
            "give the path of a `.wasm` component, as `cargo build --target wasm32-unknown-unknown` with the linker \
             `wasm-component-ld` makes it",
        )
    };
    error(what, help)
}

fn list(names: &[&str]) -> String {
    let mut list = names.iter().take(NAMES_LISTED_MAX).map(|n| quoted(n)).collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_LISTED_MAX {
        list.push_str(&format!(" and {} more", names.len() - NAMES_LISTED_MAX));
    }
    list
}

fn quoted(name: &str) -> String {
    format!("`{}`", shown(name))
}

fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(NAME_CHARS_SHOWN_MAX).flat_map(char::escape_debug).collect();
    if name.chars().nth(NAME_CHARS_SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

fn damaged(error_: &wasmparser::BinaryReaderError) -> LoadError {
    error(
        format!("the file is damaged: {} at byte {}", error_.message(), error_.offset()),
        "build or download it again; it may have been cut short",
    )
}

fn error(reason: impl Into<String>, help: impl Into<String>) -> LoadError {
    LoadError { plugin: "component".to_owned(), reason: reason.into(), help: help.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(wat: &str) -> String {
        inspect(&wat::parse_str(wat).expect("the test's text is valid")).unwrap_err().reason
    }

    const EMPTY: &str = "(instance $i)";

    #[test]
    fn imports_kinds_and_digest_are_read() {
        let bytes = wat::parse_str(format!(
            r#"(component
                (import "belfry:plugin/types@0.1.0" (instance))
                (import "belfry:plugin/log@0.1.3" (instance))
                (import "belfry:plugin/http@0.1.0" (instance))
                {EMPTY}
                (export "belfry:plugin/plugin@0.1.0" (instance $i))
                (export "belfry:plugin/report-section@0.1.0" (instance $i))
                (export "belfry:plugin/collector@0.1.0" (instance $i)))"#
        ))
        .unwrap();
        let info = inspect(&bytes).unwrap();
        assert_eq!(info.imports, ["http", "log"]);
        assert_eq!(info.kinds, [Kind::Collector, Kind::ReportSection]);
        assert_eq!(info.digest, blake3::hash(&bytes).to_hex().to_string());
    }

    #[test]
    fn what_is_no_wasm_is_told_by_what_it_is() {
        let not = |bytes: &[u8]| inspect(bytes).unwrap_err().reason;
        assert_eq!(not(b"\x7fELF\x02"), "it is not WebAssembly but a native program or library (ELF)");
        assert_eq!(not(b"\x1f\x8b\x08"), "it is not WebAssembly but an archive or compressed");
        assert_eq!(not(b"\xff\xfe"), "it is not WebAssembly: it begins with \"\u{fffd}\u{fffd}\"");
        assert_eq!(not(b"<!d"), "it is not WebAssembly: it begins with \"<!d\"");
    }

    #[test]
    fn long_or_many_names_do_not_make_long_messages() {
        let imports: String = (0..50).map(|n| format!("(import \"a:b/{}{n}\" (instance))", "x".repeat(200))).collect();
        let r = reason(&format!("(component {imports})"));
        assert!(r.ends_with("…` and 40 more"), "{r}");
        assert!(r.len() < 2_000, "{} bytes", r.len());
        assert_eq!(shown("a\n\u{1b}[31m"), "a\\n\\u{1b}[31m");
    }

    #[test]
    fn a_file_cut_short_is_damaged() {
        let bytes = wat::parse_str(r#"(component (import "a" (func)))"#).unwrap();
        let reason = inspect(&bytes[..bytes.len() - 3]).unwrap_err().reason;
        assert!(reason.starts_with("the file is damaged: "), "{reason}");
    }

    #[test]
    fn every_interface_of_the_contract_is_known_here() {
        let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/0.1.0");
        let mut interfaces = Vec::new();
        for file in std::fs::read_dir(wit).unwrap().flatten() {
            let text = std::fs::read_to_string(file.path()).unwrap();
            assert!(text.starts_with(&format!("package belfry:plugin@{CONTRACT_VERSION};")), "{:?}", file.path());
            let names = text.lines().filter_map(|l| l.strip_prefix("interface ")?.split_whitespace().next());
            interfaces.extend(names.map(str::to_owned));
        }
        let mut known: Vec<_> = CAPABILITIES.iter().chain(WORDS).map(|&s| s.to_owned()).collect();
        interfaces.sort();
        known.sort();
        assert_eq!(interfaces, known);
    }
}
