//! `[server]`, `[storage]`, `[collection]`, `[smtp]`, `[notify.retry]`, `[telemetry]`.

use std::net::SocketAddr;
use std::time::Duration;

use belfry_model::duration::format_duration;

use super::{Context, remote};
use crate::problem::Origin;
use crate::types::*;
use crate::view::View;

/// Shorter intervals cost more than they tell.
pub(crate) const INTERVAL_MIN: Duration = Duration::from_millis(100);

pub(super) fn server(view: View<'_>, context: &mut Context<'_>) -> Option<Server> {
    let auth = view.table("auth");
    let token = context.text_or_file(auth, "token", "token_file");
    let has_auth = auth.text("token").is_some() || auth.text("token_file").is_some();
    if auth.is_there() && !has_auth {
        context.error(auth.at, "[server.auth] sets nothing", "set `token_file` (or `token`)");
    }
    if token.as_deref().is_some_and(|t| t.trim().is_empty()) {
        context.error(auth.place("token"), "`token` is empty", "use a long random text: openssl rand -hex 32");
    }
    let listen = view.string("listen")?;
    match is_loopback(&listen) {
        None => context.error(
            view.place("listen"),
            format!("`listen`: \"{listen}\" is not an address with a port"),
            "write it like \"127.0.0.1:8089\" or \"[::1]:8089\"",
        ),
        Some(false) if !has_auth => context.error(
            view.place("listen"),
            format!("`listen` ({listen}) is open to the network and nobody has to log in"),
            "set `token_file` in [server.auth], or listen on \"127.0.0.1:8089\"",
        ),
        Some(_) => {}
    }
    let external_url =
        view.text("external_url").and_then(|text| external_url(text, view.place("external_url"), context));
    Some(Server { listen, allowed_hosts: view.texts("allowed_hosts"), external_url, token: token.map(SecretText) })
}

/// Links are made of it by adding a path; and all who get a message see it.
fn external_url(text: &str, at: Origin, context: &mut Context<'_>) -> Option<String> {
    let url = url::Url::parse(text).ok().filter(|u| {
        let begins = text.get(..u.scheme().len() + 3).is_some_and(|b| b.ends_with("://"));
        matches!(u.scheme(), "http" | "https") && u.has_host() && begins
    });
    let wrong = match &url {
        None => Some("is no HTTP address"),
        Some(url) if url.query().is_some() || url.fragment().is_some() => Some("has a query or a fragment"),
        Some(url) if !url.username().is_empty() || url.password().is_some() => Some("has credentials in it"),
        Some(_) => None,
    };
    if let Some(wrong) = wrong {
        let help = "write it like \"https://belfry.example.com/mon\"";
        context.error(at, format!("`external_url` {wrong}"), help);
        return None;
    }
    url.map(|url| url.as_str().trim_end_matches('/').to_owned())
}

/// `None` when it is no address.
fn is_loopback(listen: &str) -> Option<bool> {
    if let Some(port) = listen.strip_prefix("localhost:") {
        return port.parse::<u16>().ok().map(|_| true);
    }
    listen.parse::<SocketAddr>().ok().map(|a| a.ip().is_loopback())
}

pub(super) fn storage(view: View<'_>, context: &mut Context<'_>) -> Option<Storage> {
    let remote = remote::remote(view, context);
    let is_remote = !["disk", "memory"].contains(&view.text("backend")?);
    let retention = match view.text("retention")? {
        _ if is_remote => Some(remote::local_retention(view, context)),
        "forever" => None,
        _ => Some(view.duration("retention")?),
    };
    let out_of_order_window = view.duration("out_of_order_window")?;
    if let Some(kept) = retention.filter(|r| *r < out_of_order_window) {
        let key = if is_remote { "local_retention" } else { "retention" };
        let kept = view.text(key).map_or_else(|| format_duration(kept), str::to_owned);
        context.error(
            view.place(key),
            format!("`{key}` ({kept}) is shorter than `out_of_order_window`"),
            format!("raise `{key}` or lower `out_of_order_window`"),
        );
    }
    let fsync = match view.text("fsync")? {
        "always" => Fsync::Always,
        "never" => Fsync::Never,
        _ => Fsync::Every(view.duration("fsync")?),
    };
    let durable_ack = view.bool("durable_ack");
    if durable_ack && fsync == Fsync::Never {
        context.error(
            view.place("durable_ack"),
            "`durable_ack` promises what `fsync = \"never\"` does not do".to_owned(),
            "take away one of the two".to_owned(),
        );
    }
    let retention_bytes = super::storage::retention_bytes(&view, context).filter(|_| !is_remote);
    let kept = (if is_remote { "local_retention" } else { "retention" }, retention);
    let downsample = super::storage::downsample(&view, kept, out_of_order_window, context)?;
    Some(Storage {
        path: context.path(view.text("path")?),
        backend: if view.text("backend")? == "memory" { Backend::Memory } else { Backend::Disk },
        remote,
        retention,
        retention_bytes,
        fsync,
        durable_ack,
        downsample,
        out_of_order_window,
        series_limit: u64::try_from(view.whole("series_limit")?).ok()?,
    })
}

