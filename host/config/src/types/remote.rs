//! A storage engine beyond this machine, checked.

use std::time::Duration;

use belfry_model::Labels;

use super::scrape::Http;

/// `[storage]` with `backend = "prometheus"` or `"influxdb"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    /// Where samples go.
    pub engine: RemoteEngine,
    /// More than this waits nowhere: the oldest are shed.
    pub queue_bytes: u64,
    /// Expressions are evaluated by the engine where it can.
    pub pass_queries: bool,
    /// Added to what is sent.
    pub external_labels: Labels,
    /// How long samples are kept that were here before the engine; `None`: until somebody deletes them.
    pub retention_before: Option<Duration>,
}

/// Which engine, and where.
#[derive(Clone, Debug, PartialEq)]
pub enum RemoteEngine {
    /// `[storage.prometheus]`
    Prometheus {
        /// Where remote write goes.
        write_url: url::Url,
        /// What `/api/v1/query` and the others stand behind.
        read_url: url::Url,
        /// Remote write 2.0.
        protocol_2: bool,
        /// How it is asked.
        http: Http,
        /// Of one exchange.
        timeout: Duration,
    },
    /// `[storage.influxdb]`
    Influx {
        /// Where it is.
        url: url::Url,
        /// 1, 2 or 3.
        version: u8,
        /// Of versions 1 and 3, and the one that maps to the bucket of version 2 where it has another name.
        database: Option<String>,
        /// Of version 2; else empty.
        bucket: String,
        /// Of version 1; else the database's own.
        retention_policy: Option<String>,
        /// Of version 2; else empty.
        org: String,
        /// How it is asked.
        http: Http,
        /// Of one exchange.
        timeout: Duration,
    },
}
