//! A group of alerts, or a report, as a handler plugin takes it.

use belfry_model::{Alert, AlertState};
use belfry_notify::{AlertGroup, DeliveryOutcome};
use belfry_plugin::{AlertGroupInput, AlertInput, CallError, Receipt};

/// What the contract calls `alert-group`.
pub fn group_input(group: &AlertGroup, external_url: &str) -> AlertGroupInput {
    let firing = group.alerts.iter().any(|a| a.state == AlertState::Firing);
    AlertGroupInput {
        dedup_key: group.dedup_key.clone(),
        status: if firing { "firing" } else { "resolved" }.to_owned(),
        channel: group.channel.clone(),
        group_labels: group.group_labels.clone(),
        common_labels: group.common_labels.clone(),
        common_annotations: group.common_annotations.clone(),
        alerts: group.alerts.iter().map(|a| alert_input(a, external_url)).collect(),
        truncated: group.truncated,
        attempt: group.attempt,
        repetition: group.repetition,
        previous_receipt: group.previous_receipt.clone(),
        external_url: external_url.to_owned(),
        attributes: Vec::new(),
    }
}

fn alert_input(alert: &Alert, external_url: &str) -> AlertInput {
    let resolved = alert.state == AlertState::Resolved;
    AlertInput {
        fingerprint: alert.fingerprint.to_string(),
        rule: alert.rule.clone(),
        status: if resolved { "resolved" } else { "firing" }.to_owned(),
        severity: alert.severity.as_str().to_owned(),
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        value: alert.value,
        started: alert.active_since,
        ended: alert.resolved_at,
        url: page(external_url, &format!("alerts/{}", alert.fingerprint)),
    }
}

/// The address of a page of the UI: it tells its pages apart behind the `#`.
pub fn page(external_url: &str, page: &str) -> String {
    format!("{}/#/{page}", external_url.trim_end_matches('/'))
}

/// How a delivery ended, by what is to be done next.
pub fn outcome(answer: Result<Receipt, CallError>) -> DeliveryOutcome {
    match answer {
        Ok(receipt) => DeliveryOutcome::Accepted { reference: receipt.reference },
        Err(CallError::Refused { message, retryable: false, .. }) => DeliveryOutcome::Rejected { reason: message },
        Err(CallError::Refused { message, retry_after, .. }) => {
            DeliveryOutcome::Unavailable { reason: message, retry_after }
        }
        Err(CallError::BackingOff { retry_after, .. }) => DeliveryOutcome::Unavailable {
            reason: "the handler is restarting after a crash".to_owned(),
            retry_after: Some(retry_after),
        },
        Err(error @ CallError::WrongKind { .. }) => DeliveryOutcome::Rejected { reason: error.to_string() },
        // A trap or a time-out may be passing: at least once means trying again.
        Err(error) => DeliveryOutcome::Unavailable { reason: error.to_string(), retry_after: None },
    }
}

#[cfg(test)]
mod tests {
    use belfry_model::{Fingerprint, Labels, Severity, TimestampMs};

    use super::*;

    #[test]
    fn an_alert_links_to_itself_in_the_ui() {
        let labels = Labels::from_pairs([("alertname", "Down"), ("instance", "a")]);
        let alert = Alert {
            fingerprint: Fingerprint(0x005b_cd15),
            rule: "Down".to_owned(),
            severity: Severity::Critical,
            labels,
            annotations: Labels::empty(),
            state: AlertState::Firing,
            value: 0.0,
            active_since: TimestampMs(0),
            fired_at: None,
            resolved_at: None,
        };
        for external_url in ["https://belfry.example.com/mon", "https://belfry.example.com/mon/"] {
            let url = alert_input(&alert, external_url).url;
            assert_eq!(url, "https://belfry.example.com/mon/#/alerts/00000000005bcd15");
        }
    }
}
