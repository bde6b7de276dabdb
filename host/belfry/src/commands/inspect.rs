//! `belfry plugin inspect`: what a component is, asks for, and (for a built-in one) is granted.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::builtins;
use crate::cli::Output;
use crate::say;

/// Looks at a file or at a component that this binary carries.
pub fn inspect(component: &str, output: Output) -> Result<ExitCode> {
    let builtin = component.strip_prefix("builtin:");
    let bytes = match builtin {
        Some(name) => match builtins::component(name) {
            Some(bytes) => bytes,
            None if builtins::NAMES.contains(&name) => bail!(
                "this binary does not carry `{name}`\n  help: build the plugins with `cargo xtask plugins` and Belfry again"
            ),
            None => bail!("there is no built-in plugin `{name}`\n  help: one of {}", builtins::NAMES.join(", ")),
        },
        None => std::fs::read(component).with_context(|| format!("cannot read {component}"))?,
    };
    let info =
        belfry_plugin::inspect(&bytes).map_err(|e| anyhow::anyhow!("{component}: {}\n  help: {}", e.reason, e.help))?;
    let grants = builtin.map(builtins::grants).unwrap_or_default();
    let mut granted = Vec::new();
    if grants.query {
        granted.push("query");
    }
    if grants.kv {
        granted.push("kv");
    }
    if output == Output::Json {
        let mut value = serde_json::to_value(&info)?;
        value["granted_by_name"] = serde_json::json!(granted);
        say!("{}", serde_json::to_string_pretty(&value)?);
        return Ok(ExitCode::SUCCESS);
    }
    let kinds: Vec<_> = info.kinds.iter().map(|k| k.as_str()).collect();
    say!("component  {component} ({} bytes)", info.size);
    say!("digest     {}", info.digest);
    say!("contract   belfry:plugin {}", info.contract);
    say!("kinds      {}", kinds.join(", "));
    say!("asks for   {}", if info.imports.is_empty() { "nothing".to_owned() } else { info.imports.join(", ") });
    if builtin.is_some() {
        say!(
            "granted    {} (the rest comes from the config)",
            if granted.is_empty() { "nothing".to_owned() } else { granted.join(", ") }
        );
    }
    Ok(ExitCode::SUCCESS)
}
