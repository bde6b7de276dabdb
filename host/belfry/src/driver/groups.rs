//! Evaluates what the groups of rule files ask for, and passes on what they decide.

use std::sync::Arc;

use async_trait::async_trait;
use belfry_ingest::Ingest;
use belfry_model::{Clock, JournalEntry, Labels, TimestampMs};
use belfry_notify::NotifyInput;
use belfry_promql::{PointValue, QueryTime, QueryValue, VectorPoint};
use belfry_rules::groups::{
    DataValue, GroupsEffect, GroupsInput, Job, NoQueries, QuerySample, Row, StoredAlert, template_value,
};
use belfry_state::State;
use tokio::sync::Semaphore;

use super::{Mailbox, Perform};
use crate::changes::{Changed, Changes};
use crate::queries::Queries;

/// Rules evaluated at a time: the queries of people keep their places however many groups are due at once. Who waits
/// here is bounded by the number of groups, each of which asks for a few rules at a time.
const EVALUATIONS_MAX: usize = 16;
/// Rows made on the task itself; more of them go to a thread that may be busy for a while.
const ROWS_AT_ONCE_MAX: usize = 500;

/// The hands of the groups.
pub struct GroupHands {
    /// Answers expressions.
    pub queries: Arc<Queries>,
    /// Takes what is recorded.
    pub ingest: Arc<Ingest>,
    /// Keeps alerts and the journal.
    pub state: Arc<State>,
    /// Back to the organ.
    pub inputs: Mailbox<GroupsInput>,
    /// On to notify.
    pub notify: Mailbox<NotifyInput>,
    /// For the dashboard.
    pub changes: Changes,
    /// How long evaluations take.
    pub clock: Arc<dyn Clock>,
    /// Evaluations at a time.
    pub places: Arc<Semaphore>,
}

/// Places for evaluations.
pub fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(EVALUATIONS_MAX))
}

#[async_trait]
impl Perform<GroupsEffect> for GroupHands {
    async fn perform(&self, effect: GroupsEffect) {
        match effect {
            GroupsEffect::Evaluate(job) => self.evaluate(job),
            GroupsEffect::Emit(events) => {
                for e in &events {
                    tracing::info!(
                        rule = e.alert.rule, from = e.from.as_str(), to = e.alert.state.as_str(),
                        value = e.alert.value, labels = %e.alert.labels, "alert changed"
                    );
                }
                if let Err(error) = self.state.alert_events(events.clone()).await {
                    tracing::error!(%error, "changes of alerts were not journalled");
                }
                // As with thresholds: notify has it on the disk before the rules go on to remember that they told it.
                self.notify.send_and_wait(NotifyInput::Alerts(events)).await;
                self.changes.tell(Changed::Alerts);
            }
            GroupsEffect::Resend(alerts) => self.notify.send_and_wait(NotifyInput::StillFiring(alerts)).await,
            GroupsEffect::Persist { put, remove } => self.persist(put, remove).await,
            GroupsEffect::Seen { group, at } => {
                if let Err(error) = self.state.rule_group_seen(group.to_string(), at).await {
                    tracing::warn!(%error, "when a group was evaluated was not kept");
                }
            }
            GroupsEffect::Record { at, samples } => self.record(at, samples).await,
            GroupsEffect::Failed { group, rule, reason } => {
                tracing::warn!(%group, %rule, reason, "a rule could not be evaluated");
                let entry = JournalEntry::RuleFailed { rule: rule.to_string(), reason };
                if let Err(error) = self.state.journal_append(self.clock.now(), vec![entry]).await {
                    tracing::error!(%error, "the journal was not written");
                }
                self.changes.tell(Changed::Alerts);
            }
        }
    }
}

impl GroupHands {
    async fn persist(&self, put: Vec<StoredAlert>, remove: Vec<(String, belfry_model::Fingerprint)>) {
        let row = |a: StoredAlert| match serde_json::to_string(&a) {
            Ok(body) => Some((a.rule, a.alert.fingerprint, body)),
            Err(error) => {
                tracing::error!(%error, "an alert cannot be written down");
                None
            }
        };
        let put = put.into_iter().filter_map(row).collect();
        if let Err(error) = self.state.persist_rule_alerts(put, remove).await {
            tracing::error!(%error, "alert state was not kept: a restart would forget it");
        }
    }

    async fn record(&self, at: TimestampMs, samples: Vec<(Labels, PointValue)>) {
        let (mut floats, mut histograms) = (Vec::with_capacity(samples.len()), Vec::new());
        for (labels, value) in samples {
            match value {
                PointValue::Float(v) => floats.push((labels, v)),
                PointValue::Histogram(h) => histograms.push((labels, h)),
            }
        }
        if let Err(error) = self.ingest.record(at, floats).await {
            tracing::warn!(%error, "samples of a rule were not written");
        }
        if !histograms.is_empty()
            && let Err(error) = self.ingest.record_histograms(at, histograms).await
        {
            tracing::warn!(%error, "histograms of a rule were not written");
        }
    }

    fn evaluate(&self, job: Job) {
        let (queries, inputs, clock, places) =
            (self.queries.clone(), self.inputs.clone(), self.clock.clone(), self.places.clone());
        tokio::spawn(async move {
            let place = places.acquire().await;
            let begun = clock.monotonic();
            let outcome = evaluate(&queries, &job).await;
            let took = clock.monotonic().saturating_sub(begun);
            drop(place);
            // The organ is gone only when the process ends.
            inputs.send(GroupsInput::Evaluated { group: job.group, serial: job.serial, took, outcome }).await;
        });
    }
}

async fn evaluate(queries: &Arc<Queries>, job: &Job) -> Result<Vec<Row>, String> {
    let time = QueryTime::Instant(job.query_at);
    let answer = queries.evaluate_sharing(&job.rule.expr, time, &job.shared).await.map_err(|e| e.to_string())?;
    let points = match answer.value {
        QueryValue::Vector(points) => points,
        QueryValue::Scalar(at, v) => vec![VectorPoint { labels: Labels::empty(), at, value: PointValue::Float(v) }],
        _ => return Err("rule result is not a vector or scalar".to_owned()),
    };
    let asks = job.rule.asks();
    if points.is_empty() || (!asks && points.len() <= ROWS_AT_ONCE_MAX) {
        return job.rule.rows(points, &NoQueries, job.at);
    }
    let (rule, at, queries) = (job.rule.clone(), job.at, queries.clone());
    let runtime = tokio::runtime::Handle::current();
    let rows = tokio::task::spawn_blocking(move || {
        let ask = |expression: &str, at: TimestampMs| -> Result<Vec<QuerySample<DataValue>>, String> {
            let answer = runtime.block_on(queries.evaluate_rule(expression, QueryTime::Instant(at)));
            match answer.map_err(|e| e.to_string())?.value {
                QueryValue::Vector(points) => Ok(points.into_iter().map(sample).collect()),
                QueryValue::Scalar(_, value) => Ok(vec![QuerySample { labels: Labels::empty(), value: value.into() }]),
                _ => Err("query result is not a vector or scalar".to_owned()),
            }
        };
        rule.rows(points, &ask, at)
    });
    rows.await.map_err(|e| format!("templates could not be expanded: {e}"))?
}

fn sample(point: VectorPoint) -> QuerySample<DataValue> {
    QuerySample { value: template_value(&point.value), labels: point.labels }
}
