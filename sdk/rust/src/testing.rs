//! A fake host for native tests: it answers what a test tells it to and remembers what the plugin did.
//!
//! ```
//! use belfry_sdk::testing::Host;
//! let host = Host::new();
//! host.set_now_ms(1_000);
//! assert_eq!(belfry_sdk::clock::now_ms(), 1_000);
//! ```
//!
//! Invariant: one host a thread; making a new one forgets the old one's world. As with the real host nothing is granted
//! by default: HTTP, system facts, queries, mail and kv answer `denied` until the test allows them.
//! Not here: the real host's checks of origins and limits.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::bindings::base::exports::belfry::plugin::plugin::Guest as _;
use crate::bindings::imports::belfry::plugin as wire;
use crate::errors::{Error, Result};
use crate::export::Slot;
use crate::export::private::Component;
use crate::http::{Request, Response};
use crate::log::Level;
use crate::plugin::{Collector, MetricSource, Plugin};
use crate::query::{AlertEpisode, Points};

type HttpAnswer = Box<dyn FnMut(&Request) -> Result<Response>>;
type QueryAnswer = Box<dyn FnMut(&str, i64, i64) -> Result<Vec<Points>>>;

type SeriesName = (String, Vec<(String, String)>);

/// What the plugin pushed of one series: metric, labels by name, value.
pub type Sample = (String, Vec<(String, String)>, f64);

/// Facts about the machine; an area that is `None` is not granted.
#[derive(Clone, Debug, Default)]
pub struct System {
    /// Cores.
    pub cpus: Option<Vec<crate::system::Cpu>>,
    /// Load.
    pub load: Option<crate::system::Load>,
    /// Memory.
    pub memory: Option<crate::system::Memory>,
    /// Disks.
    pub disks: Option<Vec<crate::system::Disk>>,
    /// Interfaces.
    pub networks: Option<Vec<crate::system::Network>>,
    /// Processes.
    pub processes: Option<Vec<crate::system::Process>>,
    /// Temperatures.
    pub sensors: Option<Vec<crate::system::Sensor>>,
    /// The machine.
    pub host: Option<crate::system::HostInfo>,
}

#[derive(Default)]
struct World {
    now_ms: i64,
    monotonic_ns: u64,
    /// By number; `None` once closed.
    series: Vec<Option<SeriesName>>,
    series_max: Option<usize>,
    closed: usize,
    pushes: Vec<Vec<Sample>>,
    logs: Vec<(Level, String)>,
    kv: Option<BTreeMap<String, Vec<u8>>>,
    http: Option<HttpAnswer>,
    requests: Vec<Request>,
    system: System,
    query: Option<QueryAnswer>,
    alerts: Option<Vec<AlertEpisode>>,
    mail: Option<Result<()>>,
    mails: Vec<wire::mail::Message>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::default());
}

/// The fake host of this thread.
#[derive(Debug)]
pub struct Host(());

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// A host that grants nothing and remembers nothing.
    pub fn new() -> Self {
        WORLD.set(World { now_ms: 1_700_000_000_000, ..World::default() });
        crate::series::forget();
        Self(())
    }

    /// Configures an instance as the host does, from JSON.
    ///
    /// # Errors
    /// What `configure` answers, or a config that does not fit.
    pub fn configure<P: Plugin>(&self, config: &str) -> Result<P> {
        crate::export::instance_from(config)
    }

    /// One round of a collector; its samples are pushed when it is ok.
    ///
    /// # Errors
    /// What it answers, or what the sink refuses.
    pub fn collect<P: Collector>(&self, plugin: &mut P) -> Result<()> {
        crate::export::settle(plugin.collect())
    }

    /// One round of a metric source.
    ///
    /// # Errors
    /// What it answers, or what the sink refuses.
    pub fn snapshot<P: MetricSource>(&self, plugin: &mut P) -> Result<crate::Health> {
        crate::export::settle(plugin.snapshot())
    }

    /// Through the very glue of a component: `configure` of its one instance.
    ///
    /// # Errors
    /// As [`Host::configure`].
    pub fn configure_component<P: Slot>(&self, config: &str) -> Result<()> {
        Component::<P>::configure(config.to_owned()).map_err(Error::from)
    }

    /// The wall clock from now on.
    pub fn set_now_ms(&self, now: i64) {
        WORLD.with_borrow_mut(|w| w.now_ms = now);
    }

    /// Lets the clocks go on.
    pub fn advance_ms(&self, ms: u64) {
        WORLD.with_borrow_mut(|w| {
            w.now_ms += ms as i64;
            w.monotonic_ns += ms * 1_000_000;
        });
    }

    /// Grants HTTP; each request is answered by `answer`.
    pub fn on_http(&self, answer: impl FnMut(&Request) -> Result<Response> + 'static) {
        WORLD.with_borrow_mut(|w| w.http = Some(Box::new(answer)));
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        WORLD.with_borrow(|w| w.requests.clone())
    }

    /// Grants facts about the machine.
    pub fn set_system(&self, system: System) {
        WORLD.with_borrow_mut(|w| w.system = system);
    }

    /// Grants queries: `answer` gets the expression, the start and the end (equal for an instant).
    pub fn on_query(&self, answer: impl FnMut(&str, i64, i64) -> Result<Vec<Points>> + 'static) {
        WORLD.with_borrow_mut(|w| w.query = Some(Box::new(answer)));
    }

    /// Grants the alerts' history.
    pub fn set_alerts(&self, alerts: Vec<AlertEpisode>) {
        WORLD.with_borrow_mut(|w| w.alerts = Some(alerts));
    }

    /// Grants mail, with this answer to each.
    pub fn on_mail(&self, answer: Result<()>) {
        WORLD.with_borrow_mut(|w| w.mail = Some(answer));
    }

    /// The mails so far.
    pub fn mails(&self) -> Vec<wire::mail::Message> {
        WORLD.with_borrow(|w| w.mails.clone())
    }

    /// Grants state of its own.
    pub fn allow_kv(&self) {
        WORLD.with_borrow_mut(|w| w.kv = Some(BTreeMap::new()));
    }

    /// The log so far.
    pub fn logs(&self) -> Vec<(Level, String)> {
        WORLD.with_borrow(|w| w.logs.clone())
    }

    /// Refuses series past this many.
    pub fn limit_series(&self, max: usize) {
        WORLD.with_borrow_mut(|w| w.series_max = Some(max));
    }

    /// How many series were opened.
    pub fn opened(&self) -> usize {
        WORLD.with_borrow(|w| w.series.len())
    }

    /// How many were closed.
    pub fn closed(&self) -> usize {
        WORLD.with_borrow(|w| w.closed)
    }

    /// How often it pushed.
    pub fn pushes(&self) -> usize {
        WORLD.with_borrow(|w| w.pushes.len())
    }

    /// The samples of the last push.
    pub fn last_push(&self) -> Vec<Sample> {
        WORLD.with_borrow(|w| w.pushes.last().cloned().unwrap_or_default())
    }

    /// The value of a series in the last push.
    pub fn value(&self, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted = sorted(labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
        self.last_push().into_iter().find(|(m, l, _)| m == metric && *l == wanted).map(|(_, _, v)| v)
    }
}

