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

    /// Prints the table; an error when a figure is not reached.
    pub fn close(&self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        println!(
            "{:<49}{:>9}{:>9}{:>9}{:>8}{:>8}{:>8}  ",
            "figures to reach", "belfry", "victoria", "prometh.", "/vic.", "/prom.", "wanted"
        );
        let mut missed = 0;
        for figure in self.0.keys() {
            let wanted = figure.wanted();
            let Some(ours) = self.of(*figure, Kind::Belfry) else { continue };
            let ratio = |to: Option<f64>| to.map(|t| ours / t);
            let [vic, prom] = [Kind::VictoriaMetrics, Kind::Prometheus].map(|k| self.of(*figure, k));
            let slow = wanted.part.is_some_and(|most| ratio(vic).is_some_and(|r| r > most));
            let verdict = if ours > wanted.most || slow { "MISSED" } else { "reached" };
            missed += usize::from(verdict == "MISSED");
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
        match missed {
            0 => Ok(()),
            n => bail!("{n} of the figures are not reached"),
        }
    }
}
