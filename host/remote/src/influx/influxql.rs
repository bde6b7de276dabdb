//! Parts of InfluxQL statements.
//!
//! Invariant: no name, value or expression can end the text that it is in; a condition selects all series that its
//! matchers do, and only those where it says that it is exact.
//! Not here: asking, and the matchers that a condition leaves to be looked at afterwards (`read`).

use belfry_model::{MatchOp, Matcher, TimeRange, TimestampMs};
use regex_syntax::hir::literal::{ExtractKind, Extractor};

use super::lines::TIME_MAX_MS;
use super::names;

/// Texts that an expression is spelled out as; beyond that everything is fetched and looked at here.
const ALTERNATIVES_MAX: usize = 100;

/// Characters of a class that are spelled out: those that folding of case gives, but no `[0-9]`.
const CLASS_MAX: usize = 4;

/// A name: of a measurement, a tag, a field.
pub fn identifier(name: &str) -> String {
    quoted(name, '"')
}

/// A text.
pub fn text(value: &str) -> String {
    quoted(value, '\'')
}

fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            c if c == quote || c == '\\' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Within the range. Instants beyond what InfluxDB knows are its first and last.
pub fn within(range: TimeRange) -> String {
    let clamp = |t: TimestampMs| TimestampMs(t.0.clamp(-TIME_MAX_MS, TIME_MAX_MS));
    format!("time >= '{}' AND time < '{}'", clamp(range.start()), clamp(range.end()))
}

/// What can be asked of the server about tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// A tag that is not there is `''`, as in InfluxDB 1 and 2.
    pub absent_is_empty: bool,
}

/// What a `WHERE` says of tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Joined by `AND`; empty for no condition.
    pub text: String,
    /// The matchers need not be looked at again.
    pub exact: bool,
}

/// What matchers of labels (not of the metric's name) ask for.
pub fn condition<'a>(matchers: impl IntoIterator<Item = &'a Matcher>, dialect: Dialect) -> Condition {
    let mut parts = Vec::new();
    let mut exact = true;
    for m in matchers {
        let (part, whole) = one(m, dialect);
        exact &= whole;
        parts.extend(part);
    }
    Condition { text: parts.join(" AND "), exact }
}

/// A part, and whether it says all of the matcher.
fn one(m: &Matcher, dialect: Dialect) -> (Option<String>, bool) {
    let key = identifier(&names::encode_key(m.name()));
    let equal = |v: &str| format!("{key} = {}", text(&names::encode(v)));
    let unequal = |v: &str| format!("{key} != {}", text(&names::encode(v)));
    let absent = dialect.absent_is_empty;
    match m.op() {
        MatchOp::Equal if absent || !m.value().is_empty() => (Some(equal(m.value())), true),
        MatchOp::NotEqual if absent => (Some(unequal(m.value())), true),
        MatchOp::Equal | MatchOp::NotEqual => (None, false),
        MatchOp::Regex => match alternatives(m.value()) {
            Some(Alternatives::Whole(all)) if absent || !all.iter().any(String::is_empty) => {
                let any = all.iter().map(|v| equal(v)).collect::<Vec<_>>().join(" OR ");
                (Some(format!("({any})")), true)
            }
            Some(Alternatives::Prefixes(all)) => (Some(format!("{key} =~ {}", prefix_regex(&all))), false),
            _ => (None, false),
        },
        MatchOp::NotRegex => match alternatives(m.value()) {
            Some(Alternatives::Whole(all)) if absent => {
                let none = all.iter().map(|v| unequal(v)).collect::<Vec<_>>().join(" AND ");
                (Some(format!("({none})")), true)
            }
            _ => (None, false),
        },
    }
}

/// The texts that an expression matches, or with which all of them begin.
#[derive(Debug, PartialEq, Eq)]
enum Alternatives {
    Whole(Vec<String>),
    Prefixes(Vec<String>),
}

/// Ours are not InfluxDB's expressions (what is a digit, for one), so none is passed on: only what it comes down to.
fn alternatives(pattern: &str) -> Option<Alternatives> {
    let translated = belfry_model::re2::translated(pattern).ok()?;
    let hir = regex_syntax::ParserBuilder::new().dot_matches_new_line(true).build().parse(&translated).ok()?;
    if !hir.properties().look_set().is_empty() {
        return None;
    }
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Prefix).limit_total(ALTERNATIVES_MAX).limit_class(CLASS_MAX);
    let found = extractor.extract(&hir);
    let literals = found.literals().filter(|l| !l.is_empty())?;
    // One that was cut may end within a character.
    let text = |l: &regex_syntax::hir::literal::Literal| String::from_utf8(l.as_bytes().to_vec()).ok();
    let mut texts = literals.iter().map(text).collect::<Option<Vec<_>>>()?;
    texts.sort_unstable();
    texts.dedup();
    if literals.iter().all(|l| l.is_exact()) {
        return Some(Alternatives::Whole(texts));
    }
    (!texts.iter().any(String::is_empty)).then_some(Alternatives::Prefixes(texts))
}

/// `/^(?:one|other)/`, in which everything but letters and digits is written by its number.
fn prefix_regex(prefixes: &[String]) -> String {
    let escaped = |p: &String| {
        let encoded = names::encode(p);
        let one = |c: char| match c.is_ascii_alphanumeric() {
            true => c.to_string(),
            false => format!("\\x{{{:x}}}", u32::from(c)),
        };
        encoded.chars().map(one).collect::<String>()
    };
    format!("/^(?:{})/", prefixes.iter().map(escaped).collect::<Vec<_>>().join("|"))
}

#[cfg(test)]
#[path = "influxql_tests.rs"]
mod tests;
