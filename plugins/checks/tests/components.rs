//! The built components: what they import and export, and how large they are.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use wit_component::DecodedWasm;
use wit_parser::WorldItem;

/// Larger ones load and instantiate noticeably slower.
const COMPONENT_BYTES_MAX: usize = 256 * 1024;

/// Crate, kinds it exports, capabilities it imports (`types` and, for the descriptor's metrics, `sink` come with each).
/// A new line here is a new thing the plugin asks for: the grants table of the host changes with it.
const COMPONENTS: &[(&str, &[&str], &[&str])] = &[
    ("collector-system", &["collector"], &["log", "system"]),
    ("collector-http", &["collector"], &["clock", "http", "log"]),
    ("handler-console", &["alert-handler", "report-handler"], &["log"]),
    ("handler-webhook", &["alert-handler", "report-handler"], &["http", "log"]),
    ("handler-email", &["alert-handler", "report-handler"], &["log", "mail"]),
    ("source-mcp-server", &["metric-source"], &["clock", "http", "kv", "log"]),
    ("section-metrics", &["report-section"], &["log", "query"]),
    ("section-alerts", &["report-section"], &["log", "query"]),
];

/// Builds them once, beside this test's own files.
static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let exe = std::env::current_exe().expect("this test has a path");
    let target = exe.ancestors().nth(3).expect("target/debug/deps/name").to_owned();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--target", "wasm32-unknown-unknown", "--target-dir"])
        .arg(&target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the plugins do not build: is the target wasm32-unknown-unknown installed?");
    target.join("wasm32-unknown-unknown/release")
});

fn short(name: &str) -> String {
    name.strip_prefix("belfry:plugin/").and_then(|n| n.strip_suffix("@0.1.0")).unwrap_or(name).to_owned()
}

#[test]
fn each_component_asks_for_exactly_what_it_uses() {
    for (name, kinds, capabilities) in COMPONENTS {
        let path = BUILT.join(format!("{}.wasm", name.replace('-', "_")));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(bytes.len() <= COMPONENT_BYTES_MAX, "{name} is {} bytes", bytes.len());
        let decoded = wit_component::decode(&bytes).unwrap_or_else(|e| panic!("{name} is no component: {e:#}"));
        let DecodedWasm::Component(resolve, world) = decoded else { panic!("{name} is a WIT package") };
        let world = &resolve.worlds[world];
        let names = |items: &wit_parser::IndexMap<wit_parser::WorldKey, WorldItem>| -> BTreeSet<String> {
            items.keys().map(|key| short(&resolve.name_world_key(key))).collect()
        };
        let with = |list: &[&str], more: &[&str]| -> BTreeSet<String> {
            list.iter().chain(more).map(|s| (*s).to_owned()).collect()
        };
        assert_eq!(names(&world.imports), with(capabilities, &["types", "sink"]), "imports of {name}");
        assert_eq!(names(&world.exports), with(kinds, &["plugin"]), "exports of {name}");
    }
}

#[test]
fn every_built_in_plugin_is_in_the_table() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let kinds = ["collector-", "source-", "handler-", "section-"];
    let there: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("plugins/")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| kinds.iter().any(|kind| name.starts_with(kind)))
        .collect();
    let listed: BTreeSet<String> = COMPONENTS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(there, listed);
}
