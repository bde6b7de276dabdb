//! Expressions that are a list of plain texts: what dashboards send for a variable with many values.

/// What has another meaning than itself, or may have: such an expression is left to the engine.
const META: &str = "\\.+*?()|[]{}^$";

/// The only texts that the expression matches as a whole, where it is alternatives of plain text, all of them or a part
/// in one group: `a|b`, `10\.0\.0\.(1|2):9100`. Of any number: no engine is needed for them.
pub fn literals(pattern: &str) -> Option<Vec<String>> {
    let Some(open) = unescaped(pattern, '(').next() else { return all(pattern) };
    let close = unescaped(pattern, ')').next().filter(|close| *close > open)?;
    let (start, end) = (literal(&pattern[..open])?, literal(&pattern[close + 1..])?);
    let inner = &pattern[open + 1..close];
    let inner = inner.strip_prefix("?:").unwrap_or(inner);
    let inner = all(inner)?;
    // Each of them is written out: what is around them may not make them much more than the pattern is.
    let bytes_max = pattern.len().saturating_mul(AROUND_TIMES_MAX);
    (inner.len().checked_mul(start.len() + end.len())? <= bytes_max).then_some(())?;
    Some(inner.into_iter().map(|v| format!("{start}{v}{end}")).collect())
}

/// What is around the alternatives may take this many times as much as the pattern, written out.
const AROUND_TIMES_MAX: usize = 64;

fn all(pattern: &str) -> Option<Vec<String>> {
    let mut from = 0;
    let mut values = Vec::new();
    for at in unescaped(pattern, '|').chain([pattern.len()]) {
        values.push(literal(&pattern[from..at])?);
        from = at + 1;
    }
    Some(values)
}

/// Where `wanted` stands without a backslash before it.
fn unescaped(text: &str, wanted: char) -> impl Iterator<Item = usize> {
    let mut escaped = false;
    text.char_indices().filter_map(move |(at, c)| {
        let plain = !escaped;
        escaped = plain && c == '\\';
        (plain && c == wanted).then_some(at)
    })
}

/// The text that stands for itself alone.
fn literal(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().filter(|c| c.is_ascii_punctuation())?),
            c if META.contains(c) => return None,
            c => out.push(c),
        }
    }
    Some(out)
}
