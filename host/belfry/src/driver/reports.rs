//! Makes a report: asks its sections, assembles, renders, archives, delivers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use belfry_model::report::{Report, Section, SectionRequest};
use belfry_model::{Clock, JournalEntry, TimestampMs};
use belfry_plugin::{CallError, Kind, ReportInput};
use belfry_reports::{ReportSpec, ReportsEffect};
use belfry_state::State;
use parking_lot::Mutex;
use tracing::Instrument as _;

use super::Perform;
use super::notify::Channels;
use crate::changes::{Changed, Changes};
use crate::plugins::PluginSet;

/// Attempts at delivering a report to one channel: with pauses of 2, 8, 32 and 128 s they span about three minutes.
const DELIVERY_ATTEMPTS_MAX: u32 = 5;
/// The pause after the first; each further one is four times as long.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Language of reports, so far.
const LOCALE: &str = "en";

/// How the making of a report stands.
#[derive(Clone, Debug, Default)]
pub struct Making {
    /// Now?
    pub running: bool,
    /// When it was last made.
    pub last_run: Option<TimestampMs>,
    /// That one in the archive.
    pub last_archive_id: Option<i64>,
    /// Why the last run failed.
    pub last_error: Option<String>,
    /// Since the start.
    pub made: u64,
    /// Since the start.
    pub failed: u64,
}

/// The hands of the reports organ.
#[derive(Clone)]
pub struct Publisher {
    /// Sections and channels.
    pub plugins: Arc<PluginSet>,
    /// By channel.
    pub channels: Arc<ArcSwap<Channels>>,
    /// The archive and the journal.
    pub state: Arc<State>,
    /// By report.
    pub making: Arc<Mutex<BTreeMap<String, Making>>>,
    /// Where people find this Belfry.
    pub external_url: String,
    /// For the dashboard.
    pub changes: Changes,
    /// When it was made.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Perform<ReportsEffect> for Publisher {
    async fn perform(&self, effect: ReportsEffect) {
        let ReportsEffect::Make { spec, start, end, due, made_up_for } = effect;
        let publisher = self.clone();
        let span = tracing::info_span!("report", report = spec.name);
        let work = async move {
            let name = spec.name.clone();
            publisher.note(&name, |m| m.running = true);
            let outcome = publisher.make(&spec, start, end, due, made_up_for).await;
            let now = publisher.clock.now();
            publisher.note(&name, |m| {
                m.running = false;
                m.last_run = Some(now);
                match &outcome {
                    Ok(id) => {
                        m.last_archive_id = Some(*id);
                        m.last_error = None;
                        m.made += 1;
                    }
                    Err(error) => {
                        m.last_error = Some(format!("{error:#}"));
                        m.failed += 1;
                    }
                }
            });
            if let Err(error) = outcome {
                tracing::error!(report = name, error = format!("{error:#}"), "not made");
            }
        };
        tokio::spawn(work.instrument(span));
    }
}

impl Publisher {
    fn note(&self, name: &str, change: impl FnOnce(&mut Making)) {
        change(self.making.lock().entry(name.to_owned()).or_default());
        self.changes.tell(Changed::Reports);
    }

    async fn make(
        &self,
        spec: &ReportSpec,
        start: TimestampMs,
        end: TimestampMs,
        due: Option<TimestampMs>,
        made_up_for: Option<TimestampMs>,
    ) -> anyhow::Result<i64> {
        let asked = spec.sections.iter().map(|s| self.section(spec, s, start, end));
        let sections = futures::future::join_all(asked).await;
        let report = Report {
            name: spec.name.clone(),
            title: spec.title.clone(),
            start,
            end,
            made_at: self.clock.now(),
            time_zone: spec.time_zone.clone(),
            made_up_for,
            sections,
        };
        let formats = spec.formats.clone();
        // Rendering is work for the CPU: it must not hold up a worker of the reactor.
        let (report, documents) = tokio::task::spawn_blocking(move || {
            let documents = belfry_reports::render(&report, &formats);
            (report, documents)
        })
        .await?;
        let id = self.state.report_insert(report.clone(), due, documents.clone()).await?;
        let entry = JournalEntry::ReportMade { report: spec.name.clone(), archive_id: id };
        self.state.journal_append(report.made_at, vec![entry]).await?;
        tracing::info!(report = spec.name, archive_id = id, "made");
        let input = ReportInput {
            name: report.name.clone(),
            title: report.title.clone(),
            start,
            end,
            summary: belfry_reports::summary(&report),
            documents,
            url: crate::adapters::deliver::page(&self.external_url, &format!("reports/{id}")),
            attributes: Vec::new(),
        };
        // It is made now; a channel that is away for a while holds up nothing.
        let (publisher, channels) = (self.clone(), spec.deliver.clone());
        let delivering = async move {
            futures::future::join_all(channels.iter().map(|channel| publisher.send(channel, &input))).await;
        };
        tokio::spawn(delivering.in_current_span());
        Ok(id)
    }

    async fn section(
        &self,
        spec: &ReportSpec,
        section: &belfry_reports::SectionSpec,
        start: TimestampMs,
        end: TimestampMs,
    ) -> Section {
        let request = SectionRequest {
            title: section.title.clone(),
            start,
            end,
            previous_start: start.minus(end.since(start)),
            time_zone: spec.time_zone.clone(),
            locale: LOCALE.to_owned(),
            parameters: section.parameters.clone(),
        };
        let outcome = match self.plugins.get(&section.plugin) {
            Some(plugin) => plugin.render(request).await.map_err(|e| e.to_string()),
            None => Err("its plugin is not loaded".to_owned()),
        };
        Section { title: section.title.clone(), plugin: section.plugin.clone(), outcome }
    }

    /// Tries again what may pass; what cannot be delivered is told of, and the report is in the archive anyway.
    async fn send(&self, channel: &str, report: &ReportInput) {
        for attempt in 1..=DELIVERY_ATTEMPTS_MAX {
            let outcome = self.send_once(channel, report).await;
            let will_retry = matches!(&outcome, Err((_, true))) && attempt < DELIVERY_ATTEMPTS_MAX;
            let entry = JournalEntry::Delivery {
                channel: channel.to_owned(),
                dedup_key: report.url.clone(),
                alerts: Vec::new(),
                attempt,
                error: outcome.as_ref().err().map(|(reason, _)| reason.clone()),
                will_retry,
            };
            if let Err(error) = self.state.journal_append(self.clock.now(), vec![entry]).await {
                tracing::error!(%error, "the journal was not written");
            }
            match outcome {
                Ok(()) => return tracing::info!(channel, report = report.name, "report delivered"),
                Err((reason, _)) => {
                    tracing::error!(channel, report = report.name, reason, will_retry, "report not delivered")
                }
            }
            if !will_retry {
                return;
            }
            tokio::time::sleep(FIRST_PAUSE * 4_u32.pow(attempt - 1)).await;
        }
    }

    /// The error says whether trying again may help.
    async fn send_once(&self, channel: &str, report: &ReportInput) -> Result<(), (String, bool)> {
        let handler = self.channels.load().get(channel).and_then(|name| self.plugins.get(name));
        let plugin = handler.ok_or_else(|| ("the channel's handler is not loaded".to_owned(), true))?;
        if !plugin.kinds().contains(&Kind::ReportHandler) {
            return Err(("the channel's handler takes no reports".to_owned(), false));
        }
        plugin.deliver_report(report).await.map_err(|error| {
            let lasting = matches!(error, CallError::Refused { retryable: false, .. } | CallError::WrongKind { .. });
            (error.to_string(), !lasting)
        })
    }
}
