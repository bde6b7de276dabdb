//! Makes a report: asks its sections, assembles, renders, archives, delivers.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use belfry_model::report::{Report, Section, SectionRequest};
use belfry_model::{Clock, JournalEntry, TimestampMs};
use belfry_plugin::{Kind, ReportInput};
use belfry_reports::{ReportSpec, ReportsEffect};
use belfry_state::State;
use parking_lot::Mutex;
use tracing::Instrument as _;

use super::Perform;
use super::notify::Channels;
use crate::changes::{Changed, Changes};
use crate::plugins::PluginSet;

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
            url: format!("{}/reports/{id}", self.external_url),
            attributes: Vec::new(),
        };
        futures::future::join_all(spec.deliver.iter().map(|channel| self.send(channel, &input))).await;
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

    /// A channel that cannot take it is told of; the report is in the archive.
    async fn send(&self, channel: &str, report: &ReportInput) {
        let handler = self.channels.load().get(channel).and_then(|name| self.plugins.get(name));
        match handler {
            Some(plugin) if plugin.kinds().contains(&Kind::ReportHandler) => {
                match plugin.deliver_report(report).await {
                    Ok(()) => tracing::info!(channel, report = report.name, "report delivered"),
                    Err(error) => tracing::error!(channel, report = report.name, %error, "report not delivered"),
                }
            }
            Some(_) => tracing::error!(channel, report = report.name, "this channel's handler takes no reports"),
            None => tracing::error!(channel, report = report.name, "this channel's handler is not loaded"),
        }
    }
}
