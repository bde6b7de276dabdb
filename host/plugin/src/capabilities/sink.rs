//! `sink`: how samples leave a guest.
//!
//! Invariant: what one call pushed leaves as one batch when the call returns ok, and none of it otherwise. A series that
//! a successful call leaves out, or that is closed, gets a stale marker, also across restarts and swaps.
//! Not here: what becomes of a batch; the limit of series in total (`SeriesOpener`).

use std::collections::HashMap;
use std::sync::Arc;

use belfry_model::labels::{METRIC_NAME, is_legacy_metric_name, is_legacy_name};
use belfry_model::sample::stale_nan;
use belfry_model::write::Times;
use belfry_model::{Batch, Histogram, Labels, LabelsBuilder, MetricMetadata, SeriesRef, TimestampMs};

use super::{GuestError, error, invalid, limit};
use crate::bindings::belfry::plugin::sink::{self, Host};
use crate::bindings::belfry::plugin::types::Label;
use crate::convert;
use crate::state::InstanceState;

/// Metrics a plugin may name beyond its descriptor.
const DECLARED_METRICS_MAX: usize = 1_000;
/// Labels of one series, Prometheus' usual bound.
const LABELS_PER_SERIES_MAX: usize = 64;
/// Bytes of a metric or label name.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of a label value: paths and URLs fit, documents do not.
const LABEL_VALUE_BYTES_MAX: usize = 2_048;
/// Bytes of a metric's help text.
const HELP_BYTES_MAX: usize = 1_024;

/// Which calls take samples. Each has a set of live series of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// `describe`: no series, no samples.
    Describe,
    /// Series may be opened, samples have nowhere to go.
    Other,
    /// `collect`.
    Collect,
    /// `snapshot`.
    Snapshot,
}

impl Phase {
    fn bit(self) -> u8 {
        match self {
            Self::Describe | Self::Other => 0,
            Self::Collect => 1,
            Self::Snapshot => 2,
        }
    }
}

struct Slot {
    labels: Labels,
    series: SeriesRef,
    /// The last call that pushed to it.
    pushed_in: u64,
    /// Calls (by [`Phase::bit`]) whose last success included it.
    live: u8,
}

/// Series that a previous instance left live, with the calls that kept them so.
pub(crate) type Carry = Vec<(SeriesRef, u8)>;

#[derive(Default)]
struct Pending {
    refs: Vec<SeriesRef>,
    values: Vec<f64>,
    /// Empty while every sample has the call's time.
    times: Vec<TimestampMs>,
    /// Empty while no sample has a start.
    starts: Vec<i64>,
    histograms: Vec<(SeriesRef, TimestampMs, Option<TimestampMs>, Arc<Histogram>)>,
    samples: usize,
}

impl Pending {
    fn push(&mut self, series: SeriesRef, value: f64, at: Option<TimestampMs>, start: Option<i64>, now: TimestampMs) {
        if at.is_some() && self.times.is_empty() {
            self.times = vec![now; self.refs.len()];
        }
        if start.is_some() && self.starts.is_empty() {
            self.starts = vec![0; self.refs.len()];
        }
        // `now` first: with no sample yet, the vectors above stay empty although a time was given.
        if at.is_some() || !self.times.is_empty() {
            self.times.push(at.unwrap_or(now));
        }
        if start.is_some() || !self.starts.is_empty() {
            self.starts.push(start.unwrap_or(0));
        }
        self.refs.push(series);
        self.values.push(value);
    }
}

/// One instance's series and what the current call has pushed.
pub(crate) struct SinkState {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    by_labels: HashMap<Labels, u32>,
    declared: HashMap<String, MetricMetadata>,
    pending: Pending,
    /// Closed while live: marked stale with the next batch.
    closed: Vec<SeriesRef>,
    carry: Carry,
    phase: Phase,
    call: u64,
    at: TimestampMs,
}

