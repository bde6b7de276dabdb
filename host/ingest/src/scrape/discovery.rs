//! One look at DNS for the addresses of a job.
//!
//! Invariant: an answer that is missing is an error, and the caller keeps what it knew; that a name has no record is an
//! answer.
//! Not here: when (the driver), files (`config` reads YAML).

use belfry_model::Labels;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::Group;

/// What is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsKind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail servers.
    Mx,
    /// Name servers.
    Ns,
    /// Services, with their ports.
    Srv,
}

impl DnsKind {
    /// As in a config; anything unknown is SRV, the default there.
    pub fn named(name: &str) -> Self {
        match name {
            "A" => Self::A,
            "AAAA" => Self::Aaaa,
            "MX" => Self::Mx,
            "NS" => Self::Ns,
            _ => Self::Srv,
        }
    }

    fn record(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Mx => RecordType::MX,
            Self::Ns => RecordType::NS,
            Self::Srv => RecordType::SRV,
        }
    }
}

/// Looks names up with the machine's own resolver settings.
pub struct Dns(TokioResolver);

impl Dns {
    /// Reads the machine's settings.
    pub fn new() -> Result<Self, String> {
        let builder = TokioResolver::builder_tokio().map_err(|e| format!("no name server: {e}"))?;
        builder.build().map(Self).map_err(|e| format!("no name server: {e}"))
    }

    /// The addresses of one name.
    pub async fn look_up(&self, name: &str, kind: DnsKind, port: u16) -> Result<Group, String> {
        let answer = match self.0.lookup(name, kind.record()).await {
            Ok(answer) => answer,
            Err(e) if e.is_no_records_found() => return Ok(group(name, Vec::new())),
            Err(e) => return Err(format!("DNS: {name}: {e}")),
        };
        let records = answer.answers().iter();
        Ok(group(name, records.filter_map(|r| address(&r.data, port)).collect()))
    }
}

fn group(name: &str, mut addresses: Vec<String>) -> Group {
    addresses.sort();
    Group { addresses, labels: Labels::from_pairs([("__meta_dns_name", name)]) }
}

fn address(record: &RData, port: u16) -> Option<String> {
    let plain = |name: String| name.trim_end_matches('.').to_owned();
    Some(match record {
        RData::A(a) => format!("{}:{port}", a.0),
        RData::AAAA(a) => format!("[{}]:{port}", a.0),
        RData::MX(mx) => format!("{}:{port}", plain(mx.exchange.to_string())),
        RData::NS(ns) => format!("{}:{port}", plain(ns.0.to_string())),
        RData::SRV(srv) => format!("{}:{}", plain(srv.target.to_string()), srv.port),
        _ => return None,
    })
}
