//! Are these labels fit to be stored, and whose are they?
//!
//! Invariant: what passes has a metric name, is bounded in every direction, and carries exactly the host labels of its
//! producer under the reserved names.

use belfry_model::labels::RESERVED;
use belfry_model::{Labels, METRIC_NAME};

/// Bytes of a metric's name: as long as a long name of a JVM exporter, twice.
pub const METRIC_NAME_BYTES_MAX: usize = 256;
/// Bytes of a label's name.
pub const LABEL_NAME_BYTES_MAX: usize = 128;
/// Bytes of a label's value: paths and URLs fit, documents do not.
pub const LABEL_VALUE_BYTES_MAX: usize = 2048;
/// Labels of a series, host labels included.
pub const LABELS_MAX: usize = 40;

/// The label with which a series says what kind of metric it is, as Prometheus 3 has it.
pub(crate) const METRIC_TYPE: &str = "__type__";
/// The same of its base unit.
pub(crate) const METRIC_UNIT: &str = "__unit__";

/// Checks what a producer brought and adds what the host says of it. The error says what is wrong, for its author.
pub(crate) fn admit(labels: &Labels, host: &Labels) -> Result<Labels, String> {
    let metric = labels.metric().ok_or("the series has no metric name")?;
    check_name("metric name", metric, METRIC_NAME_BYTES_MAX)?;
    let mut builder = labels.to_builder();
    for label in labels {
        if &*label.name == METRIC_NAME {
            continue;
        }
        check_name("label name", &label.name, LABEL_NAME_BYTES_MAX)?;
        if label.name.starts_with("__") {
            return Err(format!("label `{}`: names that begin with `__` are reserved", label.name));
        }
        // The value the host sets anyway is no claim: who passes it on is let through.
        if RESERVED.contains(&&*label.name) && host.get(&label.name) != Some(&label.value) {
            return Err(format!("label `{}` is set by the host; use another name", label.name));
        }
        if label.value.len() > LABEL_VALUE_BYTES_MAX {
            return Err(format!(
                "the value of label `{}` has {} bytes; at most {LABEL_VALUE_BYTES_MAX} are kept",
                label.name,
                label.value.len()
            ));
        }
    }
    for label in host {
        builder.set(label.name.clone(), label.value.clone());
    }
    let all = builder.build();
    if all.len() > LABELS_MAX {
        return Err(format!("the series has {} labels; at most {LABELS_MAX} are kept", all.len()));
    }
    Ok(all)
}

/// UTF-8 is allowed, as in Prometheus 3; what a terminal or a log line would trip over is not.
fn check_name(what: &str, name: &str, bytes_max: usize) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err(format!("a {what} is empty"));
    }
    if name.len() > bytes_max {
        return Err(format!("a {what} has {} bytes; at most {bytes_max} are allowed", name.len()));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("the {what} {name:?} holds a control character"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Labels {
        Labels::from_pairs([("plugin", "github"), ("instance", "eu")])
    }

    #[test]
    fn host_labels_are_added() {
        let all = admit(&Labels::from_pairs([(METRIC_NAME, "up"), ("core", "0")]), &host()).unwrap();
        assert_eq!(all.to_string(), r#"up{core="0", instance="eu", plugin="github"}"#);
    }

    #[test]
    fn a_producer_cannot_claim_what_the_host_says() {
        for name in RESERVED {
            let claimed = Labels::from_pairs([(METRIC_NAME, "up"), (name, "stolen")]);
            let said = admit(&claimed, &host()).unwrap_err();
            assert_eq!(said, format!("label `{name}` is set by the host; use another name"));
        }
        let passed_on = Labels::from_pairs([(METRIC_NAME, "up"), ("plugin", "github")]);
        assert!(admit(&passed_on, &host()).is_ok());
    }

    #[test]
    fn what_cannot_be_stored_says_why() {
        let long = "x".repeat(LABEL_VALUE_BYTES_MAX + 1);
        let many: Vec<_> = (0..LABELS_MAX + 1).map(|i| (format!("l{i}"), "v".to_owned())).collect();
        for (labels, said) in [
            (Labels::from_pairs([("core", "0")]), "no metric name"),
            (Labels::from_pairs([(METRIC_NAME, "a\nb")]), "control character"),
            (Labels::from_pairs([(METRIC_NAME, "up"), ("__address__", "x")]), "reserved"),
            (Labels::from_pairs([(METRIC_NAME, "up"), ("l", long.as_str())]), "at most 2048"),
            (Labels::from_pairs(many.into_iter().chain([(METRIC_NAME.into(), "up".into())])), "at most 40"),
        ] {
            let err = admit(&labels, &host()).unwrap_err();
            assert!(err.contains(said), "{err}");
        }
    }
}