impl SinkState {
    pub(crate) fn new(carry: Carry) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_labels: HashMap::new(),
            declared: HashMap::new(),
            pending: Pending::default(),
            closed: Vec::new(),
            carry,
            phase: Phase::Describe,
            call: 0,
            at: TimestampMs(0),
        }
    }

    /// A call begins; its samples are stamped `at`.
    pub(crate) fn begin_call(&mut self, phase: Phase, at: TimestampMs) {
        self.pending = Pending::default();
        self.phase = phase;
        self.at = at;
        self.call += 1;
    }

    /// Series open now.
    pub(crate) fn open_series(&self) -> usize {
        self.by_labels.len()
    }

    /// What was declared beyond the descriptor.
    pub(crate) fn declared(&self) -> impl Iterator<Item = &MetricMetadata> {
        self.declared.values()
    }

    /// The call succeeded: its batch, with stale markers for what it left out.
    pub(crate) fn commit(&mut self, producer: Arc<str>) -> Batch {
        let bit = self.phase.bit();
        let mut pending = std::mem::take(&mut self.pending);
        let mut gone = std::mem::take(&mut self.closed);
        for slot in self.slots.iter_mut().flatten() {
            if slot.pushed_in == self.call {
                slot.live |= bit;
            } else if slot.live & bit != 0 {
                slot.live &= !bit;
                if slot.live == 0 {
                    gone.push(slot.series);
                }
            }
        }
        if !self.carry.is_empty() {
            let now_live: std::collections::HashSet<SeriesRef> =
                self.slots.iter().flatten().filter(|s| s.live != 0).map(|s| s.series).collect();
            self.carry.retain_mut(|(series, live)| {
                if now_live.contains(series) {
                    return false;
                }
                *live &= !bit;
                if *live == 0 {
                    gone.push(*series);
                }
                *live != 0
            });
        }
        for series in gone {
            pending.push(series, stale_nan(), None, None, self.at);
        }
        Batch {
            producer,
            times: if pending.times.is_empty() { Times::One(self.at) } else { Times::Each(pending.times) },
            refs: pending.refs,
            values: pending.values,
            starts: pending.starts,
            histograms: pending.histograms,
            exemplars: Vec::new(),
            durable: false,
        }
    }

    /// The call failed: nothing of it is kept.
    pub(crate) fn abort(&mut self) {
        self.pending = Pending::default();
    }

    /// Takes over what another instance left live.
    pub(crate) fn adopt(&mut self, carry: Carry) {
        self.carry.extend(carry);
    }

    /// The instance goes: what the next one must either push again or end.
    pub(crate) fn into_carry(mut self) -> Carry {
        let mut carry = std::mem::take(&mut self.carry);
        // No call keeps these live: they end with the next batch.
        carry.extend(self.closed.drain(..).map(|s| (s, 0)));
        carry.extend(self.slots.iter().flatten().filter(|s| s.live != 0).map(|s| (s.series, s.live)));
        carry
    }

    /// The store has forgotten some of these series: take new references for all.
    pub(crate) fn reopen(&mut self, open: impl Fn(&Labels) -> Result<SeriesRef, String>) -> Result<(), String> {
        for slot in self.slots.iter_mut().flatten() {
            slot.series = open(&slot.labels)?;
        }
        Ok(())
    }

    fn takes_samples(&self) -> Result<(), GuestError> {
        match self.phase {
            Phase::Collect | Phase::Snapshot => Ok(()),
            Phase::Describe | Phase::Other => {
                Err(error("phase", "samples can be pushed in `collect` and `snapshot` only".to_owned(), false))
            }
        }
    }

    fn room_for(&mut self, samples: usize, samples_max: u32) -> Result<(), GuestError> {
        let wanted = self.pending.samples.saturating_add(samples);
        if wanted > samples_max as usize {
            return Err(limit(format!("{wanted} samples in one call; `limits.samples_per_call` is {samples_max}")));
        }
        Ok(())
    }

    fn slot(&self, id: u32) -> Result<&Slot, GuestError> {
        self.slots
            .get(id as usize)
            .and_then(Option::as_ref)
            .ok_or_else(|| invalid(format!("series {id} is not open in this instance")))
    }

    fn touch(&mut self, id: u32) {
        if let Some(Some(slot)) = self.slots.get_mut(id as usize) {
            slot.pushed_in = self.call;
        }
    }
}

