//! The little of Markdown that plugins may use: paragraphs, lists, emphasis, code, links. Never HTML.
//!
//! Invariant: every character of the input reaches the output escaped, or not at all; a link goes to `http`, `https` or
//! `mailto`, or stays text.

use super::html::escape;

/// Emphasis within emphasis deeper than this stays text.
const NESTING_MAX: usize = 8;

/// Markdown as HTML.
pub(super) fn to_html(text: &str) -> String {
    let mut out = String::new();
    let mut paragraph: Vec<&str> = Vec::new();
    let mut list: Option<&str> = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") {
            end_paragraph(&mut out, &mut paragraph);
            end_list(&mut out, &mut list);
            let code: Vec<&str> = lines.by_ref().take_while(|l| !l.trim().starts_with("```")).collect();
            out.push_str(&format!("<pre><code>{}</code></pre>\n", escape(&code.join("\n"))));
        } else if let Some((kind, item)) = list_item(trimmed) {
            end_paragraph(&mut out, &mut paragraph);
            if list != Some(kind) {
                end_list(&mut out, &mut list);
                out.push_str(&format!("<{kind}>\n"));
                list = Some(kind);
            }
            out.push_str(&format!("<li>{}</li>\n", inline(item, 0)));
        } else if let Some(heading) = heading(trimmed) {
            end_paragraph(&mut out, &mut paragraph);
            end_list(&mut out, &mut list);
            out.push_str(&format!("<h4>{}</h4>\n", inline(heading, 0)));
        } else if trimmed.is_empty() {
            end_paragraph(&mut out, &mut paragraph);
            end_list(&mut out, &mut list);
        } else {
            end_list(&mut out, &mut list);
            paragraph.push(trimmed);
        }
    }
    end_paragraph(&mut out, &mut paragraph);
    end_list(&mut out, &mut list);
    out
}

fn end_paragraph(out: &mut String, lines: &mut Vec<&str>) {
    if !lines.is_empty() {
        out.push_str(&format!("<p>{}</p>\n", inline(&lines.join("\n"), 0)));
        lines.clear();
    }
}

fn end_list(out: &mut String, list: &mut Option<&str>) {
    if let Some(kind) = list.take() {
        out.push_str(&format!("</{kind}>\n"));
    }
}

fn list_item(line: &str) -> Option<(&'static str, &str)> {
    if let Some(item) = ["- ", "* ", "+ "].iter().find_map(|p| line.strip_prefix(p)) {
        return Some(("ul", item));
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0).then(|| line[digits..].strip_prefix(". ")).flatten().map(|item| ("ol", item))
}

fn heading(line: &str) -> Option<&str> {
    let level = line.bytes().take_while(|b| *b == b'#').count();
    (1..=6).contains(&level).then(|| line[level..].strip_prefix(' ')).flatten()
}

/// Emphasis, code and links; all else is escaped.
fn inline(text: &str, depth: usize) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['*', '`', '[', '\\']) {
        out.push_str(&escape(&rest[..at]));
        rest = &rest[at..];
        let (html, used) = span(rest, depth).unwrap_or_else(|| {
            let first = rest.chars().next().map_or(0, char::len_utf8);
            (escape(&rest[..first]), first)
        });
        out.push_str(&html);
        rest = &rest[used..];
    }
    out.push_str(&escape(rest));
    out
}

/// What begins here as HTML, and how many bytes of the input it takes.
fn span(text: &str, depth: usize) -> Option<(String, usize)> {
    if let Some(escaped) = text.strip_prefix('\\').and_then(|t| t.chars().next()).filter(char::is_ascii_punctuation) {
        return Some((escape(&escaped.to_string()), 1 + escaped.len_utf8()));
    }
    if depth >= NESTING_MAX {
        return None;
    }
    for (mark, tag) in [("`", "code"), ("**", "strong"), ("*", "em")] {
        let Some(inner) = text.strip_prefix(mark) else { continue };
        let Some(end) = inner.find(mark).filter(|end| *end > 0 && !inner.starts_with(' ')) else { continue };
        let content = if tag == "code" { escape(&inner[..end]) } else { inline(&inner[..end], depth + 1) };
        return Some((format!("<{tag}>{content}</{tag}>"), end + 2 * mark.len()));
    }
    let inner = text.strip_prefix('[')?;
    let (label, after) = inner.split_once("](")?;
    let (target, _) = after.split_once(')')?;
    if label.contains(['[', '\n']) || !is_safe_link(target) {
        return None;
    }
    let html = format!("<a href=\"{}\" rel=\"noreferrer\">{}</a>", escape(target), inline(label, depth + 1));
    Some((html, label.len() + target.len() + 4))
}

fn is_safe_link(target: &str) -> bool {
    let lower = target.to_ascii_lowercase();
    let plain = !target.chars().any(|c| c.is_control() || c.is_whitespace());
    plain && ["https://", "http://", "mailto:"].iter().any(|s| lower.starts_with(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_little_there_is() {
        for (text, html) in [
            ("a *b* **c** `d*`", "<p>a <em>b</em> <strong>c</strong> <code>d*</code></p>\n"),
            ("one\ntwo\n\nthree", "<p>one\ntwo</p>\n<p>three</p>\n"),
            ("- a\n- b\n\n1. c", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n<ol>\n<li>c</li>\n</ol>\n"),
            ("[x](https://a.b/?c=1&d=2)", "<p><a href=\"https://a.b/?c=1&amp;d=2\" rel=\"noreferrer\">x</a></p>\n"),
            ("```\n<b>\n```", "<pre><code>&lt;b&gt;</code></pre>\n"),
            ("2 * 3 * 4", "<p>2 * 3 * 4</p>\n"),
            ("\\*a\\*", "<p>*a*</p>\n"),
        ] {
            assert_eq!(to_html(text), html);
        }
    }

    #[test]
    fn markup_and_scripts_stay_text() {
        assert_eq!(to_html("<img src=x onerror=alert(1)>"), "<p>&lt;img src=x onerror=alert(1)&gt;</p>\n");
        for link in ["[x](javascript:alert(1))", "[x](JavaScript:a)", "[x]( https://a)", "[x](data:text/html,a)"] {
            assert!(!to_html(link).contains("<a"), "{link}");
        }
        assert!(!to_html("[x](https://a\"onclick=\"b)").contains("\"onclick"));
    }
}
