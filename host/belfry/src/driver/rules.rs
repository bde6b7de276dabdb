//! Evaluates what the rules organ asks for, and passes on what it decides.

use std::sync::Arc;

use async_trait::async_trait;
use belfry_ingest::Ingest;
use belfry_model::TimestampMs;
use belfry_notify::NotifyInput;
use belfry_promql::{PointValue, QueryTime, QueryValue};
use belfry_rules::{RulesEffect, RulesInput};
use belfry_state::State;

use super::{Mailbox, Perform};
use crate::changes::{Changed, Changes};
use crate::queries::Queries;

/// The hands of the rules organ.
pub struct Evaluator {
    /// Answers its expressions.
    pub queries: Arc<Queries>,
    /// Takes `ALERTS`.
    pub ingest: Arc<Ingest>,
    /// Keeps alerts and the journal.
    pub state: Arc<State>,
    /// Back to the organ.
    pub inputs: Mailbox<RulesInput>,
    /// On to notify.
    pub notify: Mailbox<NotifyInput>,
    /// For the dashboard.
    pub changes: Changes,
}

#[async_trait]
impl Perform<RulesEffect> for Evaluator {
    async fn perform(&self, effect: RulesEffect) {
        match effect {
            RulesEffect::Evaluate { rule, expression, at } => self.evaluate(rule, expression, at),
            RulesEffect::Emit(event) => {
                self.changes.tell(Changed::Alerts);
                tracing::info!(
                    rule = event.alert.rule, from = event.from.as_str(), to = event.alert.state.as_str(),
                    value = event.alert.value, labels = %event.alert.labels, "alert changed"
                );
                if let Err(error) = self.state.alert_event(event.clone()).await {
                    tracing::error!(%error, "an alert's change was not journalled");
                }
                // Notify has it on the disk before rules go on to remember that they told it: a crash in between
                // repeats the event rather than losing it.
                self.notify.send_and_wait(NotifyInput::Alerts(vec![event])).await;
            }
            RulesEffect::Resend(alerts) => {
                self.notify.send_and_wait(NotifyInput::StillFiring(alerts)).await;
            }
            RulesEffect::Persist { put, remove } => {
                if let Err(error) = self.state.persist_alerts(put, remove).await {
                    tracing::error!(%error, "alert state was not kept: a restart would forget it");
                }
                self.changes.tell(Changed::Alerts);
            }
            RulesEffect::Record { at, samples } => {
                if let Err(error) = self.ingest.record(at, samples).await {
                    tracing::warn!(%error, "samples of a rule were not written");
                }
            }
            RulesEffect::Failed { rule, reason } => {
                tracing::warn!(rule, reason, "a rule could not be evaluated");
                self.changes.tell(Changed::Alerts);
            }
        }
    }
}

impl Evaluator {
    fn evaluate(&self, rule: String, expression: String, at: TimestampMs) {
        let (queries, inputs) = (self.queries.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let answer = queries.evaluate_rule(&expression, QueryTime::Instant(at)).await;
            let outcome = answer.map_err(|e| e.to_string()).map(|answer| match answer.value {
                QueryValue::Vector(points) => points
                    .into_iter()
                    .filter_map(|p| match p.value {
                        PointValue::Float(v) => Some((p.labels, v)),
                        PointValue::Histogram(_) => None,
                    })
                    .collect(),
                _ => Vec::new(),
            });
            // The organ is gone only when the process ends.
            inputs.send(RulesInput::Evaluated { rule, at, outcome }).await;
        });
    }
}