/// The labels of a series as a guest gives them, with the host's over them.
fn series_labels(metric: &str, labels: &[Label], host_labels: &Labels) -> Result<Labels, GuestError> {
    if metric.len() > NAME_BYTES_MAX || !is_legacy_metric_name(metric) {
        return Err(invalid(format!(
            "{metric:?} is no metric name: [a-zA-Z_:][a-zA-Z0-9_:]*, at most {NAME_BYTES_MAX} bytes"
        )));
    }
    if labels.len() > LABELS_PER_SERIES_MAX {
        return Err(limit(format!("{} labels on {metric}; at most {LABELS_PER_SERIES_MAX}", labels.len())));
    }
    let mut b = LabelsBuilder::default();
    b.set(METRIC_NAME, metric);
    for label in labels {
        if label.name.len() > NAME_BYTES_MAX || !is_legacy_name(&label.name) || label.name == METRIC_NAME {
            return Err(invalid(format!("{:?} is no label name: [a-zA-Z_][a-zA-Z0-9_]*", label.name)));
        }
        if host_labels.get(&label.name).is_some() || belfry_model::labels::RESERVED.contains(&label.name.as_str()) {
            return Err(invalid(format!(
                "the label `{}` of {metric} is set by the host: name it otherwise",
                label.name
            )));
        }
        if label.value.len() > LABEL_VALUE_BYTES_MAX {
            return Err(limit(format!(
                "the label `{}` of {metric} has {} bytes; at most {LABEL_VALUE_BYTES_MAX}",
                label.name,
                label.value.len()
            )));
        }
        b.set(label.name.as_str(), label.value.as_str());
    }
    for label in host_labels {
        b.set(label.name.clone(), label.value.clone());
    }
    Ok(b.build())
}

impl InstanceState {
    fn open_series(&mut self, metric: &str, labels: &[Label]) -> Result<u32, GuestError> {
        if self.sink.phase == Phase::Describe {
            return Err(error("phase", "no series can be opened in `describe`".to_owned(), false));
        }
        let labels = series_labels(metric, labels, &self.host_labels)?;
        if let Some(id) = self.sink.by_labels.get(&labels) {
            return Ok(*id);
        }
        let series_max = self.limits.series;
        if self.sink.by_labels.len() >= series_max as usize {
            return Err(limit(format!("{series_max} series are open already (`limits.series`)")));
        }
        let series = self.shared.services.series.open(&self.plugin, &labels).map_err(limit)?;
        let slot = Some(Slot { labels: labels.clone(), series, pushed_in: 0, live: 0 });
        let id = match self.sink.free.pop() {
            Some(id) => {
                self.sink.slots[id as usize] = slot;
                id
            }
            None => {
                self.sink.slots.push(slot);
                self.sink.slots.len() as u32 - 1
            }
        };
        self.sink.by_labels.insert(labels, id);
        Ok(id)
    }
}

impl Host for InstanceState {
    fn declare(&mut self, m: sink::Metric) -> wasmtime::Result<Result<(), GuestError>> {
        if m.name.len() > NAME_BYTES_MAX || !is_legacy_metric_name(&m.name) || m.help.len() > HELP_BYTES_MAX {
            return Ok(Err(invalid(format!("{:?} is no metric name, or its help is too long", m.name))));
        }
        if self.sink.declared.len() >= DECLARED_METRICS_MAX && !self.sink.declared.contains_key(&m.name) {
            return Ok(Err(limit(format!("{DECLARED_METRICS_MAX} metrics are declared already"))));
        }
        self.sink.declared.insert(m.name.clone(), convert::metric(m));
        Ok(Ok(()))
    }

