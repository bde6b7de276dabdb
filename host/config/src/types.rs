//! What a checked config looks like: plain values, ready to use.

pub mod queries;
pub mod remote;
pub mod scrape;
pub mod slo;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use belfry_model::cron::Schedule;
use belfry_model::{Labels, Matcher, Severity};

/// A checked config.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[storage]`
    pub storage: Storage,
    /// `[collection]`
    pub collection: Collection,
    /// `[plugins] dir`; is created when it is not there.
    pub plugin_dir: Option<PathBuf>,
    /// `[plugins] memory_slot`: the most memory that any plugin can be allowed.
    pub plugin_memory_slot_bytes: u64,
    /// `[plugins] instances`: at a time.
    pub plugin_instances: u32,
    /// `[[plugin]]`, enabled ones, by unique name.
    pub plugins: Vec<Plugin>,
    /// `[[scrape]]`, enabled ones, by unique job.
    pub scrapes: Vec<scrape::Scrape>,
    /// `[[channel]]`, by unique name.
    pub channels: Vec<Channel>,
    /// `[route]`; `None` when there is no channel to route to.
    pub route: Option<Route>,
    /// `[notify.retry]`
    pub retry: Retry,
    /// `[smtp]`
    pub smtp: Option<Smtp>,
    /// `[queries]`
    pub queries: queries::Queries,
    /// `[rules] files`, found on the disk.
    pub rule_files: Vec<PathBuf>,
    /// `[rules]`
    pub rule_settings: RuleSettings,
    /// `[[rule]]`, enabled ones, by unique name.
    pub rules: Vec<Rule>,
    /// `[[slo]]`, enabled ones, by unique name.
    pub slos: Vec<slo::Slo>,
    /// `[[report]]`, enabled ones, by unique name.
    pub reports: Vec<Report>,
    /// `[telemetry]`
    pub telemetry: Telemetry,
}

/// `[rules]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSettings {
    /// `files` as paths, each with its `*`: see [`crate::rule_files`].
    pub patterns: Vec<PathBuf>,
    /// How often a group is evaluated that does not say it itself.
    pub interval: Duration,
    /// How far before its time such a group is evaluated.
    pub query_offset: Duration,
    /// Added to alerts that leave, and what templates see as `$externalLabels`.
    pub external_labels: Labels,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub String);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(redacted)")
    }
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `host:port`; the host is an address or `localhost`.
    pub listen: String,
    /// Host names beside the listen address that a request may name.
    pub allowed_hosts: Vec<String>,
    /// Where people reach it: an HTTP address without query, fragment and credentials, and without `/` at its end.
    pub external_url: Option<String>,
    /// What clients must send; always there when `listen` is beyond loopback.
    pub token: Option<SecretText>,
}

/// Where samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In `Storage::path`.
    Disk,
    /// Nowhere but in memory.
    Memory,
}

/// When writes are forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before each acknowledgement.
    Always,
    /// Once per this time.
    Every(Duration),
    /// When the system likes to.
    Never,
}

/// `[storage]`
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// The data folder.
    pub path: PathBuf,
    /// Where samples are; [`Backend::Disk`] beside `remote`.
    pub backend: Backend,
    /// The engine that gets them all; then what is here is the newest of them.
    pub remote: Option<remote::Remote>,
    /// `None` is for ever.
    pub retention: Option<Duration>,
    /// The oldest go beyond this many bytes; never 0.
    pub retention_bytes: Option<u64>,
    /// When writes are forced to the disk.
    pub fsync: Fsync,
    /// Is remote write answered only once its samples are on the disk?
    pub durable_ack: bool,
    /// What becomes of old samples; in order of age.
    pub downsample: Vec<Downsample>,
    /// How late a sample may come.
    pub out_of_order_window: Duration,
    /// More series than this are refused.
    pub series_limit: u64,
}

/// A step of `[storage] downsample`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Downsample {
    /// How old samples are by then.
    pub after: Duration,
    /// How long the stretches of time are that become one.
    pub resolution: Duration,
}

/// `[collection]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// What comes by remote write 2 says its metric's kind and unit, and what is scraped unless its job says otherwise.
    pub type_and_unit_labels: bool,
}

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `builtin:NAME`, the name alone.
    Builtin(String),
    /// A file that is there.
    File(PathBuf),
    /// A `[[plugin]]` by its name.
    Plugin(String),
}

/// What a plugin may use (mirrors the plugin crate's type).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Origins.
    pub http: Vec<String>,
    /// Parts of the machine.
    pub system: Vec<String>,
    /// May read every series.
    pub query: bool,
    /// Addresses.
    pub mail: Vec<String>,
    /// May keep state.
    pub kv: bool,
}

