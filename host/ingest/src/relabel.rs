//! Relabelling as Prometheus 3 does it: rules that rewrite, keep or drop a label set, one after the other.
//!
//! Invariant: a rule that was built cannot fail; regular expressions are anchored at both ends and run in linear time.
//! Not here: which labels a target or a sample has before (`scrape`).

use belfry_model::{LabelsBuilder, re2};
use md5::{Digest as _, Md5};
use regex::Regex;

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Sets the target label to the replacement where the sources match.
    Replace,
    /// Keeps only what matches.
    Keep,
    /// Drops what matches.
    Drop,
    /// Keeps only where the sources equal the target label.
    KeepEqual,
    /// Drops where the sources equal the target label.
    DropEqual,
    /// Sets the target label to a hash of the sources, modulo.
    HashMod,
    /// Copies labels whose name matches to another name.
    LabelMap,
    /// Removes labels whose name matches.
    LabelDrop,
    /// Removes labels whose name does not match.
    LabelKeep,
    /// Sets the target label to the sources in lower case.
    Lowercase,
    /// Sets the target label to the sources in upper case.
    Uppercase,
}

impl Action {
    /// All, by their names in configs.
    pub const ALL: [(&'static str, Self); 11] = [
        ("replace", Self::Replace),
        ("keep", Self::Keep),
        ("drop", Self::Drop),
        ("keepequal", Self::KeepEqual),
        ("dropequal", Self::DropEqual),
        ("hashmod", Self::HashMod),
        ("labelmap", Self::LabelMap),
        ("labeldrop", Self::LabelDrop),
        ("labelkeep", Self::LabelKeep),
        ("lowercase", Self::Lowercase),
        ("uppercase", Self::Uppercase),
    ];
}

/// A rule as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelabelSpec {
    /// Their values are joined with the separator.
    pub source_labels: Vec<String>,
    /// Between the values.
    pub separator: String,
    /// Must match the joined values, or a label's name, as a whole.
    pub regex: String,
    /// Only for `hashmod`.
    pub modulus: u64,
    /// What is set or compared; may hold `$1`.
    pub target_label: String,
    /// What it is set to; may hold `$1`.
    pub replacement: String,
    /// What is done.
    pub action: Action,
}

impl Default for RelabelSpec {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            action: Action::Replace,
        }
    }
}

/// Why a rule cannot be used; the config must be mended.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadRule {
    /// The expression.
    #[error("`{regex}` is no regular expression: {reason}")]
    Regex {
        /// As written.
        regex: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The action needs it.
    #[error("the action needs `{0}`")]
    Missing(&'static str),
}

/// A rule that is ready to use.
#[derive(Clone, Debug)]
pub struct Relabel {
    spec: RelabelSpec,
    regex: Regex,
}

impl PartialEq for Relabel {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl Relabel {
    /// Checks and compiles.
    pub fn new(spec: RelabelSpec) -> Result<Self, BadRule> {
        use Action::*;
        let needs_target = matches!(spec.action, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual);
        if needs_target && spec.target_label.is_empty() {
            return Err(BadRule::Missing("target_label"));
        }
        if spec.action == HashMod && spec.modulus == 0 {
            return Err(BadRule::Missing("modulus"));
        }
        Ok(Self { regex: anchored(&spec.regex)?, spec })
    }

    /// Applies it; false when the label set is dropped.
    pub fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let spec = &self.spec;
        match spec.action {
            Action::Keep => return self.regex.is_match(&self.sources(labels)),
            Action::Drop => return !self.regex.is_match(&self.sources(labels)),
            Action::KeepEqual => return self.sources(labels) == labels.get(&spec.target_label).unwrap_or(""),
            Action::DropEqual => return self.sources(labels) != labels.get(&spec.target_label).unwrap_or(""),
            Action::Replace => {
                let value = self.sources(labels);
                if let Some(found) = self.regex.captures(&value) {
                    let (mut target, mut replaced) = (String::new(), String::new());
                    found.expand(&spec.target_label, &mut target);
                    found.expand(&spec.replacement, &mut replaced);
                    if !target.is_empty() {
                        labels.set(target, replaced);
                    }
                }
            }
            Action::HashMod => {
                let hash = Md5::digest(self.sources(labels).as_bytes());
                // The lower half, as Prometheus has done since its first version.
                let low = hash.iter().skip(8).fold(0_u64, |n, b| (n << 8) | u64::from(*b));
                labels.set(spec.target_label.as_str(), (low % spec.modulus).to_string());
            }
            Action::LabelMap => {
                let mut mapped = Vec::new();
                for label in labels.iter() {
                    if let Some(found) = self.regex.captures(&label.name) {
                        let mut name = String::new();
                        found.expand(&spec.replacement, &mut name);
                        mapped.push((name, label.value.clone()));
                    }
                }
                for (name, value) in mapped.into_iter().filter(|(name, _)| !name.is_empty()) {
                    labels.set(name, value);
                }
            }
            Action::LabelDrop => drop(labels.retain(|l| !self.regex.is_match(&l.name))),
            Action::LabelKeep => drop(labels.retain(|l| self.regex.is_match(&l.name))),
            Action::Lowercase => {
                let value = self.sources(labels).chars().map(lower).collect::<String>();
                labels.set(spec.target_label.as_str(), value);
            }
            Action::Uppercase => {
                let value = self.sources(labels).chars().map(upper).collect::<String>();
                labels.set(spec.target_label.as_str(), value);
            }
        }
        true
    }

    fn sources(&self, labels: &LabelsBuilder) -> String {
        let mut out = String::new();
        for (i, name) in self.spec.source_labels.iter().enumerate() {
            if i > 0 {
                out.push_str(&self.spec.separator);
            }
            out.push_str(labels.get(name).unwrap_or(""));
        }
        out
    }
}

/// Letter by letter, as Go's `strings.ToUpper` does it: what has no single upper-case letter stays (`ß`).
fn upper(c: char) -> char {
    match c {
        // Greek letters with an iota below have a single one, but Rust writes the iota beside it.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => char::from_u32(c as u32 + 8),
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => char::from_u32(c as u32 + 9),
        _ => single(c.to_uppercase()),
    }
    .unwrap_or(c)
}

/// The same for `strings.ToLower`.
fn lower(c: char) -> char {
    match c {
        // Its dot would become a letter of its own.
        'İ' => 'i',
        _ => single(c.to_lowercase()).unwrap_or(c),
    }
}

fn single(mut letters: impl Iterator<Item = char>) -> Option<char> {
    letters.next().filter(|_| letters.next().is_none())
}

/// As Prometheus 3 compiles it: anchored, and `.` matches a line feed too.
fn anchored(text: &str) -> Result<Regex, BadRule> {
    re2::whole(text).map_err(|e| BadRule::Regex { regex: text.to_owned(), reason: e.to_string() })
}

/// Applies rules in order; false when one of them drops the label set.
pub fn apply(rules: &[Relabel], labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

#[cfg(test)]
#[path = "relabel_tests.rs"]
mod tests;
