//! `scrape_protocols`: which formats are asked for. Ours are always the same, but for protobuf, which
//! `native_histograms` puts before them.

use std::collections::BTreeSet;

use toml::Value as Toml;

use super::Import;
use super::shapes::Fault;
use super::yaml::Node;

/// What says it, in a job or else in `global`.
pub(super) const KEYS: [&str; 2] = [PROTOCOLS, NATIVE];

const PROTOCOLS: &str = "scrape_protocols";
const NATIVE: &str = "scrape_native_histograms";

const PROTOBUF: &str = "PrometheusProto";
/// In the order in which Belfry asks for them, and Prometheus unless it is told otherwise.
const TEXTS: [&str; 4] = ["OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0", "PrometheusText0.0.4"];

/// Refuses what Prometheus refuses.
pub(super) fn check(table: &Node) -> Result<(), Fault> {
    let Some(node) = table.get(PROTOCOLS) else { return Ok(()) };
    let mut seen = BTreeSet::new();
    for text in node.texts(PROTOCOLS)? {
        if text != PROTOBUF && !TEXTS.contains(&text) {
            let known = TEXTS.join(", ");
            return Err(node.fault(format!("`{PROTOCOLS}`: `{text}` is none of {PROTOBUF}, {known}")));
        }
        if !seen.insert(text) {
            return Err(node.fault(format!("`{PROTOCOLS}`: `{text}` is there twice: keep one")));
        }
    }
    if seen.is_empty() {
        return Err(node.fault(format!("`{PROTOCOLS}` is empty: name one, or remove it")));
    }
    Ok(())
}

impl Import<'_> {
    /// Whether protobuf is asked for, and what of the list is not as Belfry does it.
    pub(super) fn protocols(&mut self, job: &Node) -> Result<(), Fault> {
        let of = |key: &str| job.get(key).or_else(|| self.global.and_then(|g| g.get(key)));
        let (list, flag) = (of(PROTOCOLS), of(NATIVE));
        let wanted = flag.map(|node| node.flag(NATIVE).map(|value| (node, value))).transpose()?;
        let asked = list.map(|node| node.texts(PROTOCOLS).map(|texts| (node, texts))).transpose()?;
        let Some((node, texts)) = asked else {
            if let Some((_, value)) = wanted {
                self.line("native_histograms", Toml::Boolean(value));
            }
            return Ok(());
        };
        let protobuf = texts.contains(&PROTOBUF);
        let native = protobuf && wanted.is_none_or(|(_, value)| value);
        self.line("native_histograms", Toml::Boolean(native));
        match wanted {
            None if native => self.note_once(
                node,
                format!(
                    "`{PROTOCOLS}`: `{PROTOBUF}` without native histograms: `native_histograms = true` is printed; remove it \
                     if Prometheus runs without --enable-feature=native-histograms"
                ),
            ),
            Some((_, false)) if protobuf => self.note_once(
                node,
                format!("`{PROTOCOLS}`: `{PROTOBUF}` without native histograms: it is not asked for"),
            ),
            Some((flag, true)) if !protobuf => self.note_once(
                flag,
                format!("`{NATIVE}`: false is printed, for `{PROTOCOLS}` has no `{PROTOBUF}`, which alone carries them"),
            ),
            _ => {}
        }
        let ours = native.then_some(PROTOBUF).into_iter().chain(TEXTS);
        if !ours.eq(texts.iter().copied().filter(|t| native || *t != PROTOBUF)) {
            let before = if native { "protobuf, " } else { "" };
            self.note_once(
                node,
                format!(
                    "`{PROTOCOLS}`: that these are asked for, in this order, has no counterpart; Belfry asks for {before}{}",
                    TEXTS.join(", ")
                ),
            );
        }
        Ok(())
    }

    /// What `global` says is told once, not by each job.
    fn note_once(&mut self, node: &Node, what: String) {
        if !self.notes.contains(&(node.line, what.clone())) {
            self.note(node, what);
        }
    }
}
