//! From the config's values to the scraper's.

use belfry_config::types::scrape as config;
use belfry_ingest::exposition::TextFormat;
use belfry_ingest::relabel::{Action, Relabel, RelabelSpec};
use belfry_ingest::scrape::client::HttpOptions;
use belfry_ingest::scrape::{BodyFormat, Group, Job, JobLimits};

use crate::adapters::client_options::client_options;

/// The error says what the config's own check did not see.
pub fn job(scrape: &config::Scrape) -> Result<Job, String> {
    Ok(Job {
        name: scrape.job.clone(),
        interval: scrape.interval,
        timeout: scrape.timeout,
        scheme: scrape.scheme.clone(),
        path: scrape.path.clone(),
        params: scrape.params.clone(),
        honor_labels: scrape.honor_labels,
        honor_timestamps: scrape.honor_timestamps,
        track_timestamps_staleness: scrape.track_timestamps_staleness,
        native_histograms: scrape.native_histograms,
        classic_histograms: scrape.classic_histograms,
        type_and_unit_labels: scrape.type_and_unit_labels,
        extra_metrics: scrape.extra_metrics,
        limits: JobLimits {
            body_bytes: scrape.limits.body_bytes,
            samples: scrape.limits.samples,
            labels: scrape.limits.labels,
            label_name_bytes: scrape.limits.label_name_bytes,
            label_value_bytes: scrape.limits.label_value_bytes,
            targets: scrape.limits.targets,
        },
        relabel: rules(&scrape.relabel)?,
        metric_relabel: rules(&scrape.metric_relabel)?,
    })
}

fn rules(rules: &[config::RelabelRule]) -> Result<Vec<Relabel>, String> {
    rules.iter().map(rule).collect()
}

fn rule(rule: &config::RelabelRule) -> Result<Relabel, String> {
    let action = Action::ALL.iter().find(|(name, _)| *name == rule.action).map(|(_, action)| *action);
    let spec = RelabelSpec {
        source_labels: rule.source_labels.clone(),
        separator: rule.separator.clone(),
        regex: rule.regex.clone(),
        modulus: rule.modulus,
        target_label: rule.target_label.clone(),
        replacement: rule.replacement.clone(),
        action: action.ok_or_else(|| format!("there is no action `{}`", rule.action))?,
    };
    Relabel::new(spec).map_err(|e| e.to_string())
}

/// Addresses with their labels.
pub fn group(group: &config::StaticGroup) -> Group {
    Group { addresses: group.targets.clone(), labels: group.labels.clone() }
}

/// How something is asked; `scrape` where it is a target.
pub fn http(http: &config::Http, scrape: Option<&config::Scrape>) -> HttpOptions {
    let fallback = match scrape.and_then(|s| s.fallback_format.as_deref()) {
        Some("text") => Some(BodyFormat::Text(TextFormat::Prometheus)),
        Some("openmetrics") => Some(BodyFormat::Text(TextFormat::OpenMetrics)),
        Some(_) => Some(BodyFormat::Protobuf),
        None => None,
    };
    HttpOptions {
        client: client_options(http),
        follow_redirects: http.follow_redirects,
        compression: scrape.is_none_or(|s| s.compression),
        fallback,
    }
}
