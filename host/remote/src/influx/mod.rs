//! InfluxDB 1, 2 and 3 as an engine: line protocol out, InfluxQL back.
//!
//! A metric is a measurement, a label a tag, a sample a point with its value in the field `value`. What line protocol cannot
//! carry is written another way, so that reading gives back what was sent (`names`, `special`); what cannot be carried at
//! all is counted as left out. InfluxDB keeps neither metadata nor exemplars. docs/operations.md has the details.
//!
//! Invariant: a point is written under the same measurement, tags and time however often it is sent, so that sending again
//! changes nothing; no text of a query or a label can leave its place in a statement.
//! Not here: the queue, when something is sent, evaluation.

mod answer;
#[doc(hidden)]
pub mod fuzz;
mod influxql;
mod json;
mod lines;
mod names;
mod read;
mod rows;
mod send;
mod special;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use belfry_client::{Auth, ClientOptions};
use belfry_model::SeriesRead;
use url::Url;

use crate::engine::{Engine, SendError, Sent, Shipment};
use crate::http::HttpClient;

/// Which InfluxDB, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// InfluxDB 1.
    V1 {
        /// It must exist.
        database: String,
        /// Else the database's own.
        retention_policy: Option<String>,
    },
    /// InfluxDB 2, and what takes its writes. Reading needs the database that maps to the bucket; a bucket without a
    /// mapping of its own has one by its name.
    V2 {
        /// By name or number.
        org: String,
        /// By name.
        bucket: String,
        /// The database that maps to it, where that is not the bucket's name.
        database: Option<String>,
    },
    /// InfluxDB 3.
    V3 {
        /// It is made when it is not there.
        database: String,
    },
}

/// Settings of an InfluxDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfluxConfig {
    /// Its address: scheme, host, port, and a path where a proxy stands before it.
    pub url: Url,
    /// Which, and where in it.
    pub place: Place,
    /// A name and a password, or a token: the word before it is the one that the version wants.
    pub http: ClientOptions,
    /// For one write.
    pub write_timeout: Duration,
    /// For one question, the whole answer included.
    pub read_timeout: Duration,
}

/// With the word that this version wants before a token.
fn auth(auth: Auth, place: &Place) -> Auth {
    let word = match place {
        Place::V1 { .. } | Place::V3 { .. } => "Bearer",
        Place::V2 { .. } => "Token",
    };
    match auth {
        Auth::Token { token, .. } => Auth::Token { kind: word.to_owned(), token },
        other => other,
    }
}

/// The engine.
pub struct Influx {
    sender: send::Sender,
    reader: Arc<read::Reader>,
}

impl Influx {
    /// Fails when the address cannot be one, or a certificate cannot be read.
    pub fn new(config: InfluxConfig) -> Result<Self, String> {
        if config.url.cannot_be_a_base() || !matches!(config.url.scheme(), "http" | "https") {
            return Err("an InfluxDB's address begins with http:// or https://".to_owned());
        }
        let http = ClientOptions { auth: auth(config.http.auth, &config.place), ..config.http };
        let client = HttpClient::new(http)?;
        let sender = send::Sender::new(client.clone(), &config.url, &config.place, config.write_timeout);
        let reader = read::Reader::new(client, &config.url, &config.place, config.read_timeout);
        Ok(Self { sender, reader: Arc::new(reader) })
    }
}

#[async_trait]
impl Engine for Influx {
    fn kind(&self) -> &'static str {
        "influxdb"
    }

    async fn send(&self, shipment: &Shipment) -> Result<Sent, SendError> {
        self.sender.send(shipment).await
    }

    fn reader(&self) -> Arc<dyn SeriesRead> {
        self.reader.clone()
    }
}

/// The address of a path of this server.
fn at(base: &Url, path: &str, pairs: &[(&str, &str)]) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url.query_pairs_mut().clear().extend_pairs(pairs);
    url
}
