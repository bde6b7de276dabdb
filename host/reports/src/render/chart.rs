//! Charts as SVG: axes with round ticks, lines with gaps, thresholds, a legend with figures.
//!
//! Not here: colours (the page's style sheet has them, so that they follow light, dark and print).

use std::fmt::Write as _;

use belfry_model::report::{Chart, ChartSeries};

use super::CHART_SERIES_MAX;
use super::html::escape;
use super::number::{is_bytes, with_unit, word};
use super::when::Zone;
use belfry_model::TimestampMs;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// Colours of the style sheet; more series begin again.
const COLOURS: usize = 8;

/// Columns of pixels, so to say: a series with more points is drawn by the least and greatest of each column.
const COLUMNS: usize = 600;

/// Where values and times lie on the picture.
struct Scale {
    start: i64,
    end: i64,
    low: f64,
    high: f64,
}

impl Scale {
    fn x(&self, t: i64) -> f64 {
        // In floats: a plugin may name any instant there is.
        let (start, end) = (self.start as f64, self.end as f64);
        LEFT + (t as f64 - start) / (end - start).max(1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, v: f64) -> f64 {
        TOP + (1.0 - (v - self.low) / (self.high - self.low)) * (HEIGHT - TOP - BOTTOM)
    }
}

pub(super) fn render(chart: &Chart, zone: &Zone, start: TimestampMs, end: TimestampMs) -> String {
    let mut out = format!("<figure class=\"chart\"><figcaption>{}", escape(&chart.title));
    if let Some(unit) = word(chart.unit.as_deref()) {
        let _ = write!(out, " <span class=\"unit\">{}</span>", escape(unit));
    }
    out.push_str("</figcaption>\n");
    let drawn: Vec<&ChartSeries> = chart.series.iter().take(CHART_SERIES_MAX).collect();
    match scale(chart, &drawn, start, end) {
        None => out.push_str("<p class=\"none\">No data in this period.</p>\n"),
        Some((scale, ticks)) => {
            svg(&mut out, chart, &drawn, &scale, &ticks, zone);
            legend(&mut out, chart, &drawn);
        }
    }
    if chart.series.len() > drawn.len() {
        let more = chart.series.len() - drawn.len();
        let _ = writeln!(out, "<p class=\"none\">{more} more series are not drawn.</p>");
    }
    out.push_str("</figure>\n");
    out
}

/// The unit at each number; none where it stands above the chart.
fn short_unit(chart: &Chart) -> Option<&str> {
    let unit = chart.unit.as_deref();
    if word(unit).is_some() { None } else { unit }
}

fn finite(series: &ChartSeries) -> impl Iterator<Item = (i64, f64)> + '_ {
    series.times.iter().zip(&series.values).map(|(t, v)| (t.0, *v)).filter(|(_, v)| v.is_finite())
}

fn scale(chart: &Chart, drawn: &[&ChartSeries], start: TimestampMs, end: TimestampMs) -> Option<(Scale, Vec<f64>)> {
    let mut points = drawn.iter().flat_map(|s| finite(s)).peekable();
    points.peek()?;
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    let (mut from, mut to) = (start.0, end.0);
    for (t, v) in points {
        (low, high) = (low.min(v), high.max(v));
        (from, to) = (from.min(t), to.max(t));
    }
    // A threshold far off would flatten the lines; near ones are worth the room.
    for t in chart.thresholds.iter().filter(|t| t.is_finite()) {
        if *t <= high + 2.0 * (high - low).max(high.abs()) {
            (low, high) = (low.min(*t), high.max(*t));
        }
    }
    // From zero, unless the lines are far from it.
    if low > 0.0 && low < 0.7 * high || chart.kind != "line" {
        low = low.min(0.0);
    }
    if chart.kind != "line" {
        high = high.max(0.0);
    }
    if high - low <= high.abs().max(low.abs()) * 1e-9 {
        let room = if high == 0.0 { 1.0 } else { high.abs() * 0.1 };
        (low, high) = (low - room, high + room);
    }
    let ticks = value_ticks(low, high, is_bytes(chart.unit.as_deref()))?;
    let (low, high) = (*ticks.first()?, *ticks.last()?);
    // Beyond what floats can tell apart there is nothing to draw.
    (high > low && (high - low).is_finite()).then_some((Scale { start: from, end: to, low, high }, ticks))
}

