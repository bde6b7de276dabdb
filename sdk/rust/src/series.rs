//! Metrics and their series.
//!
//! A metric is a `static`; `with` picks one of its series by labels, `set` gives it this call's value. Behind that, each
//! series is opened once and its number remembered, and all values of a call leave in one `push` when it returns ok.
//!
//! Invariant: within one call a series is pushed at most once (the last value counts); a call that fails pushes nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::bindings::imports::belfry::plugin::sink::{Metric as WireMetric, MetricKind};
use crate::bindings::imports::belfry::plugin::types::Label;
use crate::errors::{Error, Result};
use crate::host;

/// Calls after which a series that is not set any more gives its place back: long enough for something that comes and
/// goes every other time, short enough for thousands of processes that come once.
const IDLE_CALLS_MAX: u64 = 5;

/// What a metric is: the part the host is told once.
#[derive(Clone, Copy, Debug)]
pub struct MetricDef {
    name: &'static str,
    kind: MetricKind,
    unit: Option<&'static str>,
    help: &'static str,
}

impl MetricDef {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn to_wire(self) -> WireMetric {
        WireMetric {
            name: self.name.to_owned(),
            kind: self.kind,
            unit: self.unit.map(str::to_owned),
            help: self.help.to_owned(),
        }
    }

    /// For a metric whose name is known only from the config. Its text lives as long as the instance.
    fn declare(name: String, kind: MetricKind, unit: Option<String>, help: String) -> Result<Self> {
        host::sink::declare(&WireMetric { name: name.clone(), kind, unit: unit.clone(), help: help.clone() })?;
        Ok(Self { name: name.leak(), kind, unit: unit.map(|u| &*u.leak()), help: help.leak() })
    }
}

/// Anything that can be listed in [`Descriptor::metrics`](crate::Descriptor::metrics).
pub trait Metric {
    /// Its definition.
    fn def(&self) -> MetricDef;
}

macro_rules! metric_kind {
    ($(#[$doc:meta])* $name:ident, $kind:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(MetricDef);

        impl $name {
            /// A metric called `name`; `help` is one sentence for people.
            pub const fn new(name: &'static str, help: &'static str) -> Self {
                Self(MetricDef { name, kind: MetricKind::$kind, unit: None, help })
            }

            /// With the unit of its values, in the singular or as UCUM writes it (`byte`, `percent`, `s`).
            pub const fn unit(self, unit: &'static str) -> Self {
                Self(MetricDef { unit: Some(unit), ..self.0 })
            }

            /// A metric whose name is known only at run time. Call it in `configure`: its text is never freed.
            pub fn declare(name: impl Into<String>, help: impl Into<String>, unit: Option<String>) -> Result<Self> {
                MetricDef::declare(name.into(), MetricKind::$kind, unit, help.into()).map(Self)
            }
        }

        impl Metric for $name {
            fn def(&self) -> MetricDef {
                self.0
            }
        }
    };
}

metric_kind!(
    /// A value that goes up and down.
    ///
    /// ```
    /// use belfry_sdk::Gauge;
    /// static BUSY: Gauge = Gauge::new("system_cpu_usage_percent", "Busy share of a core.").unit("percent");
    /// BUSY.with([("core", "0")]).set(12.5);
    /// ```
    Gauge, Gauge
);
metric_kind!(
    /// A value that only grows, until its source starts again at zero.
    ///
    /// ```
    /// use belfry_sdk::Counter;
    /// static SENT: Counter = Counter::new("mail_sent_total", "Mails sent.");
    /// SENT.with([("account", "ops")]).add(1.0);
    /// ```
    Counter, Counter
);
metric_kind!(
    /// Facts as labels; its value is always 1.
    Info, Info
);

/// Labels of a series: an array, slice or `Vec` of name and value. Give them in the same order each time.
pub trait LabelSet<'a>: AsRef<[(&'a str, &'a str)]> {}
impl<'a, T: AsRef<[(&'a str, &'a str)]>> LabelSet<'a> for T {}

/// One series of a [`Gauge`], picked by `with`.
/// It is good for the running call: `with` costs little, so pick it anew each time.
#[derive(Clone, Copy, Debug)]
pub struct GaugeSeries(Handle);

impl Gauge {
    /// The series with these labels.
    pub fn with<'a>(&self, labels: impl LabelSet<'a>) -> GaugeSeries {
        GaugeSeries(find(&self.0, labels.as_ref()))
    }

    /// Sets the series without labels.
    pub fn set(&self, value: f64) {
        set(find(&self.0, &[]), value);
    }
}

impl GaugeSeries {
    /// Its value in this call.
    pub fn set(self, value: f64) {
        set(self.0, value);
    }
}

/// One series of a [`Counter`], picked by `with`.
/// It is good for the running call: `with` costs little, so pick it anew each time.
#[derive(Clone, Copy, Debug)]
pub struct CounterSeries(Handle);

