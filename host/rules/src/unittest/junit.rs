//! Outcomes as JUnit XML, for build servers.

use std::fmt::Write as _;

use super::run::TestOutcome;

/// One suite for each test file: its name, and how it went or why it could not be run.
pub fn junit(files: &[(String, Result<TestOutcome, String>)]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (name, outcome) in files {
        let name = escape(name);
        match outcome {
            Err(reason) => {
                let _ = writeln!(out, "  <testsuite name=\"{name}\" tests=\"1\" failures=\"0\" errors=\"1\">");
                let _ = writeln!(out, "    <testcase name=\"{name}\"><error>{}</error></testcase>", escape(reason));
            }
            Ok(outcome) => {
                let failed = outcome.groups.iter().filter(|g| !g.failures.is_empty()).count();
                let tests = outcome.groups.len();
                let _ =
                    writeln!(out, "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"0\">");
                for group in &outcome.groups {
                    let case = escape(&group.name);
                    if group.failures.is_empty() {
                        let _ = writeln!(out, "    <testcase name=\"{case}\" classname=\"{name}\"/>");
                        continue;
                    }
                    let _ = writeln!(out, "    <testcase name=\"{case}\" classname=\"{name}\">");
                    for f in &group.failures {
                        let diff: String = f.diff.iter().map(|(c, l)| format!("{c} {l}\n")).collect();
                        let _ =
                            writeln!(out, "      <failure message=\"{}\">{}</failure>", escape(&f.what), escape(&diff));
                    }
                    out.push_str("    </testcase>\n");
                }
            }
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            // Other control characters are not allowed in XML, not even escaped.
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
