//! Commands that ask a running Belfry.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use belfry_model::Clock as _;
use http::Method;
use serde_json::Value;

use super::answer;
use crate::cli::{Output, PluginCommand, QueryArgs, ReportCommand, ServerArgs};
use crate::client::{ask, escape};
use crate::say;

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// PromQL, at an instant or over a range. What the server remarks goes to standard error: the answer stays what it is.
pub fn query(arguments: &QueryArgs) -> Result<ExitCode> {
    let expression = escape(&arguments.expression);
    let path = match &arguments.from {
        Some(from) => {
            let now = crate::clock::SystemClock::new().now();
            let seconds = |text: &str| anyhow::Ok(super::time(text, now)?.as_secs_f64());
            format!(
                "/api/v1/query_range?query={expression}&start={}&end={}&step={}",
                seconds(from)?,
                seconds(&arguments.to)?,
                escape(&arguments.step)
            )
        }
        None => format!("/api/v1/query?query={expression}"),
    };
    let answer = block_on(ask(&arguments.server, Method::GET, &path))?;
    if arguments.server.output == Output::Json {
        say!("{}", serde_json::to_string_pretty(&answer)?);
        return Ok(ExitCode::SUCCESS);
    }
    for remark in answer::remarks(&answer) {
        // A closed standard error is no reason to keep the answer back.
        let _ = writeln!(std::io::stderr(), "{remark}");
    }
    say!("{}", answer::text(&answer["data"]));
    Ok(ExitCode::SUCCESS)
}

/// Lists or reloads plugins.
pub fn plugin(command: PluginCommand) -> Result<ExitCode> {
    match command {
        PluginCommand::List { server } => {
            let columns = ["name", "state", "version", "source", "reason"];
            list(&server, "/api/plugins", &columns)
        }
        PluginCommand::Reload { name, server } => act(&server, &format!("/api/plugins/{}/reload", escape(&name))),
        PluginCommand::Inspect { component, output } => super::inspect::inspect(&component, output),
    }
}

/// Lists or makes reports.
pub fn report(command: ReportCommand) -> Result<ExitCode> {
    match command {
        ReportCommand::List { server } => list(&server, "/api/reports", &["name", "schedule", "time_zone", "title"]),
        ReportCommand::Run { name, server } => act(&server, &format!("/api/reports/{}/run", escape(&name))),
    }
}

fn list(server: &ServerArgs, path: &str, columns: &[&str]) -> Result<ExitCode> {
    let answer = block_on(ask(server, Method::GET, path))?;
    if server.output == Output::Json {
        say!("{}", serde_json::to_string_pretty(&answer)?);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> =
        answer.as_array().into_iter().flatten().map(|row| columns.iter().map(|c| text(&row[*c])).collect()).collect();
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0).max(columns[i].len());
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().enumerate().map(|(i, c)| format!("{c:<0$}", width(i))).collect();
        say!("{}", padded.join("  ").trim_end());
    };
    line(columns.to_vec());
    for row in &rows {
        line(row.iter().map(String::as_str).collect());
    }
    Ok(ExitCode::SUCCESS)
}

fn act(server: &ServerArgs, path: &str) -> Result<ExitCode> {
    let answer = block_on(ask(server, Method::POST, path))?;
    match server.output {
        Output::Json => say!("{answer}"),
        Output::Text => say!("{}", text(&answer["message"])),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