impl Counter {
    /// The series with these labels.
    pub fn with<'a>(&self, labels: impl LabelSet<'a>) -> CounterSeries {
        CounterSeries(find(&self.0, labels.as_ref()))
    }

    /// Sets the series without labels to a total that something else counts.
    pub fn set_total(&self, total: f64) {
        set(find(&self.0, &[]), total);
    }

    /// Counts in the series without labels.
    pub fn add(&self, amount: f64) {
        add(find(&self.0, &[]), amount);
    }
}

impl CounterSeries {
    /// A total that something else counts (the kernel, a server).
    pub fn set_total(self, total: f64) {
        set(self.0, total);
    }

    /// Counts here: the SDK keeps the total and pushes it with every call from now on. Negative amounts are ignored.
    pub fn add(self, amount: f64) {
        add(self.0, amount);
    }

    /// The total so far.
    pub fn total(self) -> f64 {
        REGISTRY.with_borrow(|r| r.entries[r.index(self.0)].total.unwrap_or(0.0))
    }
}

impl Info {
    /// States these facts in this call.
    pub fn set<'a>(&self, labels: impl LabelSet<'a>) {
        set(find(&self.0, labels.as_ref()), 1.0);
    }
}

/// A place in the registry, as of one call: places move when idle series are closed.
#[derive(Clone, Copy, Debug)]
struct Handle {
    index: u32,
    call: u64,
}

struct Entry {
    metric: &'static str,
    labels: Vec<(Box<str>, Box<str>)>,
    /// The host's number, once opened.
    id: Option<u32>,
    /// Kept here for counters that count in the plugin.
    total: Option<f64>,
    /// The last call that set it.
    set_in: u64,
    value: f64,
    /// Next entry with the same hash.
    next: Option<u32>,
}

#[derive(Default)]
struct Registry {
    entries: Vec<Entry>,
    by_hash: HashMap<u64, u32, BuildHasherDefault<AsIs>>,
    /// Number of the running call.
    call: u64,
    /// Entries set in the running call, in order.
    set: Vec<u32>,
    ids: Vec<u32>,
    values: Vec<f64>,
}

thread_local! {
    static REGISTRY: RefCell<Registry> = RefCell::new(Registry { call: 1, ..Registry::default() });
}

/// The keys are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// FNV-1a: short keys, little code.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    // The separator keeps ("ab", "c") and ("a", "bc") apart.
    bytes.iter().chain(&[0xff]).fold(hash, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

fn find(metric: &MetricDef, labels: &[(&str, &str)]) -> Handle {
    let mut hash = fnv(0xcbf2_9ce4_8422_2325, metric.name.as_bytes());
    for (name, value) in labels {
        hash = fnv(fnv(hash, name.as_bytes()), value.as_bytes());
    }
    REGISTRY.with_borrow_mut(|r| {
        let call = r.call;
        let first = r.by_hash.get(&hash).copied();
        let mut at = first;
        while let Some(i) = at {
            let entry = &r.entries[i as usize];
            let same = entry.metric == metric.name
                && entry.labels.len() == labels.len()
                && entry.labels.iter().zip(labels).all(|((an, av), (bn, bv))| **an == **bn && **av == **bv);
            if same {
                return Handle { index: i, call };
            }
            at = entry.next;
        }
        let i = r.entries.len() as u32;
        r.entries.push(Entry {
            metric: metric.name,
            labels: labels.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            id: None,
            total: None,
            set_in: 0,
            value: 0.0,
            next: first,
        });
        r.by_hash.insert(hash, i);
        Handle { index: i, call }
    })
}

fn set(handle: Handle, value: f64) {
    REGISTRY.with_borrow_mut(|r| {
        let index = r.index(handle);
        let entry = &mut r.entries[index];
        entry.value = value;
        if entry.set_in != handle.call {
            entry.set_in = handle.call;
            r.set.push(handle.index);
        }
    });
}

fn add(handle: Handle, amount: f64) {
    let total = REGISTRY.with_borrow_mut(|r| {
        let index = r.index(handle);
        let total = r.entries[index].total.get_or_insert(0.0);
        *total += if amount > 0.0 { amount } else { 0.0 };
        *total
    });
    set(handle, total);
}

/// Pushes what the call set. Called by the export glue when the call returned ok.
pub(crate) fn flush() -> Result<()> {
    REGISTRY.with_borrow_mut(Registry::flush)
}

/// Forgets what the call set. Called by the export glue when the call failed; counters keep what they counted.
pub(crate) fn discard() {
    REGISTRY.with_borrow_mut(Registry::next_call);
}

/// Forgets everything, for a new fake host.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn forget() {
    REGISTRY.with_borrow_mut(|r| *r = Registry { call: r.call + 1, ..Registry::default() });
}

impl Registry {
    /// # Panics
    /// If the handle is of an earlier call: it may mean another series by now.
    fn index(&self, handle: Handle) -> usize {
        assert!(handle.call == self.call, "a series was kept from an earlier call: call `with` in each call");
        handle.index as usize
    }

    fn flush(&mut self) -> Result<()> {
        let pushed = self.push();
        self.next_call();
        self.close_idle();
        pushed
    }

