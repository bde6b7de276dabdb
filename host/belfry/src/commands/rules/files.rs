//! Rule and test files on the disk.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use belfry_rules::file::{self, Problem, RuleFile, UnknownFields};
use belfry_rules::unittest::{self, TestFile};

/// A file with its text, and what it says or why it says nothing.
pub struct Read<T> {
    pub name: String,
    pub text: String,
    pub parsed: Result<T, Vec<Problem>>,
}

/// The files of arguments: a path, or a pattern that the shell left alone. One that finds no file is an error: a check
/// that has read nothing must not say that all is well.
pub fn named(arguments: &[impl AsRef<str>]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for argument in arguments {
        let argument = argument.as_ref();
        let path = PathBuf::from(argument);
        if path.is_dir() {
            bail!(
                "{argument} is a directory\n  help: name files, or a pattern like '{}'",
                path.join("*.yml").display()
            );
        }
        let mut found = if path.exists() { vec![path] } else { matching(argument)? };
        // Folders beside the files of a pattern are nobody's mistake.
        found.retain(|p| !p.is_dir());
        if found.is_empty() {
            bail!("no file {argument}\n  help: check the path; patterns are like rules/*.yml");
        }
        all.extend(found);
    }
    all.dedup();
    Ok(all)
}

fn matching(pattern: &str) -> Result<Vec<PathBuf>> {
    let paths = glob::glob(pattern).with_context(|| format!("{pattern} is no pattern"))?;
    Ok(paths.filter_map(Result::ok).collect())
}

fn text(path: &Path) -> Result<String> {
    let size = path.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > file::FILE_BYTES_MAX as u64 {
        bail!("{} has more than {} bytes\n  help: split it", path.display(), file::FILE_BYTES_MAX);
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The name of standard input, as promtool calls it.
const STANDARD_INPUT: &str = "standard input";

/// Reads rules from standard input.
pub fn rules_of_input(unknown: UnknownFields) -> Result<Read<RuleFile>> {
    let mut text = String::new();
    // One more than may be: what is longer is told as such, whoever pours it in.
    let mut input = std::io::stdin().lock().take(file::FILE_BYTES_MAX as u64 + 1);
    input.read_to_string(&mut text).context("cannot read standard input")?;
    if text.len() > file::FILE_BYTES_MAX {
        bail!("standard input has more than {} bytes\n  help: split it", file::FILE_BYTES_MAX);
    }
    let name = STANDARD_INPUT.to_owned();
    let parsed = file::parse_with(&text, &name, unknown);
    Ok(Read { name, text, parsed })
}

/// Reads one rule file.
pub fn rules(path: &Path, unknown: UnknownFields) -> Result<Read<RuleFile>> {
    let (name, text) = (path.display().to_string(), text(path)?);
    let parsed = file::parse_with(&text, &name, unknown);
    Ok(Read { name, text, parsed })
}

/// The problems as they are printed.
pub fn told(name: &str, problems: &[Problem]) -> String {
    problems.iter().map(|p| p.in_file(name)).collect::<Vec<_>>().join("\n")
}

/// A test file with its rule files, as indexes into the list of all.
pub struct Suite {
    pub name: String,
    /// Why it cannot be run; warnings stand beside a suite that can.
    pub tests: Result<TestFile, String>,
    pub files: Vec<usize>,
    pub warnings: Vec<String>,
}

/// All rule files that some test names, each once.
#[derive(Default)]
pub struct Suites {
    pub suites: Vec<Suite>,
    pub files: Vec<RuleFile>,
    paths: Vec<PathBuf>,
    unknown: UnknownFields,
}

impl Suites {
    /// Reads test files and the rule files they name.
    pub fn read(arguments: &[String], unknown: UnknownFields) -> Result<Self> {
        let mut all = Self { unknown, ..Self::default() };
        for path in named(arguments)? {
            let name = path.display().to_string();
            let mut suite =
                Suite { name: name.clone(), tests: Err(String::new()), files: Vec::new(), warnings: Vec::new() };
            suite.tests = match unittest::parse_with(&text(&path)?, &name, unknown) {
                Err(problems) => Err(told(&name, &problems)),
                Ok(tests) => all.rule_files(&path, &tests, &mut suite).map(|()| tests),
            };
            all.suites.push(suite);
        }
        Ok(all)
    }

    /// Patterns are relative to the test file's folder, as in promtool.
    fn rule_files(&mut self, test: &Path, tests: &TestFile, suite: &mut Suite) -> Result<(), String> {
        let folder = test.parent().unwrap_or(Path::new(""));
        for pattern in &tests.rule_files {
            let full = folder.join(pattern.as_str());
            let found = match full.exists() {
                true => vec![full],
                false => matching(&full.display().to_string()).map_err(|e| e.to_string())?,
            };
            if found.is_empty() {
                let at = pattern.at();
                suite.warnings.push(format!("{}:{at}: warning: no file matches {}", suite.name, pattern.as_str()));
            }
            for path in found {
                let index = self.rule_file(&path)?;
                if !suite.files.contains(&index) {
                    suite.files.push(index);
                }
            }
        }
        Ok(())
    }

    fn rule_file(&mut self, path: &Path) -> Result<usize, String> {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if let Some(index) = self.paths.iter().position(|p| *p == real) {
            return Ok(index);
        }
        let read = rules(path, self.unknown).map_err(|e| format!("{e:#}"))?;
        let file = read.parsed.map_err(|problems| told(&read.name, &problems))?;
        self.paths.push(real);
        self.files.push(file);
        Ok(self.files.len() - 1)
    }

    /// The rule files of a suite.
    pub fn rules_of(&self, suite: &Suite) -> Vec<RuleFile> {
        suite.files.iter().filter_map(|i| self.files.get(*i)).cloned().collect()
    }
}

/// What `--ignore-unknown-fields` means.
pub fn unknown(ignored: bool) -> UnknownFields {
    if ignored { UnknownFields::Ignored } else { UnknownFields::Refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pattern: &str) -> String {
        format!("{:#}", named(&[pattern.to_owned()]).expect_err("refused"))
    }

    #[test]
    fn what_names_no_file_is_refused_and_folders_beside_files_are_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("rules/more.yml")).expect("folders");
        let under = |path: &str| folder.path().join(path).display().to_string();
        assert_eq!(
            told(&under("rules")),
            format!("{0} is a directory\n  help: name files, or a pattern like '{0}/*.yml'", under("rules"))
        );
        for nothing in ["rules/*.yml", "rules/*.rules", "rules.yml"] {
            assert_eq!(
                told(&under(nothing)),
                format!("no file {}\n  help: check the path; patterns are like rules/*.yml", under(nothing))
            );
        }
        let file = folder.path().join("rules/a.yml");
        std::fs::write(&file, "groups: []").expect("a file");
        assert_eq!(named(&[under("rules/*.yml")]).expect("found"), [file]);
    }
}
