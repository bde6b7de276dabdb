//! `[[scrape]]`, checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use belfry_model::Labels;

use super::SecretText;

/// `[[scrape]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    /// Unique.
    pub job: String,
    /// Addresses with their labels.
    pub groups: Vec<StaticGroup>,
    /// Where further ones come from.
    pub discoveries: Vec<Discovery>,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// `http` or `https`.
    pub scheme: String,
    /// Begins with `/`.
    pub path: String,
    /// Query parameters.
    pub params: BTreeMap<String, Vec<String>>,
    /// How targets are asked.
    pub http: Http,
    /// Ask for packed answers.
    pub compression: bool,
    /// `text`, `openmetrics` or `protobuf`.
    pub fallback_format: Option<String>,
    /// Labels of the target win.
    pub honor_labels: bool,
    /// Times of the target are taken.
    pub honor_timestamps: bool,
    /// Series with times of their own end at once, too.
    pub track_timestamps_staleness: bool,
    /// Ask for protobuf.
    pub native_histograms: bool,
    /// Keep classic ones beside them.
    pub classic_histograms: bool,
    /// Series say their metric's kind and unit.
    pub type_and_unit_labels: bool,
    /// Write more about each scrape.
    pub extra_metrics: bool,
    /// Bounds.
    pub limits: ScrapeLimits,
    /// For targets.
    pub relabel: Vec<RelabelRule>,
    /// For samples.
    pub metric_relabel: Vec<RelabelRule>,
}

/// `[[scrape.static]]`, or `targets` and `labels`.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticGroup {
    /// Addresses.
    pub targets: Vec<String>,
    /// Of all of them.
    pub labels: Labels,
}

/// Where addresses come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    /// `[[scrape.file]]`
    File {
        /// Paths; `*` may stand in the file's name.
        files: Vec<PathBuf>,
        /// Read again after this at the latest.
        refresh: Duration,
    },
    /// `[[scrape.dns]]`
    Dns {
        /// What is looked up.
        names: Vec<String>,
        /// `A`, `AAAA`, `MX`, `NS` or `SRV`.
        kind: String,
        /// For all but SRV.
        port: Option<u16>,
        /// Who is asked, unless it is whom the machine asks.
        server: Option<SocketAddr>,
        /// How often.
        refresh: Duration,
    },
    /// `[[scrape.http]]`
    Http {
        /// Where.
        url: String,
        /// How it is asked.
        http: Http,
        /// How often.
        refresh: Duration,
    },
}

/// How something is asked over HTTP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Http {
    /// Who we say we are.
    pub auth: HttpAuth,
    /// Sent with each request.
    pub headers: Vec<(String, SecretSource)>,
    /// How connections are secured.
    pub tls: HttpTls,
    /// Go where an answer points.
    pub follow_redirects: bool,
}

/// A secret's value, or the file that holds it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The value.
    Text(SecretText),
    /// The file; it was there when the config was read.
    File(PathBuf),
}

/// Who we say we are.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum HttpAuth {
    /// Nobody.
    #[default]
    None,
    /// Name and password.
    Basic(String, SecretSource),
    /// The word before the token, and the token.
    Token(String, SecretSource),
}

/// `tls`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpTls {
    /// Certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the certificate must have.
    pub server_name: Option<String>,
    /// Trust anybody.
    pub insecure_skip_verify: bool,
}

/// `limits`; 0 is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrapeLimits {
    /// Bytes of an answer, unpacked.
    pub body_bytes: u64,
    /// Samples of an answer.
    pub samples: u64,
    /// Labels of a series.
    pub labels: u64,
    /// Bytes of a label's name.
    pub label_name_bytes: u64,
    /// Bytes of a label's value.
    pub label_value_bytes: u64,
    /// Targets of the job.
    pub targets: u64,
    /// Series open at a time, of a target; `None` is the host's default, and none at all the greatest number.
    pub series: Option<u64>,
}

/// A relabelling rule; its expression was compiled once to see that it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelabelRule {
    /// Their values are joined.
    pub source_labels: Vec<String>,
    /// Between them.
    pub separator: String,
    /// Anchored when used.
    pub regex: String,
    /// 0 unless the action is `hashmod`.
    pub modulus: u64,
    /// What is set or compared.
    pub target_label: String,
    /// What it is set to.
    pub replacement: String,
    /// As it is written.
    pub action: String,
}
