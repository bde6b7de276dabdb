//! From points to a line and its numbers.
//!
//! Not here: host calls.

use belfry_sdk::Label;
use belfry_sdk::query::Points;

/// Points of a chart: enough for its width, few enough for a mail.
const POINTS: i64 = 240;
/// No finer than anything is measured.
const STEP_MS_MIN: i64 = 5_000;

/// The period and the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// The one before begins; it ends at `start`.
    pub previous_start: i64,
    /// First instant.
    pub start: i64,
    /// First instant after it.
    pub end: i64,
    /// Between points.
    pub step_ms: u64,
}

impl Period {
    /// `None` when it is empty.
    pub fn new(previous_start: i64, start: i64, end: i64) -> Option<Self> {
        if start >= end || previous_start > start {
            return None;
        }
        // Whole seconds, so that the points of both periods fall alike.
        let step = ((end - start) / POINTS).max(STEP_MS_MIN) / 1000 * 1000;
        Some(Self { previous_start, start, end, step_ms: step as u64 })
    }
}

/// One series of a panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its labels' values, for people.
    pub name: String,
    /// Its labels.
    pub labels: Vec<Label>,
    /// On the grid of the period, without gaps.
    pub times: Vec<i64>,
    /// NaN is a gap.
    pub values: Vec<f64>,
    /// The newest.
    pub last: f64,
    /// Over the points that are there.
    pub average: f64,
    /// Of the points that are there.
    pub maximum: f64,
    /// Over the period before.
    pub previous_average: Option<f64>,
}

impl Line {
    /// Of the average, against the period before.
    pub fn change_percent(&self) -> Option<f64> {
        let before = self.previous_average.filter(|b| *b != 0.0)?;
        Some((self.average - before) / before.abs() * 100.0)
    }
}

/// The lines with any value, highest average first.
pub fn lines(now: Vec<Points>, before: &[Points], period: &Period) -> Vec<Line> {
    let mut lines: Vec<Line> = now
        .into_iter()
        .filter_map(|points| {
            let (average, maximum, last) = numbers(&points.values)?;
            let same = before.iter().find(|b| labels_equal(&b.labels, &points.labels));
            let previous_average = same.and_then(|b| numbers(&b.values)).map(|(average, ..)| average);
            let (times, values) = with_gaps(&points.times, &points.values, period.step_ms as i64);
            let labels: Vec<Label> = points.labels.into_iter().filter(|l| l.name != "__name__").collect();
            Some(Line { name: name(&labels), labels, times, values, last, average, maximum, previous_average })
        })
        .collect();
    lines.sort_by(|a, b| b.average.total_cmp(&a.average).then_with(|| a.name.cmp(&b.name)));
    lines
}

/// Average, maximum and last of the finite values.
fn numbers(values: &[f64]) -> Option<(f64, f64, f64)> {
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let last = finite().next_back()?;
    // The running mean does not overflow where a sum would.
    let (mut n, mut average) = (0.0, 0.0);
    for value in finite() {
        n += 1.0;
        average += (value - average) / n;
    }
    Some((average, finite().fold(f64::NEG_INFINITY, f64::max), last))
}

/// A missing step becomes one NaN: a chart must not draw a line across it.
fn with_gaps(times: &[i64], values: &[f64], step_ms: i64) -> (Vec<i64>, Vec<f64>) {
    let (mut out_times, mut out_values) = (Vec::with_capacity(times.len()), Vec::with_capacity(times.len()));
    for (&time, &value) in times.iter().zip(values) {
        if let Some(&before) = out_times.last()
            && time - before > step_ms
        {
            out_times.push(before + step_ms);
            out_values.push(f64::NAN);
        }
        out_times.push(time);
        out_values.push(value);
    }
    (out_times, out_values)
}

fn labels_equal(a: &[Label], b: &[Label]) -> bool {
    a.len() == b.len() && a.iter().all(|label| b.contains(label))
}

fn name(labels: &[Label]) -> String {
    match labels {
        [only] => only.value.clone(),
        labels => labels.iter().map(|l| format!("{}={}", l.name, l.value)).collect::<Vec<_>>().join(", "),
    }
}
