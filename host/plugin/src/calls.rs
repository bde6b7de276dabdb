//! What plugins are asked, in the model's words.
//!
//! Not here: how a call gets to the instance (`actor.rs`).

use std::time::Duration;

use belfry_model::report::{Block, Document, SectionRequest};
use belfry_model::{Batch, Labels, TimestampMs};
use futures::future::BoxFuture;
use serde::Serialize;

use crate::bindings::belfry::plugin::types::Attribute;
use crate::bindings::exports::belfry::plugin as wit;
use crate::capabilities::GuestError;
use crate::capabilities::sink::Phase;
use crate::convert;
use crate::error::CallError;
use crate::inspect::Kind;
use crate::instance::{Failure, Instance};

/// Of what a guest says in an error.
const ERROR_MESSAGE_BYTES_MAX: usize = 2_000;

/// Who a metric source stands for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Identity {
    /// Stable, unique among sources of its kind.
    pub id: String,
    /// For people.
    pub title: String,
    /// What sort of thing it is (`mcp-server`).
    pub kind: String,
    /// One sentence.
    pub description: String,
    /// Labels that describe it.
    pub labels: Labels,
    /// Further facts.
    pub attributes: Vec<(String, String)>,
}

/// How a monitored thing is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status", content = "detail")]
pub enum Health {
    /// Fine.
    Up,
    /// Working, but …
    Degraded(String),
    /// Not working: …
    Down(String),
    /// A state that this host does not know.
    Other(String),
}

/// One alert as a handler gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertInput {
    /// Hash of its labels.
    pub fingerprint: String,
    /// Name of the rule.
    pub rule: String,
    /// `firing` or `resolved`.
    pub status: String,
    /// `info`, `warning`, `error` or `critical`.
    pub severity: String,
    /// Its labels.
    pub labels: Labels,
    /// For people.
    pub annotations: Labels,
    /// What was compared last.
    pub value: f64,
    /// Since when.
    pub started: TimestampMs,
    /// Until when.
    pub ended: Option<TimestampMs>,
    /// Its page.
    pub url: String,
}

/// Alerts that are told together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertGroupInput {
    /// The same for every attempt of one notification.
    pub dedup_key: String,
    /// `firing` while any alert is.
    pub status: String,
    /// Name of the channel.
    pub channel: String,
    /// What they were grouped by.
    pub group_labels: Labels,
    /// What all have.
    pub common_labels: Labels,
    /// What all have.
    pub common_annotations: Labels,
    /// The alerts.
    pub alerts: Vec<AlertInput>,
    /// How many more there are.
    pub truncated: u32,
    /// 1 for the first.
    pub attempt: u32,
    /// 0 for the first notification of this group.
    pub repetition: u32,
    /// What the handler answered last.
    pub previous_receipt: Option<String>,
    /// Where Belfry is reached.
    pub external_url: String,
    /// Further facts.
    pub attributes: Vec<(String, String)>,
}

/// What a handler answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// Handed back with the group's next notification.
    pub reference: Option<String>,
    /// For people.
    pub note: Option<String>,
}

/// A finished report on its way to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportInput {
    /// Name of the `[[report]]`.
    pub name: String,
    /// For people.
    pub title: String,
    /// The period's first instant.
    pub start: TimestampMs,
    /// The first after it.
    pub end: TimestampMs,
    /// A few sentences of plain text.
    pub summary: String,
    /// Its files.
    pub documents: Vec<Document>,
    /// Its page in the archive.
    pub url: String,
    /// Further facts.
    pub attributes: Vec<(String, String)>,
}

/// What one call into an instance brings: an answer, a refusal, or the end of the instance.
pub(crate) type Answer<R> = Result<Result<R, CallError>, Failure>;

/// The guest said no.
pub(crate) fn refused(plugin: &str, e: GuestError) -> CallError {
    let mut message = e.message;
    if message.len() > ERROR_MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(ERROR_MESSAGE_BYTES_MAX));
        message.push('…');
    }
    CallError::Refused {
        plugin: plugin.to_owned(),
        message,
        code: e.code.chars().take(64).collect(),
        retryable: e.retryable,
        retry_after: e.retry_after_ms.map(|ms| Duration::from_millis(u64::from(ms))),
    }
}