    fn open(&mut self, metric: String, labels: Vec<Label>) -> wasmtime::Result<Result<u32, GuestError>> {
        Ok(self.open_series(&metric, &labels))
    }

    fn close(&mut self, ids: Vec<u32>) -> wasmtime::Result<()> {
        for id in ids {
            let Some(slot) = self.sink.slots.get_mut(id as usize).and_then(Option::take) else { continue };
            self.sink.by_labels.remove(&slot.labels);
            self.sink.free.push(id);
            if slot.live != 0 {
                self.sink.closed.push(slot.series);
            }
        }
        Ok(())
    }

    fn push(&mut self, ids: Vec<u32>, values: Vec<f64>, at: Option<i64>) -> wasmtime::Result<Result<(), GuestError>> {
        Ok(self.push_columns(&ids, &values, at.map(TimestampMs)))
    }

    fn push_samples(&mut self, samples: Vec<sink::Sample>) -> wasmtime::Result<Result<(), GuestError>> {
        Ok(self.push_rows(samples))
    }

    fn push_histograms(&mut self, histograms: Vec<sink::Histogram>) -> wasmtime::Result<Result<(), GuestError>> {
        Ok(self.push_native(histograms))
    }
}

impl InstanceState {
    fn push_columns(&mut self, ids: &[u32], values: &[f64], at: Option<TimestampMs>) -> Result<(), GuestError> {
        let samples_max = self.limits.samples_per_call;
        let sink = &mut self.sink;
        sink.takes_samples()?;
        if ids.len() != values.len() {
            return Err(invalid(format!("{} series but {} values", ids.len(), values.len())));
        }
        sink.room_for(ids.len(), samples_max)?;
        for id in ids {
            sink.slot(*id)?;
        }
        sink.pending.samples += ids.len();
        sink.pending.refs.reserve(ids.len());
        sink.pending.values.reserve(ids.len());
        for (id, value) in ids.iter().zip(values) {
            let Some(Some(slot)) = sink.slots.get_mut(*id as usize) else { continue };
            slot.pushed_in = sink.call;
            sink.pending.push(slot.series, *value, at, None, sink.at);
        }
        Ok(())
    }

    fn push_rows(&mut self, samples: Vec<sink::Sample>) -> Result<(), GuestError> {
        self.sink.takes_samples()?;
        self.sink.room_for(samples.len(), self.limits.samples_per_call)?;
        let mut rows = Vec::with_capacity(samples.len());
        for s in &samples {
            rows.push(self.open_series(&s.metric, &s.labels)?);
        }
        self.sink.pending.samples += samples.len();
        for (id, s) in rows.into_iter().zip(samples) {
            let series = self.sink.slot(id)?.series;
            self.sink.touch(id);
            self.sink.pending.push(series, s.value, s.at.map(TimestampMs), s.start, self.sink.at);
        }
        Ok(())
    }

    fn push_native(&mut self, histograms: Vec<sink::Histogram>) -> Result<(), GuestError> {
        self.sink.takes_samples()?;
        let buckets: usize = histograms.iter().map(|h| 1 + h.positive_counts.len() + h.negative_counts.len()).sum();
        self.sink.room_for(buckets, self.limits.samples_per_call)?;
        let mut rows = Vec::with_capacity(histograms.len());
        for h in histograms {
            let id = h.series;
            let series = self.sink.slot(id)?.series;
            let at = h.at.map_or(self.sink.at, TimestampMs);
            let start = h.start.map(TimestampMs);
            rows.push((id, (series, at, start, Arc::new(convert::histogram(h).map_err(invalid)?))));
        }
        self.sink.pending.samples += buckets;
        for (id, row) in rows {
            self.sink.touch(id);
            self.sink.pending.histograms.push(row);
        }
        Ok(())
    }
}