/// Four to six round values around the range.
fn value_ticks(low: f64, high: f64, binary: bool) -> Option<Vec<f64>> {
    let rough = (high - low) / 4.0;
    if !rough.is_finite() || rough <= 0.0 {
        return None;
    }
    let step = if binary && rough >= 1.0 {
        2f64.powf(rough.log2().ceil())
    } else {
        let power = 10f64.powf(rough.log10().floor());
        let factor = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|f| f * power >= rough * 0.999).unwrap_or(10.0);
        factor * power
    };
    let (first, last) = ((low / step).floor(), (high / step).ceil());
    if !(step > 0.0 && (last - first) <= 20.0) {
        return None;
    }
    Some((0..=(last - first) as i64).map(|i| (first + i as f64) * step).collect())
}

fn svg(out: &mut String, chart: &Chart, drawn: &[&ChartSeries], scale: &Scale, ticks: &[f64], zone: &Zone) {
    let unit = short_unit(chart);
    let _ = write!(
        out,
        "<div class=\"plot\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n<g class=\"axis\">\n",
        escape(&chart.title)
    );
    for value in ticks {
        let y = scale.y(*value);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"v\" x=\"{:.1}\" \
             y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 7.0,
            y + 3.5,
            escape(&with_unit(*value, unit))
        );
    }
    for (at, label) in zone.ticks(TimestampMs(scale.start), TimestampMs(scale.end)) {
        let x = scale.x(at.0);
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/><text class=\"t\" x=\"{x:.1}\" \
             y=\"{:.1}\">{}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 4.0,
            HEIGHT - 6.0,
            escape(&label)
        );
    }
    out.push_str("</g>\n");
    for (i, series) in drawn.iter().enumerate() {
        match chart.kind.as_str() {
            "bar" => bars(out, series, i, drawn.len(), scale),
            kind => lines(out, series, i, kind == "area", scale),
        }
    }
    for value in chart.thresholds.iter().filter(|t| (scale.low..=scale.high).contains(t)) {
        let y = scale.y(*value);
        let _ = writeln!(
            out,
            "<g class=\"threshold\"><line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text \
             x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            WIDTH - RIGHT,
            WIDTH - RIGHT - 3.0,
            y - 4.0,
            escape(&with_unit(*value, unit))
        );
    }
    out.push_str("</svg></div>\n");
}

/// Runs of points without a gap. A gap is a NaN, or much more time than usual between two points.
fn runs(series: &ChartSeries) -> Vec<Vec<(i64, f64)>> {
    let points: Vec<(i64, f64)> = series.times.iter().zip(&series.values).map(|(t, v)| (t.0, *v)).collect();
    let mut distances: Vec<i64> = points.windows(2).map(|w| w[1].0.saturating_sub(w[0].0)).collect();
    distances.sort_unstable();
    let usual = distances.get(distances.len() / 2).copied().unwrap_or(i64::MAX);
    let mut runs: Vec<Vec<(i64, f64)>> = vec![Vec::new()];
    let mut last = None;
    for (t, v) in points {
        let gap = last.is_some_and(|l: i64| t.saturating_sub(l) > usual.saturating_mul(3));
        if (gap || !v.is_finite()) && runs.last().is_some_and(|r| !r.is_empty()) {
            runs.push(Vec::new());
        }
        if v.is_finite() {
            runs.last_mut().expect("there is one from the beginning").push((t, v));
        }
        last = Some(t);
    }
    runs.retain(|r| !r.is_empty());
    runs
}

/// The least and the greatest of each column, so that no peak is lost.
fn thin(run: &[(i64, f64)]) -> Vec<(i64, f64)> {
    if run.len() <= 2 * COLUMNS {
        return run.to_vec();
    }
    let mut out = Vec::with_capacity(2 * COLUMNS);
    for column in run.chunks(run.len().div_ceil(COLUMNS)) {
        let least = column.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let greatest = column.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let (Some(least), Some(greatest)) = (least, greatest) else { continue };
        let (first, second) = if least.0 <= greatest.0 { (least, greatest) } else { (greatest, least) };
        out.push(*first);
        if second != first {
            out.push(*second);
        }
    }
    out
}

