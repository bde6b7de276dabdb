//! Running other programs, with their time.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Cargo, as this run of it was started; without the variables that cargo sets for us and that would make the
/// build of another workspace differ from the same build started by hand.
pub fn cargo() -> Command {
    let mut c = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    c.current_dir(crate::root());
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            c.env_remove(&name);
        }
    }
    c
}

/// Runs it and tells how long it took; an error when it fails.
pub fn run(what: &str, command: &mut Command) -> Result<()> {
    eprintln!("── {what}");
    let start = Instant::now();
    let status = command.status().with_context(|| format!("{what}: cannot start {:?}", command.get_program()))?;
    let seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        bail!("{what} failed after {seconds:.1} s ({status}): {command:?}");
    }
    eprintln!("   {what}: {seconds:.1} s");
    Ok(())
}

/// What it prints, or `None` when it cannot be run or fails.
pub fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let out = Command::new(program).args(arguments).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Becomes it (so that signals reach it); only returns on failure.
#[cfg(unix)]
pub fn replace(command: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    Err(command.exec()).with_context(|| format!("cannot start {:?}", command.get_program()))
}

/// Runs it to its end.
#[cfg(not(unix))]
pub fn replace(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    std::process::exit(status.code().unwrap_or(1))
}