    fn next_call(&mut self) {
        self.call += 1;
        self.set.clear();
        self.ids.clear();
        self.values.clear();
    }

    fn push(&mut self) -> Result<()> {
        for (i, entry) in self.entries.iter_mut().enumerate() {
            // Counters of our own are pushed each time: a series that is left out ends.
            if let Some(total) = entry.total.filter(|_| entry.set_in != self.call) {
                (entry.set_in, entry.value) = (self.call, total);
                self.set.push(i as u32);
            }
        }
        let mut refused = 0u32;
        for &i in &self.set {
            let entry = &mut self.entries[i as usize];
            let id = match entry.id {
                Some(id) => id,
                None => match host::sink::open(entry.metric, &entry.wire_labels()) {
                    Ok(id) => *entry.id.insert(id),
                    // Past the limit of series the ones before go on; the host counts what was refused.
                    Err(e) if e.code == "limit" => {
                        refused += 1;
                        continue;
                    }
                    Err(e) => return Err(Error::from(e)),
                },
            };
            self.ids.push(id);
            self.values.push(entry.value);
        }
        if self.ids.is_empty() {
            return if refused > 0 { Err(Error::Limit(format!("all {refused} series were refused"))) } else { Ok(()) };
        }
        host::sink::push(&self.ids, &self.values, None).map_err(Error::from)
    }

    /// Gives back the places of series that have not been set for a while.
    fn close_idle(&mut self) {
        let call = self.call;
        let idle = |e: &Entry| e.total.is_none() && e.set_in + IDLE_CALLS_MAX < call;
        if !self.entries.iter().any(idle) {
            return;
        }
        let mut closed = Vec::new();
        self.entries.retain(|e| {
            if !idle(e) {
                return true;
            }
            closed.extend(e.id);
            false
        });
        self.by_hash.clear();
        for i in 0..self.entries.len() {
            let entry = &mut self.entries[i];
            let mut hash = fnv(0xcbf2_9ce4_8422_2325, entry.metric.as_bytes());
            for (name, value) in &entry.labels {
                hash = fnv(fnv(hash, name.as_bytes()), value.as_bytes());
            }
            entry.next = self.by_hash.insert(hash, i as u32);
        }
        if !closed.is_empty() {
            host::sink::close(&closed);
        }
    }
}

impl Entry {
    fn wire_labels(&self) -> Vec<Label> {
        self.labels.iter().map(|(n, v)| Label { name: n.to_string(), value: v.to_string() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    static CPU: Gauge = Gauge::new("cpu", "CPU");
    static SENT: Counter = Counter::new("sent_total", "Sent");

    #[test]
    fn a_call_leaves_in_one_push_and_opens_each_series_once() {
        let host = Host::new();
        for round in 0..3 {
            CPU.with([("core", "0")]).set(f64::from(round));
            CPU.with([("core", "1")]).set(7.0);
            flush().unwrap();
        }
        assert_eq!(host.opened(), 2);
        assert_eq!(host.pushes(), 3);
        assert_eq!(host.value("cpu", &[("core", "0")]), Some(2.0));
    }

    #[test]
    fn the_last_value_of_a_call_counts() {
        let host = Host::new();
        CPU.set(1.0);
        CPU.set(2.0);
        flush().unwrap();
        assert_eq!(host.last_push().len(), 1);
        assert_eq!(host.value("cpu", &[]), Some(2.0));
    }

    #[test]
    fn a_failed_call_pushes_nothing_but_counters_remember() {
        let host = Host::new();
        SENT.add(2.0);
        CPU.set(1.0);
        discard();
        assert_eq!(host.pushes(), 0);
        flush().unwrap();
        assert_eq!(host.last_push().len(), 1, "the counter alone");
        assert_eq!(host.value("sent_total", &[]), Some(2.0));
    }

    #[test]
    fn a_series_that_is_gone_gives_its_place_back() {
        let host = Host::new();
        CPU.with([("core", "gone")]).set(1.0);
        flush().unwrap();
        for _ in 0..=IDLE_CALLS_MAX {
            CPU.with([("core", "stays")]).set(1.0);
            flush().unwrap();
        }
        assert_eq!(host.closed(), 1);
        CPU.with([("core", "gone")]).set(3.0);
        CPU.with([("core", "stays")]).set(4.0);
        flush().unwrap();
        assert_eq!(host.value("cpu", &[("core", "gone")]), Some(3.0));
        assert_eq!(host.value("cpu", &[("core", "stays")]), Some(4.0));
    }

    #[test]
    fn past_the_limit_of_series_the_first_ones_go_on() {
        let host = Host::new();
        host.limit_series(1);
        CPU.with([("core", "0")]).set(1.0);
        CPU.with([("core", "1")]).set(1.0);
        flush().unwrap();
        assert_eq!(host.last_push().len(), 1);
    }

    #[test]
    fn a_wrong_name_fails_the_call() {
        let _host = Host::new();
        static BAD: Gauge = Gauge::new("no spaces", "");
        BAD.set(1.0);
        assert_eq!(flush().unwrap_err().code(), "name");
    }
}