fn lines(out: &mut String, series: &ChartSeries, index: usize, filled: bool, scale: &Scale) {
    let colour = index % COLOURS;
    for run in runs(series) {
        let run = thin(&run);
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        if run.len() == 1 {
            let (x, y) = (scale.x(first.0), scale.y(first.1));
            let _ = writeln!(out, "<circle class=\"dot c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\"/>");
            continue;
        }
        let mut path = String::new();
        for (i, (t, v)) in run.iter().enumerate() {
            let _ = write!(path, "{}{:.1} {:.1}", if i == 0 { "M" } else { "L" }, scale.x(*t), scale.y(*v));
        }
        if filled {
            let base = scale.y(0f64.clamp(scale.low, scale.high));
            let (from, to) = (scale.x(first.0), scale.x(last.0));
            let _ =
                writeln!(out, "<path class=\"fill c{colour}\" d=\"{path}L{to:.1} {base:.1}L{from:.1} {base:.1}Z\"/>");
        }
        let _ = writeln!(out, "<path class=\"line c{colour}\" d=\"{path}\"/>");
    }
}

fn bars(out: &mut String, series: &ChartSeries, index: usize, of: usize, scale: &Scale) {
    let points: Vec<(i64, f64)> = finite(series).take(2 * COLUMNS).collect();
    let room = (WIDTH - LEFT - RIGHT) / points.len().max(1) as f64;
    let width = (room * 0.8 / of as f64).clamp(0.5, 40.0);
    let base = scale.y(0f64.clamp(scale.low, scale.high));
    for (t, v) in points {
        let x = (scale.x(t) + (index as f64 - of as f64 / 2.0) * width).clamp(LEFT, WIDTH - RIGHT - width);
        let y = scale.y(v);
        let (top, height) = (y.min(base), (y - base).abs());
        let _ = writeln!(
            out,
            "<rect class=\"bar c{}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>",
            index % COLOURS
        );
    }
}

fn legend(out: &mut String, chart: &Chart, drawn: &[&ChartSeries]) {
    out.push_str(
        "<table class=\"legend\"><thead><tr><th></th><th class=\"n\">min</th><th class=\"n\">avg</th><th \
         class=\"n\">max</th><th class=\"n\">last</th></tr></thead><tbody>\n",
    );
    for (i, series) in drawn.iter().enumerate() {
        let values: Vec<f64> = finite(series).map(|(_, v)| v).collect();
        let of = |v: f64| escape(&with_unit(v, short_unit(chart)));
        let least = values.iter().copied().fold(f64::NAN, f64::min);
        let greatest = values.iter().copied().fold(f64::NAN, f64::max);
        let mean = values.iter().map(|v| v / values.len() as f64).sum::<f64>();
        let mean = if values.is_empty() { f64::NAN } else { mean };
        let _ = writeln!(
            out,
            "<tr><td><span class=\"key c{}\"></span>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td \
             class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            i % COLOURS,
            escape(&series.name),
            of(least),
            of(mean),
            of(greatest),
            of(values.last().copied().unwrap_or(f64::NAN))
        );
    }
    out.push_str("</tbody></table>\n");
    let shown: Vec<String> =
        chart.thresholds.iter().filter(|t| t.is_finite()).map(|t| with_unit(*t, short_unit(chart))).collect();
    if !shown.is_empty() {
        let _ = writeln!(out, "<p class=\"none\">Dashed: threshold {}</p>", escape(&shown.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_ticks_are_round_and_hold_the_range() {
        assert_eq!(value_ticks(0.0, 97.0, false).unwrap(), [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!(value_ticks(-3.0, 5.0, false).unwrap(), [-4.0, -2.0, 0.0, 2.0, 4.0, 6.0]);
        let gib = (1u64 << 30) as f64;
        assert_eq!(value_ticks(0.0, 7.0 * gib, true).unwrap(), [0.0, 2.0, 4.0, 6.0, 8.0].map(|n| n * gib));
        assert_eq!(value_ticks(f64::MIN, f64::MAX, false), None);
    }

    #[test]
    fn a_gap_is_not_bridged_and_a_peak_is_not_lost() {
        let series = |values: Vec<f64>| ChartSeries {
            name: String::new(),
            labels: Default::default(),
            times: (0..values.len() as i64).map(TimestampMs).collect(),
            values,
        };
        let with_gap = series(vec![1.0, 2.0, f64::NAN, 3.0]);
        assert_eq!(runs(&with_gap), [vec![(0, 1.0), (1, 2.0)], vec![(3, 3.0)]]);
        let mut many = vec![1.0; 10_000];
        many[7777] = 99.0;
        let thinned = thin(&runs(&series(many))[0]);
        assert!(thinned.len() <= 2 * COLUMNS && thinned.contains(&(7777, 99.0)));
    }
}
