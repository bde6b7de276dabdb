//! From the config's words to what the plugin runtime and the organs take.

use belfry_config::types as config;
use belfry_model::{Labels, LabelsBuilder};
use belfry_plugin::{ComponentSource, Grants, Limits, PluginSpec, Secret, SmtpSettings, SmtpTls};

use crate::builtins;

/// Label that names the plugin on all its series.
pub const PLUGIN_LABEL: &str = "plugin";
/// Label that names the source on all its series.
pub const SOURCE_LABEL: &str = "source";

/// What runs for a component of the config; `None` when it names a loaded plugin instead.
pub fn plugin(name: &str, component: &config::Component, labels: Labels) -> Option<PluginSpec> {
    let (source, table) = match &component.source {
        config::Source::Builtin(builtin) => (ComponentSource::Builtin(builtin.clone()), builtins::grants(builtin)),
        config::Source::File(path) => (ComponentSource::File(path.clone()), Grants::default()),
        config::Source::Plugin(_) => return None,
    };
    let secrets = component
        .secrets
        .iter()
        .map(|(name, s)| (name.clone(), Secret { value: s.value.0.clone(), origins: s.origins.clone() }));
    Some(PluginSpec {
        name: name.to_owned(),
        source,
        config: component.config.clone(),
        grants: grants(&component.grants, table),
        limits: limits(&component.limits),
        secrets: secrets.collect(),
        host_labels: labels,
    })
}

/// The labels that the host sets on a source's series.
pub fn host_labels(name: &str, extra: &Labels) -> Labels {
    let mut b: LabelsBuilder = extra.to_builder();
    b.set(PLUGIN_LABEL, name).set(SOURCE_LABEL, name);
    b.build()
}

fn grants(given: &config::Grants, table: Grants) -> Grants {
    Grants {
        http: given.http.clone(),
        system: given.system.clone(),
        query: given.query || table.query,
        mail: given.mail.clone(),
        kv: given.kv || table.kv,
    }
}

fn limits(given: &config::Limits) -> Limits {
    let d = Limits::default();
    let bytes =
        |given: Option<u64>, default: usize| given.map_or(default, |b| usize::try_from(b).unwrap_or(usize::MAX));
    Limits {
        call_time: given.call_time.unwrap_or(d.call_time),
        cpu_time: given.cpu_time.unwrap_or(d.cpu_time),
        memory_bytes: bytes(given.memory_bytes, d.memory_bytes),
        hostcall_bytes: bytes(given.hostcall_bytes, d.hostcall_bytes),
        log_lines: given.log_lines.unwrap_or(d.log_lines),
        log_line_bytes: bytes(given.log_line_bytes, d.log_line_bytes),
        series: given.series.unwrap_or(d.series),
        samples_per_call: given.samples_per_call.unwrap_or(d.samples_per_call),
        http_requests: given.http_requests.unwrap_or(d.http_requests),
        http_concurrent: given.http_concurrent.unwrap_or(d.http_concurrent),
        http_response_bytes: bytes(given.http_response_bytes, d.http_response_bytes),
        kv_bytes: bytes(given.kv_bytes, d.kv_bytes),
    }
}

/// The mail server.
pub fn smtp(given: &config::Smtp) -> SmtpSettings {
    SmtpSettings {
        host: given.host.clone(),
        port: given.port,
        tls: match given.tls {
            config::SmtpTls::StartTls => SmtpTls::StartTls,
            config::SmtpTls::Tls => SmtpTls::Tls,
            config::SmtpTls::None => SmtpTls::None,
        },
        credentials: given.login.as_ref().map(|(user, password)| (user.clone(), password.0.clone())),
        from: given.from.clone(),
        hello: None,
        timeout: given.timeout,
        ca_file: None,
    }
}

/// How a value is compared.
pub fn condition(given: config::Condition) -> belfry_rules::Condition {
    use belfry_rules::Condition as C;
    use config::Condition as G;
    match given {
        G::GreaterThan => C::GreaterThan,
        G::LessThan => C::LessThan,
        G::Equals => C::Equals,
        G::NotEquals => C::NotEquals,
        G::GreaterOrEqual => C::GreaterOrEqual,
        G::LessOrEqual => C::LessOrEqual,
    }
}

/// Thresholds for the rules organ.
pub fn rule(given: &config::Rule, external_labels: &Labels, external_url: &str) -> belfry_rules::ThresholdRule {
    belfry_rules::ThresholdRule {
        name: given.name.clone(),
        description: given.description.clone(),
        metric: given.metric.clone(),
        condition: condition(given.condition),
        threshold: given.threshold,
        duration: given.duration,
        severity: given.severity,
        labels: given.labels.clone(),
        annotations: given.annotations.clone(),
        external_labels: external_labels.clone(),
        external_url: external_url.to_owned(),
        interval: given.interval,
    }
}

/// The routing tree.
pub fn route(given: &config::Route) -> belfry_notify::Route {
    belfry_notify::Route {
        matchers: given.matchers.clone(),
        channel: given.channel.clone(),
        group_by: given.group_by.clone(),
        group_wait: given.group_wait,
        group_interval: given.group_interval,
        repeat_interval: given.repeat_interval,
        continue_: given.continue_,
        routes: given.routes.iter().map(route).collect(),
    }
}

/// Retry of deliveries.
pub fn retry(given: config::Retry) -> belfry_notify::RetryPolicy {
    belfry_notify::RetryPolicy { initial: given.initial, max: given.max, give_up_after: given.give_up_after }
}

/// Name of the plugin that writes a report's section.
pub fn section_name(report: &str, index: usize) -> String {
    format!("report:{report}:{}", index + 1)
}

/// Name of the plugin that is a channel's handler.
pub fn channel_name(channel: &str) -> String {
    format!("channel:{channel}")
}

/// A report for the reports organ.
pub fn report(given: &config::Report) -> belfry_reports::ReportSpec {
    use belfry_reports::Format as F;
    use config::ReportFormat as G;
    let sections = given.sections.iter().enumerate().map(|(i, s)| belfry_reports::SectionSpec {
        plugin: match &s.component.source {
            config::Source::Plugin(name) => name.clone(),
            _ => section_name(&given.name, i),
        },
        title: s.title.clone(),
        parameters: s.component.config.clone(),
    });
    belfry_reports::ReportSpec {
        name: given.name.clone(),
        title: given.title.clone(),
        schedule: given.schedule.text().to_owned(),
        time_zone: given.time_zone.clone(),
        period: given.period,
        formats: given
            .formats
            .iter()
            .map(|f| match f {
                G::Html => F::Html,
                G::Json => F::Json,
                G::Csv => F::Csv,
            })
            .collect(),
        deliver: given.deliver.clone(),
        sections: sections.collect(),
    }
}