fn wrong_kind<R>(instance: &Instance, kind: Kind) -> Answer<R> {
    Ok(Err(CallError::WrongKind { plugin: instance.state().plugin.to_string(), kind: kind.as_str() }))
}

/// Makes an answer of what the guest returned.
fn answer<R, T>(
    instance: &Instance,
    returned: Result<Result<T, GuestError>, Failure>,
    good: impl FnOnce(T) -> Result<R, String>,
) -> Answer<R> {
    let plugin = &*instance.state().plugin;
    Ok(match returned? {
        Err(e) => Err(refused(plugin, e)),
        Ok(value) => good(value).map_err(|message| CallError::Refused {
            plugin: plugin.to_owned(),
            message,
            code: "invalid".to_owned(),
            retryable: false,
            retry_after: None,
        }),
    })
}

fn commit_if_ok<T>(instance: &mut Instance, returned: &Result<Result<T, GuestError>, Failure>) -> Option<Batch> {
    let state = instance.state_mut();
    if let Ok(Ok(_)) = returned {
        let producer = state.plugin.clone();
        return Some(state.sink.commit(producer));
    }
    state.sink.abort();
    None
}

/// `collect`.
pub(crate) fn collect(instance: &mut Instance, at: TimestampMs) -> BoxFuture<'_, Answer<Batch>> {
    Box::pin(async move {
        if !instance.is(Kind::Collector) {
            return wrong_kind(instance, Kind::Collector);
        }
        let returned = instance
            .call(Phase::Collect, at, |exports, store| match &exports.collector {
                Some(guest) => Box::pin(guest.call_collect(store)),
                None => missing(),
            })
            .await;
        let batch = commit_if_ok(instance, &returned);
        answer(instance, returned, |()| batch.ok_or_else(no_batch))
    })
}

/// `snapshot`.
pub(crate) fn snapshot(instance: &mut Instance, at: TimestampMs) -> BoxFuture<'_, Answer<(Health, Batch)>> {
    Box::pin(async move {
        if !instance.is(Kind::MetricSource) {
            return wrong_kind(instance, Kind::MetricSource);
        }
        let returned = instance
            .call(Phase::Snapshot, at, |exports, store| match &exports.metric_source {
                Some(guest) => Box::pin(guest.call_snapshot(store)),
                None => missing(),
            })
            .await;
        let batch = commit_if_ok(instance, &returned);
        answer(instance, returned, |health| Ok((health.into(), batch.ok_or_else(no_batch)?)))
    })
}

/// `identify`.
pub(crate) fn identify(instance: &mut Instance, at: TimestampMs) -> BoxFuture<'_, Answer<Identity>> {
    Box::pin(async move {
        if !instance.is(Kind::MetricSource) {
            return wrong_kind(instance, Kind::MetricSource);
        }
        let returned = instance
            .call(Phase::Other, at, |exports, store| match &exports.metric_source {
                Some(guest) => Box::pin(guest.call_identify(store)),
                None => missing(),
            })
            .await;
        answer(instance, returned, |i| {
            Ok(Identity {
                id: i.id,
                title: i.title,
                kind: i.kind,
                description: i.description,
                labels: convert::labels_from_guest(i.labels),
                attributes: convert::attributes(i.attributes),
            })
        })
    })
}

/// `deliver`.
pub(crate) fn deliver(
    instance: &mut Instance,
    at: TimestampMs,
    group: wit::alert_handler::AlertGroup,
) -> BoxFuture<'_, Answer<Receipt>> {
    Box::pin(async move {
        if !instance.is(Kind::AlertHandler) {
            return wrong_kind(instance, Kind::AlertHandler);
        }
        let returned = instance
            .call(Phase::Other, at, move |exports, store| match &exports.alert_handler {
                Some(guest) => Box::pin(async move { guest.call_deliver(store, &group).await }),
                None => missing(),
            })
            .await;
        answer(instance, returned, |r| Ok(Receipt { reference: r.reference, note: r.note }))
    })
}

/// `deliver-report`.
pub(crate) fn deliver_report(
    instance: &mut Instance,
    at: TimestampMs,
    report: wit::report_handler::Report,
) -> BoxFuture<'_, Answer<()>> {
    Box::pin(async move {
        if !instance.is(Kind::ReportHandler) {
            return wrong_kind(instance, Kind::ReportHandler);
        }
        let returned = instance
            .call(Phase::Other, at, move |exports, store| match &exports.report_handler {
                Some(guest) => Box::pin(async move { guest.call_deliver_report(store, &report).await }),
                None => missing(),
            })
            .await;
        answer(instance, returned, Ok)
    })
}

