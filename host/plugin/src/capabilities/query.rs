//! `query`: PromQL and alert episodes. Granted by `grants.query`.

use std::time::Duration;

use belfry_model::{Labels, TimestampMs};

use super::{GuestError, denied, error, invalid, limit};
use crate::bindings::belfry::plugin::query::{AlertEpisode, Host, Points};
use crate::convert;
use crate::services::QueryPoints;
use crate::state::InstanceState;

/// Points of one answer: 8 MB as two columns, what the default `limits.memory` can hold next to the plugin itself.
const QUERY_POINTS_MAX: usize = 500_000;
/// No expression that a person reads is longer.
const EXPRESSION_BYTES_MAX: usize = 64 << 10;

impl InstanceState {
    fn query_allowed(&self, expression: &str) -> Result<(), GuestError> {
        if !self.grants.query {
            return Err(denied("query", "set `grants.query = true`"));
        }
        if expression.len() > EXPRESSION_BYTES_MAX {
            return Err(invalid(format!("the expression has more than {EXPRESSION_BYTES_MAX} bytes")));
        }
        Ok(())
    }
}

fn answer(result: Result<Vec<QueryPoints>, String>) -> Result<Vec<Points>, GuestError> {
    // Which part of a query failed only the engine knows; asked again it fails again.
    let series = result.map_err(|message| error("query", message, false))?;
    let points: usize = series.iter().map(|s| s.points.len()).sum();
    if points > QUERY_POINTS_MAX {
        return Err(limit(format!("the answer has {points} points; at most {QUERY_POINTS_MAX}: take a larger step")));
    }
    Ok(series
        .into_iter()
        .map(|s| Points {
            labels: labels(&s.labels),
            times: s.points.iter().map(|(t, _)| t.0).collect(),
            values: s.points.iter().map(|(_, v)| *v).collect(),
        })
        .collect())
}

fn labels(labels: &Labels) -> Vec<crate::bindings::belfry::plugin::types::Label> {
    convert::labels_to_guest(labels)
}

impl Host for InstanceState {
    async fn instant(&mut self, expression: String, at: i64) -> Result<Vec<Points>, GuestError> {
        self.query_allowed(&expression)?;
        answer(self.shared.services.query.instant(&expression, TimestampMs(at)).await)
    }

    async fn range(
        &mut self,
        expression: String,
        start: i64,
        end: i64,
        step_ms: u64,
    ) -> Result<Vec<Points>, GuestError> {
        self.query_allowed(&expression)?;
        if step_ms == 0 || end < start {
            return Err(invalid("a range needs start <= end and a step above 0"));
        }
        let steps = end.abs_diff(start) / step_ms;
        if steps > QUERY_POINTS_MAX as u64 {
            return Err(limit(format!("{steps} steps; at most {QUERY_POINTS_MAX}: take a larger step")));
        }
        let step = Duration::from_millis(step_ms);
        answer(self.shared.services.query.range(&expression, TimestampMs(start), TimestampMs(end), step).await)
    }

    async fn alerts(&mut self, start: i64, end: i64) -> Result<Vec<AlertEpisode>, GuestError> {
        self.query_allowed("")?;
        let episodes = self.shared.services.query.alerts(TimestampMs(start), TimestampMs(end)).await;
        Ok(episodes
            .map_err(|message| error("query", message, false))?
            .into_iter()
            .map(|e| AlertEpisode {
                rule: e.rule,
                severity: e.severity,
                labels: labels(&e.labels),
                started: e.started.0,
                fired: e.fired.map(|t| t.0),
                resolved: e.resolved.map(|t| t.0),
                acknowledged_by: None,
                attributes: Vec::new(),
            })
            .collect())
    }
}
