//! The figures that the store must reach, what each server came to in this run, and whether that is enough.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::server::Kind;

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    Write10k,
    Write100k,
    Scrape,
    Memory100k,
    Memory1m,
    Memory1mBlock,
    Disk,
    Decode,
    Start,
    Linear,
    Churn,
}

/// What Belfry must come to.
struct Wanted {
    what: &'static str,
    /// At most.
    most: f64,
    /// At most this part of VictoriaMetrics, in the same run.
    part: Option<f64>,
    places: usize,
}

impl Figure {
    fn wanted(self) -> Wanted {
        let (what, most, part, places) = match self {
            Self::Write10k => ("remote write, 10k series × 240, CPU ns/sample", 250.0, Some(1.0 / 3.0), 0),
            Self::Write100k => ("remote write, 100k series × 120, CPU ns/sample", 350.0, Some(0.25), 0),
            Self::Scrape => ("scrape, 40 × 500 series at 1 s, CPU ns/sample", 350.0, None, 0),
            Self::Memory100k => ("memory at 100k series, steady, MB", 120.0, None, 0),
            Self::Memory1m => ("memory at 1M series, MB", 400.0, None, 0),
            Self::Memory1mBlock => ("memory at 1M series behind a block, MB", 400.0, None, 0),
            Self::Disk => ("disk after compaction, 20k × 1,480, B/sample", 0.8, None, 2),
            Self::Decode => ("decode in a scan, ns/sample", 2.0, None, 2),
            Self::Start => ("start, 100k series × 1 day, s", 1.0, None, 2),
            Self::Linear => ("CPU/sample at 1M series, of that at 10k", 2.0, None, 2),
            Self::Churn => ("churn, memory on day 2, of that on day 1", 1.2, None, 2),
        };
        Wanted { what, most, part, places }
    }
}

/// Whether a figure is what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Reached,
    Missed,
    /// It is as low as it must be, and was to be compared with a server that was not there.
    NotCompared,
    /// What was measured is no number above nothing, so something was not measured.
    NotMeasured,
}

impl Verdict {
    fn of(wanted: &Wanted, ours: f64, victoria_metrics: Option<f64>) -> Self {
        let is_measured = |value: f64| value.is_finite() && value > 0.0;
        let theirs = victoria_metrics.filter(|v| is_measured(*v));
        match (wanted.part, theirs) {
            _ if !is_measured(ours) => Self::NotMeasured,
            _ if ours > wanted.most => Self::Missed,
            (Some(most), Some(theirs)) if ours / theirs > most => Self::Missed,
            (Some(_), None) => Self::NotCompared,
            _ => Self::Reached,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Missed => "MISSED",
            Self::NotCompared => "not compared",
            Self::NotMeasured => "NOT MEASURED",
        }
    }
}

/// What was measured so far.
#[derive(Default)]
pub struct Board(BTreeMap<Figure, Vec<(Kind, f64)>>);

impl Board {
    pub fn put(&mut self, figure: Figure, of: Kind, value: f64) {
        self.0.entry(figure).or_default().push((of, value));
    }

    pub fn has(&self, figure: Figure) -> bool {
        self.0.contains_key(&figure)
    }

    fn of(&self, figure: Figure, kind: Kind) -> Option<f64> {
        self.0.get(&figure)?.iter().find(|(k, _)| *k == kind).map(|(_, v)| *v)
    }

    /// Prints the table; an error when a figure is not reached or was not measured. One that could not be compared is
    /// neither, and is told.
    pub fn close(&self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        println!(
            "{:<49}{:>9}{:>9}{:>9}{:>8}{:>8}{:>8}  ",
            "figures to reach", "belfry", "victoria", "prometh.", "/vic.", "/prom.", "wanted"
        );
        let (mut missed, mut not_compared) = (0, 0);
        for figure in self.0.keys() {
            let wanted = figure.wanted();
            let Some(ours) = self.of(*figure, Kind::Belfry) else { continue };
            let ratio = |to: Option<f64>| to.map(|t| ours / t);
            let [vic, prom] = [Kind::VictoriaMetrics, Kind::Prometheus].map(|k| self.of(*figure, k));
            let verdict = Verdict::of(&wanted, ours, vic);
            missed += usize::from(matches!(verdict, Verdict::Missed | Verdict::NotMeasured));
            not_compared += usize::from(verdict == Verdict::NotCompared);
            let verdict = verdict.text();
            let number = |n: Option<f64>, places| n.map_or("–".to_owned(), |n| format!("{n:.places$}"));
            println!(
                "{:<49}{:>9}{:>9}{:>9}{:>8}{:>8}{:>8}  {verdict}{}",
                wanted.what,
                number(Some(ours), wanted.places),
                number(vic, wanted.places),
                number(prom, wanted.places),
                number(ratio(vic), 3),
                number(ratio(prom), 3),
                format!("≤ {}", number(Some(wanted.most), if wanted.places > 0 { 1 } else { 0 })),
                wanted.part.map_or(String::new(), |p| format!(" (and ≤ {p:.2} of victoria-metrics)"))
            );
        }
        if not_compared > 0 {
            println!("{not_compared} of the figures were not compared with victoria-metrics, as they are to be");
        }
        match missed {
            0 => Ok(()),
            n => bail!("{n} of the figures are not reached"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_measured_and_compared_is_reached() {
        let wanted = |part| Wanted { what: "", most: 250.0, part, places: 0 };
        for (part, ours, theirs, verdict) in [
            (None, 250.0, None, Verdict::Reached),
            (None, 251.0, None, Verdict::Missed),
            (Some(0.5), 100.0, Some(200.0), Verdict::Reached),
            (Some(0.5), 100.0, Some(199.0), Verdict::Missed),
            (Some(0.5), 100.0, None, Verdict::NotCompared),
            (Some(0.5), 100.0, Some(0.0), Verdict::NotCompared),
            (Some(0.5), 100.0, Some(f64::NAN), Verdict::NotCompared),
            (Some(0.5), 300.0, None, Verdict::Missed),
            (None, f64::NAN, None, Verdict::NotMeasured),
            (None, 0.0, None, Verdict::NotMeasured),
            (None, f64::INFINITY, None, Verdict::NotMeasured),
            (Some(0.5), 0.0, Some(200.0), Verdict::NotMeasured),
        ] {
            assert_eq!(Verdict::of(&wanted(part), ours, theirs), verdict, "{part:?} {ours} {theirs:?}");
        }
    }
}