/// Bounds of a plugin; `None` is the host's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Wall time of a call.
    pub call_time: Option<Duration>,
    /// CPU time of a call.
    pub cpu_time: Option<Duration>,
    /// All linear memories together.
    pub memory_bytes: Option<u64>,
    /// Bytes copied over the boundary in a call.
    pub hostcall_bytes: Option<u64>,
    /// Log lines of a call.
    pub log_lines: Option<u32>,
    /// Bytes of a log line.
    pub log_line_bytes: Option<u64>,
    /// Series open at a time.
    pub series: Option<u32>,
    /// Samples of a call.
    pub samples_per_call: Option<u32>,
    /// HTTP requests of a call.
    pub http_requests: Option<u32>,
    /// HTTP requests at a time.
    pub http_concurrent: Option<u32>,
    /// Bytes of an HTTP answer.
    pub http_response_bytes: Option<u64>,
    /// Bytes of its own state.
    pub kv_bytes: Option<u64>,
}

/// A secret's value and where it may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// The value.
    pub value: SecretText,
    /// Origins; empty: every granted one.
    pub origins: Vec<String>,
}

/// What `[[plugin]]`, `[[channel]]` and sections have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Where it comes from.
    pub source: Source,
    /// JSON object.
    pub config: String,
    /// What it may use.
    pub grants: Grants,
    /// Its bounds.
    pub limits: Limits,
    /// By name.
    pub secrets: BTreeMap<String, Secret>,
}

/// `[[plugin]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Plugin {
    /// Unique.
    pub name: String,
    /// What runs.
    pub component: Component,
    /// How often it is asked.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Added to all its series.
    pub labels: Labels,
}

/// `[[channel]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Unique.
    pub name: String,
    /// What runs.
    pub component: Component,
}

/// A node of `[route]`, with what it inherits filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// All must match.
    pub matchers: Vec<Matcher>,
    /// A channel's name.
    pub channel: String,
    /// Labels that make a group; `...` alone is all.
    pub group_by: Vec<String>,
    /// How long a new group waits.
    pub group_wait: Duration,
    /// Between two messages of a group that changes.
    pub group_interval: Duration,
    /// Between two messages of a group that stays.
    pub repeat_interval: Duration,
    /// Try the next sibling too.
    pub continue_: bool,
    /// Children.
    pub routes: Vec<Route>,
}

/// `[notify.retry]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// First pause.
    pub initial: Duration,
    /// Longest pause.
    pub max: Duration,
    /// When it ends.
    pub give_up_after: Duration,
}

/// How a connection to the mail server is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// Plain first, then secured; refused if the server cannot.
    StartTls,
    /// Secured from the beginning.
    Tls,
    /// Not at all.
    None,
}

/// `[smtp]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the connection is secured.
    pub tls: SmtpTls,
    /// User and password.
    pub login: Option<(String, SecretText)>,
    /// The sender.
    pub from: String,
    /// How long it may take.
    pub timeout: Duration,
}

/// How a rule compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// `>`
    GreaterThan,
    /// `<`
    LessThan,
    /// `==`
    Equals,
    /// `!=`
    NotEquals,
    /// `>=`
    GreaterOrEqual,
    /// `<=`
    LessOrEqual,
}

/// `[[rule]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique.
    pub name: String,
    /// For people; may be empty.
    pub description: String,
    /// A metric's name or a selector.
    pub metric: String,
    /// How it is compared …
    pub condition: Condition,
    /// … with this.
    pub threshold: f64,
    /// How long it must hold.
    pub duration: Duration,
    /// How bad it is.
    pub severity: Severity,
    /// Added to the alert.
    pub labels: Labels,
    /// Added to the alert.
    pub annotations: Labels,
    /// How often it is evaluated.
    pub interval: Duration,
}

/// What a report is rendered as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportFormat {
    /// One self-contained file.
    Html,
    /// The blocks.
    Json,
    /// Tables and charts.
    Csv,
}

/// `[[report]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Unique.
    pub name: String,
    /// For people.
    pub title: String,
    /// When it is due; it knows its zone.
    pub schedule: Schedule,
    /// IANA name.
    pub time_zone: String,
    /// How much it covers.
    pub period: Duration,
    /// What it is rendered as; never empty.
    pub formats: Vec<ReportFormat>,
    /// Names of channels.
    pub deliver: Vec<String>,
    /// Never empty.
    pub sections: Vec<Section>,
}

/// `[[report.section]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// Heading.
    pub title: String,
    /// What runs; its `config` goes into the request's parameters.
    pub component: Component,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// How spans are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// HTTP with protobuf.
    Http,
    /// gRPC.
    Grpc,
}

/// `[telemetry]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// How log lines look.
    pub log_format: LogFormat,
    /// A level, or directives by module.
    pub log_level: String,
    /// Where spans go.
    pub otlp_endpoint: Option<String>,
    /// How they go.
    pub otlp_protocol: OtlpProtocol,
    /// Belfry's name in traces.
    pub service_name: String,
}