fn sorted(mut labels: Vec<(String, String)>) -> Vec<(String, String)> {
    labels.sort();
    labels
}

fn denied(what: &str) -> wire::types::Error {
    Error::Denied(format!("`{what}` is not granted")).into()
}

/// The contract's imports, answered by the fake host. Same functions and types as the bindings.
pub(crate) mod imports {
    use super::{Error, Request, WORLD, denied, sorted, wire};
    use wire::types::{Attribute, Error as Wire, Label};

    pub mod sink {
        use super::*;

        pub fn declare(_: &wire::sink::Metric) -> Result<(), Wire> {
            Ok(())
        }

        pub fn open(metric: &str, labels: &[Label]) -> Result<u32, Wire> {
            if !metric.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':') {
                let message = format!("`{metric}` is no metric name");
                return Err(Wire { message, retryable: false, retry_after_ms: None, code: "name".into() });
            }
            WORLD.with_borrow_mut(|w| {
                let live = w.series.iter().flatten().count();
                if w.series_max.is_some_and(|max| live >= max) {
                    return Err(Error::Limit("too many series".into()).into());
                }
                let labels = labels.iter().map(|l| (l.name.clone(), l.value.clone())).collect();
                w.series.push(Some((metric.to_owned(), sorted(labels))));
                Ok(w.series.len() as u32 - 1)
            })
        }

        pub fn close(ids: &[u32]) {
            WORLD.with_borrow_mut(|w| {
                w.closed += ids.len();
                for id in ids {
                    w.series[*id as usize] = None;
                }
            });
        }

