//! Queries inside templates.

use belfry_template::Template;

use super::{Finding, Subject, place_in};

pub(crate) fn check(s: &Subject<'_>, out: &mut Vec<Finding>) {
    if !s.is_alert() {
        return;
    }
    for pair in s.rule.labels.iter().chain(&s.rule.annotations) {
        let Ok(template) = Template::parse(&pair.value) else { continue };
        for (query, offset) in template.expressions() {
            if let Err(errors) = belfry_promql::parse(query)
                && let Some(first) = errors.0.first()
            {
                out.push(Finding::new(
                    place_in(&pair.value, *offset),
                    "bad-template-query",
                    format!("the query in `{}` is no PromQL: {}", pair.name.as_str(), first.message),
                    "an annotation that cannot be expanded shows its error instead of its text",
                ));
            }
        }
    }
}
