//! The built-in plugins that this binary carries, and what each is granted.
//!
//! Invariant: the table applies by name, and only to components that come from here.

use rust_embed::RustEmbed;

use belfry_plugin::Grants;

/// What `cargo xtask plugins` built. A release build carries it; a development build reads the folder.
#[derive(RustEmbed)]
#[folder = "../../target/plugins/"]
#[allow_missing = true]
struct Carried;

/// All names there can be, whether this binary carries them or not.
pub const NAMES: &[&str] = &[
    "collector-http",
    "collector-system",
    "handler-console",
    "handler-email",
    "handler-webhook",
    "section-alerts",
    "section-metrics",
    "source-mcp-server",
];

/// The component's bytes.
pub fn component(name: &str) -> Option<Vec<u8>> {
    Carried::get(&format!("{name}.wasm")).map(|f| f.data.into_owned())
}

/// Names this binary does not carry.
pub fn missing() -> Vec<&'static str> {
    NAMES.iter().copied().filter(|n| Carried::get(&format!("{n}.wasm")).is_none()).collect()
}

/// What a built-in plugin may use beside what its config grants: never a destination.
pub fn grants(name: &str) -> Grants {
    let mut grants = Grants::default();
    match name {
        "section-metrics" | "section-alerts" => grants.query = true,
        "source-mcp-server" => grants.kv = true,
        _ => {}
    }
    grants
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_destination_is_granted_by_name() {
        for name in NAMES {
            let g = grants(name);
            assert!(g.http.is_empty() && g.mail.is_empty() && g.system.is_empty(), "{name}");
        }
    }
}