pub(super) fn collection(view: View<'_>, context: &mut Context<'_>) -> Option<Collection> {
    let interval = view.duration("interval")?;
    let timeout = match view.node("timeout") {
        Some(_) => view.duration("timeout")?,
        // Who asks often wants the answer soon.
        None => view.duration("timeout")?.min(interval),
    };
    pace(view, interval, timeout, context);
    Some(Collection { interval, timeout, type_and_unit_labels: view.bool("type_and_unit_labels") })
}

/// An answer must have come before the next question.
pub(super) fn pace(view: View<'_>, interval: Duration, timeout: Duration, context: &mut Context<'_>) {
    if interval < INTERVAL_MIN {
        context.error(view.place("interval"), "`interval` is too short", "use 100ms or more");
    } else if timeout.is_zero() {
        context.error(view.place("timeout"), "`timeout` is zero: no answer is that quick", "use 5s, for example");
    } else if timeout > interval {
        context.error(
            view.place("timeout"),
            format!(
                "`timeout` ({}) is longer than `interval` ({})",
                format_duration(timeout),
                format_duration(interval)
            ),
            "lower `timeout` or raise `interval`",
        );
    }
}

pub(super) fn smtp(view: View<'_>, context: &mut Context<'_>) -> Option<Smtp> {
    if !view.is_there() {
        return None;
    }
    let password = context.text_or_file(view, "password", "password_file");
    let has_password = view.text("password").is_some() || view.text("password_file").is_some();
    let login = match (view.string("username"), password) {
        (Some(user), Some(password)) => Some((user, SecretText(password))),
        (Some(_), None) if !has_password => {
            context.error(view.place("username"), "`username` without a password", "set `password_file`");
            None
        }
        (None, Some(_)) => {
            context.error(view.at, "a password without `username`", "set `username` in [smtp]");
            None
        }
        _ => None,
    };
    let tls = match view.text("tls")? {
        "tls" => SmtpTls::Tls,
        "none" => SmtpTls::None,
        _ => SmtpTls::StartTls,
    };
    let port = match (view.whole("port"), tls) {
        (Some(port), _) => u16::try_from(port).ok()?,
        (None, SmtpTls::StartTls) => 587,
        (None, SmtpTls::Tls) => 465,
        (None, SmtpTls::None) => 25,
    };
    let from = view.string("from")?;
    let address = from.rsplit_once('<').map_or(from.as_str(), |(_, a)| a.trim_end().trim_end_matches('>'));
    if !address.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty()) {
        context.error(
            view.place("from"),
            format!("`from`: \"{from}\" is not a mail address"),
            "write it like \"belfry@example.org\" or \"Belfry <belfry@example.org>\"",
        );
    }
    Some(Smtp { host: view.string("host")?, port, tls, login, from, timeout: view.duration("timeout")? })
}

pub(super) fn retry(view: View<'_>, context: &mut Context<'_>) -> Option<Retry> {
    let retry = Retry {
        initial: view.duration("initial")?,
        max: view.duration("max")?,
        give_up_after: view.duration("give_up_after")?,
    };
    if retry.initial.is_zero() {
        context.error(view.place("initial"), "`initial` is zero: a retry needs a pause", "use 1s, for example");
    }
    if retry.max < retry.initial {
        context.error(view.place("max"), "`max` is shorter than `initial`", "raise `max` or lower `initial`");
    }
    Some(retry)
}

pub(super) fn telemetry(view: View<'_>, context: &mut Context<'_>) -> Option<Telemetry> {
    let log_level = view.string("log_level")?;
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let good = |d: &str| LEVELS.contains(&d.rsplit_once('=').map_or(d, |(_, level)| level).trim());
    if !log_level.split(',').all(good) {
        context.error(
            view.place("log_level"),
            format!("`log_level`: \"{log_level}\" is not a level"),
            "use error, warn, info, debug or trace, or by module: \"info,belfry_plugin=debug\"",
        );
    }
    let otlp_endpoint = view.string("otlp_endpoint");
    if let Some(endpoint) = &otlp_endpoint {
        let good = url::Url::parse(endpoint).is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
        if !good {
            context.error(
                view.place("otlp_endpoint"),
                format!("`otlp_endpoint`: \"{endpoint}\" is not an address"),
                "write it like \"http://localhost:4318\"",
            );
        }
    }
    Some(Telemetry {
        log_format: if view.text("log_format")? == "json" { LogFormat::Json } else { LogFormat::Pretty },
        log_level,
        otlp_endpoint,
        otlp_protocol: if view.text("otlp_protocol")? == "grpc" { OtlpProtocol::Grpc } else { OtlpProtocol::Http },
        service_name: view.string("service_name")?,
    })
}
