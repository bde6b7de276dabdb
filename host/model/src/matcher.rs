//! Label matchers: `=`, `!=`, `=~`, `!~`.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use regex::Regex;

use crate::labels::Labels;
use crate::re2;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// As it is written in PromQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// One condition on one label. Regular expressions have the syntax of RE2 (see [`re2`]), are anchored at both ends, and
/// `.` matches newlines, as in Prometheus 3.
#[derive(Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    expression: Option<Expression>,
}

/// What an expression comes to.
#[derive(Clone)]
enum Expression {
    /// The texts that it matches: a few, or as many as a dashboard's variable has. No engine takes tens of thousands.
    Values(Arc<HashSet<String>>),
    Regex(Regex),
}

impl Expression {
    fn new(pattern: &str) -> Result<Self, re2::Error> {
        Ok(match re2::literals(pattern) {
            Some(values) => Self::Values(Arc::new(values.into_iter().collect())),
            None => Self::Regex(re2::whole_match(pattern)?),
        })
    }

    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Values(values) => values.contains(value),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

/// The regular expression of a matcher does not compile.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("bad regular expression {:?}: {reason}", re2::shown(.pattern))]
pub struct BadRegex {
    /// As it was written.
    pub pattern: String,
    /// What is wrong with it, in Go's words (see [`re2::Error`]).
    pub reason: String,
}

/// A compiled expression may not take more bytes than this.
pub use re2::COMPILED_BYTES_MAX as REGEX_BYTES_MAX;

impl Matcher {
    /// Errors when `value` is not a regular expression and `op` needs one.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, BadRegex> {
        let (name, value) = (name.into(), value.into());
        let expression = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => {
                Some(Expression::new(&value).map_err(|e| BadRegex { pattern: value.clone(), reason: e.to_string() })?)
            }
        };
        Ok(Self { name, op, value, expression })
    }

    /// `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), expression: None }
    }

    /// The label it looks at.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What it compares with: a string, or the expression as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The only values that its expression matches, where the expression lists them: `a|b`, `x(1|2)y`. Of `!~` these are
    /// the values that it does not hold for.
    pub fn values(&self) -> Option<&HashSet<String>> {
        match &self.expression {
            Some(Expression::Values(values)) => Some(values),
            Some(Expression::Regex(_)) | None => None,
        }
    }

    /// Does a label of this value match? An absent label has the value `""`.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.expression) {
            (MatchOp::Equal, _) => value == self.value,
            (MatchOp::NotEqual, _) => value != self.value,
            (MatchOp::Regex, Some(e)) => e.matches(value),
            (MatchOp::NotRegex, Some(e)) => !e.matches(value),
            (MatchOp::Regex | MatchOp::NotRegex, None) => false,
        }
    }

    /// Does it hold for this label set?
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.op == other.op && self.value == other.value
    }
}

impl Eq for Matcher {}

impl std::hash::Hash for Matcher {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.name, self.op, &self.value).hash(state);
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if crate::labels::is_legacy_name(&self.name) {
            write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
        } else {
            write!(f, "{:?}{}{:?}", self.name, self.op.as_str(), self.value)
        }
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a matcher.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadMatcher {
    /// It has none of the four operators.
    #[error("`{0}` has no `=`, `!=`, `=~` or `!~`; write it like severity=\"critical\"")]
    NoOperator(String),
    /// Nothing stands before the operator.
    #[error("`{0}` names no label; write it like severity=\"critical\"")]
    NoName(String),
    /// A quote is missing or an escape is unknown.
    #[error("the value of `{0}` is not a well-formed string; write it like severity=\"critical\"")]
    BadString(String),
    /// The regular expression does not compile.
    #[error(transparent)]
    BadRegex(#[from] BadRegex),
}

/// Parses `name="value"` with any of the four operators, as in a route. The quotes may be left out.
impl std::str::FromStr for Matcher {
    type Err = BadMatcher;

    fn from_str(text: &str) -> Result<Self, BadMatcher> {
        let at = text.find(['=', '!']).ok_or_else(|| BadMatcher::NoOperator(text.to_owned()))?;
        let (name, rest) = text.split_at(at);
        let (op, value) = [MatchOp::Regex, MatchOp::NotRegex, MatchOp::NotEqual, MatchOp::Equal]
            .into_iter()
            .find_map(|op| rest.strip_prefix(op.as_str()).map(|v| (op, v)))
            .ok_or_else(|| BadMatcher::NoOperator(text.to_owned()))?;
        let name = unquote(name.trim()).ok_or_else(|| BadMatcher::BadString(text.to_owned()))?;
        if name.is_empty() {
            return Err(BadMatcher::NoName(text.to_owned()));
        }
        let value = unquote(value.trim()).ok_or_else(|| BadMatcher::BadString(text.to_owned()))?;
        Ok(Self::new(name, op, value)?)
    }
}

fn unquote(s: &str) -> Option<String> {
    if !s.contains('"') {
        return Some(s.to_owned());
    }
    let inner = s.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                c @ ('"' | '\\') => out.push(c),
                c => out.extend(['\\', c]),
            },
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_read_as_people_write_them() {
        for (text, value, hit) in [
            (r#"severity="critical""#, "critical", true),
            (r#"severity = critical"#, "critical", true),
            (r#"severity!="critical""#, "critical", false),
            (r#"severity=~"crit|err.*""#, "error", true),
            (r#"severity=~"crit""#, "critical", false),
            (r#"severity!~"crit.*""#, "critical", false),
        ] {
            let m: Matcher = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(m.matches(value), hit, "{text} on {value}");
        }
    }

    #[test]
    fn what_is_no_matcher_says_why() {
        for text in ["severity", "=x", "a=\"b", "a=~\"(\""] {
            assert!(text.parse::<Matcher>().is_err(), "{text}");
        }
    }
}