        pub fn push(ids: &[u32], values: &[f64], _at: Option<i64>) -> Result<(), Wire> {
            assert_eq!(ids.len(), values.len());
            WORLD.with_borrow_mut(|w| {
                let sample = |(id, value): (&u32, &f64)| {
                    let (metric, labels) = w.series[*id as usize].clone().expect("an open series");
                    (metric, labels, *value)
                };
                let samples = ids.iter().zip(values).map(sample).collect();
                w.pushes.push(samples);
            });
            Ok(())
        }
    }

    pub mod log {
        use super::*;

        pub fn write(level: wire::log::Level, message: &str, attributes: &[Attribute]) {
            let mut line = message.to_owned();
            for a in attributes {
                line.push_str(&format!(" {}={}", a.key, a.value));
            }
            WORLD.with_borrow_mut(|w| w.logs.push((level, line)));
        }
    }

    pub mod clock {
        use super::*;

        pub fn now() -> i64 {
            WORLD.with_borrow(|w| w.now_ms)
        }

        pub fn monotonic_ns() -> u64 {
            WORLD.with_borrow(|w| w.monotonic_ns)
        }
    }

    pub mod random {
        /// The same each time: tests want to know what comes.
        pub fn bytes(len: u32) -> Vec<u8> {
            (0..len).map(|i| i as u8).collect()
        }
    }

    pub mod kv {
        use super::*;
        use std::collections::BTreeMap;

        fn kept<R>(f: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> R) -> Result<R, Wire> {
            WORLD.with_borrow_mut(|w| w.kv.as_mut().map(f).ok_or_else(|| denied("kv")))
        }

        pub fn get(key: &str) -> Result<Option<Vec<u8>>, Wire> {
            kept(|kv| kv.get(key).cloned())
        }

        pub fn set(key: &str, value: &[u8]) -> Result<(), Wire> {
            kept(|kv| kv.insert(key.to_owned(), value.to_vec())).map(drop)
        }

        pub fn delete(key: &str) -> Result<(), Wire> {
            kept(|kv| kv.remove(key)).map(drop)
        }

        pub fn keys(prefix: &str) -> Result<Vec<String>, Wire> {
            kept(|kv| kv.keys().filter(|k| k.starts_with(prefix)).cloned().collect())
        }
    }

    pub mod http {
        use super::*;

        pub fn fetch(request: &wire::http::Request) -> Result<wire::http::Response, Wire> {
            let request = Request::from_wire(request.clone());
            // Taken out while it runs: an answer may look at the host itself.
            let answer = WORLD.with_borrow_mut(|w| {
                w.requests.push(request.clone());
                w.http.take()
            });
            let mut answer = answer.ok_or_else(|| denied("http"))?;
            let response = answer(&request);
            WORLD.with_borrow_mut(|w| w.http = Some(answer));
            response.map(crate::http::Response::into_wire).map_err(Wire::from)
        }

        /// A body in pieces.
        #[derive(Debug)]
        pub struct BodyStream(std::cell::RefCell<std::collections::VecDeque<u8>>);

        impl BodyStream {
            pub fn read(&self, max_bytes: u32) -> Result<Option<Vec<u8>>, Wire> {
                let mut left = self.0.borrow_mut();
                let take = left.len().min(max_bytes as usize);
                Ok((take > 0).then(|| left.drain(..take).collect()))
            }
        }

        pub fn open(request: &wire::http::Request) -> Result<(wire::http::Response, BodyStream), Wire> {
            let mut response = fetch(request)?;
            let body = std::mem::take(&mut response.body);
            Ok((response, BodyStream(std::cell::RefCell::new(body.into()))))
        }

        pub fn fetch_all(requests: &[wire::http::Request]) -> Vec<Result<wire::http::Response, Wire>> {
            requests.iter().map(fetch).collect()
        }
    }

    pub mod system {
        use super::*;

        macro_rules! area {
            ($name:ident, $field:ident, $ty:ty, $grant:literal) => {
                pub fn $name() -> Result<$ty, Wire> {
                    WORLD.with_borrow(|w| w.system.$field.clone()).ok_or_else(|| denied($grant))
                }
            };
        }

        area!(cpus, cpus, Vec<wire::system::Cpu>, "cpu");
        area!(load_average, load, wire::system::Load, "cpu");
        area!(memory_now, memory, wire::system::Memory, "memory");
        area!(disks, disks, Vec<wire::system::Disk>, "disk");
        area!(networks, networks, Vec<wire::system::Network>, "network");
        area!(sensors, sensors, Vec<wire::system::Sensor>, "sensors");
        area!(host_facts, host, wire::system::HostInfo, "host");

        pub fn processes(limit: u32) -> Result<Vec<wire::system::Process>, Wire> {
            let all = WORLD.with_borrow(|w| w.system.processes.clone()).ok_or_else(|| denied("process"))?;
            Ok(all.into_iter().take(limit as usize).collect())
        }
    }

    pub mod query {
        use super::*;

        pub fn instant(expression: &str, at: i64) -> Result<Vec<wire::query::Points>, Wire> {
            range(expression, at, at, 0)
        }

        pub fn range(expression: &str, start: i64, end: i64, _step: u64) -> Result<Vec<wire::query::Points>, Wire> {
            let mut answer = WORLD.with_borrow_mut(|w| w.query.take()).ok_or_else(|| denied("query"))?;
            let points = answer(expression, start, end);
            WORLD.with_borrow_mut(|w| w.query = Some(answer));
            points.map_err(Wire::from)
        }

        pub fn alerts(_start: i64, _end: i64) -> Result<Vec<wire::query::AlertEpisode>, Wire> {
            WORLD.with_borrow(|w| w.alerts.clone()).ok_or_else(|| denied("query"))
        }
    }

    pub mod mail {
        use super::*;

        pub fn send(message: &wire::mail::Message) -> Result<(), Wire> {
            WORLD.with_borrow_mut(|w| {
                let answer = w.mail.clone().ok_or_else(|| denied("mail"))?;
                w.mails.push(message.clone());
                answer.map_err(Wire::from)
            })
        }
    }
}

/// The object of all `default`s in a config schema: a test compares it with the config type's own defaults, so that what
/// the schema promises is what the plugin does.
pub fn schema_defaults(schema: &serde_json::Value) -> serde_json::Value {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let defaults = properties.filter_map(|(name, p)| p.get("default").map(|d| (name.clone(), d.clone())));
    serde_json::Value::Object(defaults.collect())
}
