//! Functions that change labels and look at no values.

use super::vector::{Frame, OutSeries};
use super::{Evaluator, Result, merge_same};
use crate::QueryError;
use crate::plan::Plan;
use crate::syntax::quote::is_valid_utf8;

fn check_name(what: &str, function: &str, name: &str) -> Result<()> {
    if name.is_empty() || !is_valid_utf8(name) {
        return Err(QueryError::Execution(format!("invalid {what} label name in {function}(): {name}")));
    }
    Ok(())
}

fn set(s: &mut OutSeries, name: &str, value: &str) {
    s.labels = s.labels.to_builder().set(name, value).build();
    // A name that was just given stays.
    if name == belfry_model::METRIC_NAME {
        s.drop_name = false;
    }
}

/// The name behind a `$`, and what follows; `None` where there is none: as Go's `regexp` reads it, which takes any letter.
fn reference(template: &str) -> Option<(&str, &str)> {
    let inner = template.strip_prefix('{');
    let text = inner.unwrap_or(template);
    let end = text.find(|c: char| !c.is_alphabetic() && !c.is_numeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = if inner.is_some() { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}

/// Appends `template` with what was captured in place of `$1`, `${1}` and `${name}`, as Go's `Regexp.Expand` does: groups
/// that are not there are empty, `$$` is `$`, and a `$` before anything else stands for itself.
fn expand(captures: &regex::Captures<'_>, template: &str, out: &mut String) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(behind) = after.strip_prefix('$') {
            out.push('$');
            rest = behind;
            continue;
        }
        let Some((name, behind)) = reference(after) else {
            out.push('$');
            rest = after;
            continue;
        };
        let is_number = name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
        let group = if is_number { name.parse().ok().and_then(|n| captures.get(n)) } else { captures.name(name) };
        out.push_str(group.map_or("", |g| g.as_str()));
        rest = behind;
    }
    out.push_str(rest);
}

impl<'a> Evaluator<'a> {
    pub(super) fn label_replace(&mut self, args: &[Plan], frame: Frame) -> Result<Vec<OutSeries>> {
        let [dst, replacement, src, pattern] =
            [self.string(&args[1])?, self.string(&args[2])?, self.string(&args[3])?, self.string(&args[4])?];
        let regex = belfry_model::re2::whole(&pattern)
            .map_err(|_| QueryError::Execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
        check_name("destination", "label_replace", &dst)?;
        let mut series = self.vector(&args[0], frame)?;
        for s in &mut series {
            let value = s.labels.get(&src).unwrap_or("");
            if let Some(captures) = regex.captures(value) {
                // Each reference may stand for the whole value.
                let references = replacement.matches('$').count() as u64;
                self.check_bytes(replacement.len() as u64 + references.saturating_mul(value.len() as u64))?;
                let mut out = String::new();
                expand(&captures, &replacement, &mut out);
                set(s, &dst, &out);
                self.hold_labels(&s.labels)?;
            }
        }
        merge_same(series)
    }

    pub(super) fn label_join(&mut self, args: &[Plan], frame: Frame) -> Result<Vec<OutSeries>> {
        let (dst, separator) = (self.string(&args[1])?, self.string(&args[2])?);
        let sources: Vec<String> = args[3..].iter().map(|a| self.string(a)).collect::<Result<_>>()?;
        for s in &sources {
            check_name("source", "label_join", s)?;
        }
        check_name("destination", "label_join", &dst)?;
        let mut series = self.vector(&args[0], frame)?;
        for s in &mut series {
            let values: Vec<&str> = sources.iter().map(|n| s.labels.get(n).unwrap_or("")).collect();
            let separators = separator.len() as u64 * values.len() as u64;
            self.check_bytes(separators + values.iter().map(|v| v.len() as u64).sum::<u64>())?;
            let joined = values.join(&separator);
            set(s, &dst, &joined);
            self.hold_labels(&s.labels)?;
        }
        merge_same(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_go_reads_them() {
        let regex = belfry_model::re2::whole("(?P<first>a)(b)(c)?").unwrap();
        let captures = regex.captures("ab").unwrap();
        for (template, expanded) in [
            ("$1-$2", "a-b"),
            ("${1}x-$1x-$3-$4", "ax---"),
            ("$first-${first}", "a-a"),
            ("$0", "ab"),
            ("$01", ""),
            ("${}-$é-$$-$", "${}--$-$"),
            ("${1-${z", "${1-${z"),
            ("$-${ 1}", "$-${ 1}"),
        ] {
            let mut out = String::new();
            expand(&captures, template, &mut out);
            assert_eq!(out, expanded, "{template}");
        }
    }
}
