//! Is a text a plain selector: a metric's name, with matchers or without?

use belfry_model::Matcher;
use belfry_model::labels::is_legacy_metric_name;

/// Why it is none.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let text = text.trim();
    let (name, braces) = match text.find('{') {
        Some(at) => (text[..at].trim(), Some(&text[at..])),
        None => (text, None),
    };
    if name.is_empty() && braces.is_none() {
        return Err("it is empty".to_owned());
    }
    if !name.is_empty() && !is_legacy_metric_name(name) {
        return Err(format!("`{name}` is no metric name"));
    }
    let Some(braces) = braces else { return Ok(()) };
    let inner = braces
        .strip_prefix('{')
        .and_then(|b| b.strip_suffix('}'))
        .ok_or("there must be nothing after the matchers, and a `}` at their end")?;
    let mut matchers = 0;
    for part in split_outside_quotes(inner)? {
        let matcher: Matcher = part.parse().map_err(|e| format!("{e}"))?;
        if !part.ends_with('"') {
            return Err(format!("the value in `{}` has no quotes", part.trim()));
        }
        // As in PromQL: something must be asked for that an empty label does not satisfy.
        matchers += usize::from(!matcher.matches(""));
    }
    if name.is_empty() && matchers == 0 { Err("it would select every series".to_owned()) } else { Ok(()) }
}

/// Parts between commas, trimmed; a last empty one is dropped.
fn split_outside_quotes(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    let last = text[start..].trim();
    if !last.is_empty() {
        parts.push(last);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_pass_and_expressions_do_not() {
        for good in
            ["up", "a:b_c1", r#"up{job="a,b"}"#, r#" up { job = "x" , x!~"y" , } "#, r#"{__name__="up"}"#, "up{}"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "1up",
            "rate(up[5m])",
            "up > 3",
            "up{job=\"x\"",
            "up{job=x}",
            "up{job}",
            "{}",
            r#"up{a=~"("}"#,
            "{a=\"\"}",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
