//! Label sets of pushed series: checked when they are seen for the first time.
//!
//! Invariant: what passes has a metric name, no name twice, and is bounded. Labels are kept as they were sent: who may
//! write may name any job and instance, so that a series read back is the one that was sent.

use belfry_model::{Label, Labels, LabelsBuilder, METRIC_NAME};

use super::wire::{Field, Malformed, Reader};

/// Labels of a pushed series.
pub const PUSHED_LABELS_MAX: usize = 128;
/// Bytes of a pushed label's name.
pub const PUSHED_NAME_BYTES_MAX: usize = 1024;
/// Bytes of a pushed label's value.
pub const PUSHED_VALUE_BYTES_MAX: usize = 8192;

/// Names and values.
pub(crate) type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

/// A label set from pairs in any order, or what is wrong with it. An empty value means that the label is not there.
/// Prometheus sorts what comes unsorted, and so do we.
pub(crate) fn checked<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<Labels, String> {
    let mut builder = LabelsBuilder::default();
    let mut names: Vec<&str> = Vec::new();
    for (name, value) in pairs {
        let name = std::str::from_utf8(name).map_err(|_| "a label's name is not UTF-8".to_owned())?;
        if name.is_empty() {
            return Err("a label has no name".to_owned());
        }
        if name.len() > PUSHED_NAME_BYTES_MAX {
            return Err(format!("a label's name has {} bytes; at most {PUSHED_NAME_BYTES_MAX} are kept", name.len()));
        }
        let value = std::str::from_utf8(value).map_err(|_| format!("the value of label {name:?} is not UTF-8"))?;
        if value.len() > PUSHED_VALUE_BYTES_MAX {
            let n = value.len();
            return Err(format!(
                "the value of label {name:?} has {n} bytes; at most {PUSHED_VALUE_BYTES_MAX} are kept"
            ));
        }
        if names.contains(&name) {
            return Err(format!("label {name:?} is there twice"));
        }
        if names.len() >= PUSHED_LABELS_MAX {
            return Err(format!("more than {PUSHED_LABELS_MAX} labels"));
        }
        names.push(name);
        builder.set(name, value);
    }
    Ok(builder.build())
}

/// The same for a series, which needs a metric's name.
pub(crate) fn checked_series<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<Labels, String> {
    let labels = checked(pairs)?;
    if labels.metric().is_none() {
        return Err(format!("{labels} has no metric name"));
    }
    Ok(labels)
}

/// Name and value of each `Label` message among the fields numbered `number`; others are passed over.
pub(crate) fn pairs_v1(bytes: &[u8], number: u32) -> Result<Pairs<'_>, Malformed> {
    let mut pairs = Vec::new();
    let mut r = Reader::new(bytes);
    while let Some((n, field)) = r.field()? {
        if n != number {
            continue;
        }
        // One more than is allowed is enough to refuse them.
        if pairs.len() <= PUSHED_LABELS_MAX {
            pairs.push(pair_v1(field.bytes(n)?)?);
        }
    }
    Ok(pairs)
}

fn pair_v1(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut pair: (&[u8], &[u8]) = (&[], &[]);
    let mut r = Reader::new(bytes);
    while let Some((n, field)) = r.field()? {
        match (n, field) {
            (1, Field::Bytes(name)) => pair.0 = name,
            (2, Field::Bytes(value)) => pair.1 = value,
            (1 | 2, _) => return Err(Malformed::Type(n)),
            _ => {}
        }
    }
    Ok(pair)
}

/// The metric's name among labels that passed.
pub(crate) fn metric_of(labels: &Labels) -> &str {
    labels.iter().find(|l: &&Label| &*l.name == METRIC_NAME).map_or("", |l| &l.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) -> Result<String, String> {
        checked_series(pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()))).map(|l| l.to_string())
    }

    #[test]
    fn labels_are_kept_as_they_were_sent_but_for_their_order() {
        assert_eq!(
            check(&[("job", "node"), ("__name__", "up"), ("instance", "a:1"), ("gone", "")]),
            Ok(r#"up{instance="a:1", job="node"}"#.to_owned())
        );
        assert!(check(&[("__name__", "süß.metric")]).is_ok());
    }

    #[test]
    fn what_is_no_series_is_refused_and_says_why() {
        for (pairs, said) in [
            (&[("job", "node")][..], r#"{job="node"} has no metric name"#),
            (&[], "{} has no metric name"),
            (&[("__name__", "")], "{} has no metric name"),
            (&[("__name__", "up"), ("", "x")], "a label has no name"),
            (&[("__name__", "up"), ("a", "1"), ("a", "2")], r#"label "a" is there twice"#),
        ] {
            assert_eq!(check(pairs), Err(said.to_owned()));
        }
        let bad = [(&b"__name__"[..], &b"up"[..]), (b"a", b"\xff")];
        assert_eq!(checked_series(bad), Err(r#"the value of label "a" is not UTF-8"#.to_owned()));
        let many: Vec<String> = (0..PUSHED_LABELS_MAX).map(|n| n.to_string()).collect();
        let pairs = many.iter().map(|n| (n.as_str(), "v")).chain([("__name__", "up")]).collect::<Vec<_>>();
        assert_eq!(check(&pairs), Err(format!("more than {PUSHED_LABELS_MAX} labels")));
    }
}
