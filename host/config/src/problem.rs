//! Problems with their places, and how they are printed.
//!
//! Invariant: a problem names where it is, what is wrong and, where there is one, how to mend it.

use std::fmt;

/// Where something was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Origin {
    /// Index into [`Sources`].
    pub source: u32,
    /// Byte offset.
    pub offset: u32,
}

/// The texts that were read, to turn offsets into lines.
#[derive(Debug, Default)]
pub(crate) struct Sources(Vec<(String, Option<String>)>);

impl Sources {
    /// A file; returns its index.
    pub fn add_file(&mut self, path: impl Into<String>, text: &str) -> u32 {
        self.0.push((path.into(), Some(text.to_owned())));
        self.0.len() as u32 - 1
    }

    /// An environment variable or a flag: it has a name, but no lines.
    pub fn add_override(&mut self, name: &str) -> Origin {
        self.0.push((name.to_owned(), None));
        Origin { source: self.0.len() as u32 - 1, offset: 0 }
    }

    /// As it is printed: `path:line:col`, or the name alone.
    pub fn place(&self, at: Origin) -> Place {
        let Some((name, text)) = self.0.get(at.source as usize) else {
            return Place { path: String::new(), line_column: None };
        };
        let line_column = text.as_ref().map(|text| {
            let before = text.get(..at.offset as usize).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            (line as u32, column as u32)
        });
        Place { path: name.clone(), line_column }
    }
}

/// A place as people read it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file as it was named, or the variable or flag.
    pub path: String,
    /// Both from 1, columns in characters; `None` where there are no lines.
    pub line_column: Option<(u32, u32)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line_column {
            Some((line, column)) => write!(f, "{}:{line}:{column}", self.path),
            None => f.write_str(&self.path),
        }
    }
}

/// Does it stop Belfry?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// Does it stop Belfry?
    pub level: Level,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        write!(f, "{}: {level}: {}", self.place, self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, in the order of files and lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects problems while a config is read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub sources: Sources,
    found: Vec<(Origin, Level, String, Option<String>)>,
}

impl Report {
    pub fn error(&mut self, at: Origin, message: impl Into<String>, help: impl Into<String>) {
        self.found.push((at, Level::Error, message.into(), Some(help.into())));
    }

    pub fn warning(&mut self, at: Origin, message: impl Into<String>, help: impl Into<String>) {
        self.found.push((at, Level::Warning, message.into(), Some(help.into())));
    }

    /// Errors and warnings, each in order of place.
    pub fn finish(mut self) -> (Vec<Problem>, Vec<Problem>) {
        self.found.sort_by_key(|(at, ..)| *at);
        self.found
            .into_iter()
            .map(|(at, level, message, help)| Problem { place: self.sources.place(at), level, message, help })
            .partition(|p| p.level == Level::Error)
    }
}

/// The candidate that was probably meant.
pub(crate) fn did_you_mean<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer words are no typing errors of a name of ours.
    const TYPED_CHARS_MAX: usize = 64;
    let typed: Vec<char> = typed.to_lowercase().chars().take(TYPED_CHARS_MAX).collect();
    let close = typed.len().div_ceil(3).max(1);
    candidates
        .into_iter()
        .map(|c| (distance(&typed, &c.to_lowercase().chars().collect::<Vec<_>>()), c))
        .filter(|(d, _)| *d <= close)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Levenshtein's distance, with a swap of neighbours as one step (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_another_word_is_not() {
        let keys = ["interval", "timeout", "time_zone", "listen"];
        for (typed, meant) in [("intervall", "interval"), ("lsiten", "listen"), ("timezone", "time_zone")] {
            assert_eq!(did_you_mean(typed, keys), Some(meant));
        }
        assert_eq!(did_you_mean("colour", keys), None);
        assert_eq!(did_you_mean("", keys), None);
    }

    #[test]
    fn columns_count_characters() {
        let mut s = Sources::default();
        let source = s.add_file("x.toml", "a = 1\nö = 2");
        assert_eq!(s.place(Origin { source, offset: 9 }).to_string(), "x.toml:2:3");
        assert_eq!(s.place(Origin { source, offset: 0 }).to_string(), "x.toml:1:1");
    }
}