/// `render`.
pub(crate) fn render(
    instance: &mut Instance,
    at: TimestampMs,
    request: wit::report_section::SectionRequest,
) -> BoxFuture<'_, Answer<Vec<Block>>> {
    Box::pin(async move {
        if !instance.is(Kind::ReportSection) {
            return wrong_kind(instance, Kind::ReportSection);
        }
        let returned = instance
            .call(Phase::Other, at, move |exports, store| match &exports.report_section {
                Some(guest) => Box::pin(async move { guest.call_render(store, &request).await }),
                None => missing(),
            })
            .await;
        answer(instance, returned, |blocks| blocks.into_iter().map(convert::block).collect())
    })
}

fn no_batch() -> String {
    "the call brought no batch".to_owned()
}

/// For exports that [`Instance::is`] has already vouched for.
fn missing<'a, T: 'a>() -> BoxFuture<'a, wasmtime::Result<T>> {
    Box::pin(async { Err(wasmtime::Error::msg("the instance lacks an export of its component")) })
}

impl From<wit::metric_source::Health> for Health {
    fn from(h: wit::metric_source::Health) -> Self {
        match h {
            wit::metric_source::Health::Up => Self::Up,
            wit::metric_source::Health::Degraded(why) => Self::Degraded(why),
            wit::metric_source::Health::Down(why) => Self::Down(why),
            wit::metric_source::Health::Other(state) => Self::Other(state),
        }
    }
}

fn attributes(pairs: &[(String, String)]) -> Vec<Attribute> {
    pairs.iter().map(|(key, value)| Attribute { key: key.clone(), value: value.clone() }).collect()
}

impl From<&AlertInput> for wit::alert_handler::Alert {
    fn from(a: &AlertInput) -> Self {
        Self {
            fingerprint: a.fingerprint.clone(),
            rule: a.rule.clone(),
            status: a.status.clone(),
            severity: a.severity.clone(),
            labels: convert::labels_to_guest(&a.labels),
            annotations: convert::labels_to_guest(&a.annotations),
            value: a.value,
            started: a.started.0,
            ended: a.ended.map(|t| t.0),
            url: a.url.clone(),
        }
    }
}

impl From<&AlertGroupInput> for wit::alert_handler::AlertGroup {
    fn from(g: &AlertGroupInput) -> Self {
        Self {
            dedup_key: g.dedup_key.clone(),
            status: g.status.clone(),
            channel: g.channel.clone(),
            group_labels: convert::labels_to_guest(&g.group_labels),
            common_labels: convert::labels_to_guest(&g.common_labels),
            common_annotations: convert::labels_to_guest(&g.common_annotations),
            alerts: g.alerts.iter().map(Into::into).collect(),
            truncated: g.truncated,
            attempt: g.attempt,
            repetition: g.repetition,
            previous_receipt: g.previous_receipt.clone(),
            external_url: g.external_url.clone(),
            attributes: attributes(&g.attributes),
        }
    }
}

impl From<&ReportInput> for wit::report_handler::Report {
    fn from(r: &ReportInput) -> Self {
        let document = |d: &Document| wit::report_handler::Document {
            media_type: d.media_type.clone(),
            file_name: d.file_name.clone(),
            data: d.data.clone(),
        };
        Self {
            name: r.name.clone(),
            title: r.title.clone(),
            start: r.start.0,
            end: r.end.0,
            summary: r.summary.clone(),
            documents: r.documents.iter().map(document).collect(),
            url: r.url.clone(),
            attributes: attributes(&r.attributes),
        }
    }
}

/// As the contract has it.
pub(crate) fn section_request(r: &SectionRequest) -> wit::report_section::SectionRequest {
    wit::report_section::SectionRequest {
        title: r.title.clone(),
        start: r.start.0,
        end: r.end.0,
        previous_start: r.previous_start.0,
        time_zone: r.time_zone.clone(),
        locale: r.locale.clone(),
        parameters: r.parameters.clone(),
    }
}
