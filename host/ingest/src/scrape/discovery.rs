//! One look at DNS for the addresses of a job.
//!
//! Invariant: an answer that is missing is an error, and the caller keeps what it knew; that a name has no record is an
//! answer.
//! Not here: when (the driver), files (`config` reads YAML).

use std::net::SocketAddr;

use belfry_model::Labels;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
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

/// Looks names up. Files of hosts do not count: what the name server says does.
pub struct Dns(TokioResolver);

impl Dns {
    /// Asks `server`; without one, those of the machine's own settings, which are read now.
    pub fn new(server: Option<SocketAddr>) -> Result<Self, String> {
        let builder = match server {
            Some(server) => {
                let mut named = NameServerConfig::udp_and_tcp(server.ip());
                named.connections.iter_mut().for_each(|c| c.port = server.port());
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![named]);
                Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
            }
            None => TokioResolver::builder_tokio(),
        };
        let mut builder = builder.map_err(|e| format!("no name server: {e}"))?;
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        builder.build().map(Self).map_err(|e| format!("no name server: {e}"))
    }

    /// The addresses of one name, a group for each, in the order of their addresses.
    pub async fn look_up(&self, name: &str, kind: DnsKind, port: u16) -> Result<Vec<Group>, String> {
        let answer = match self.0.lookup(name, kind.record()).await {
            Ok(answer) => answer,
            Err(e) if e.is_no_records_found() => return Ok(Vec::new()),
            Err(e) => return Err(format!("DNS: {name}: {e}")),
        };
        let mut groups: Vec<_> = answer.answers().iter().filter_map(|r| group(name, &r.data, port)).collect();
        groups.sort_by(|a, b| a.addresses.cmp(&b.addresses));
        Ok(groups)
    }
}

/// With the labels that Prometheus' `dns_sd_configs` gives; names there keep the dot at their end.
fn group(name: &str, record: &RData, port: u16) -> Option<Group> {
    let mut labels = vec![("__meta_dns_name", name.to_owned())];
    let mut named = |label: &'static str, name: String, port: u16| {
        let address = format!("{}:{port}", name.trim_end_matches('.'));
        labels.push((label, name));
        address
    };
    let address = match record {
        RData::A(a) => format!("{}:{port}", a.0),
        RData::AAAA(a) => format!("[{}]:{port}", a.0),
        RData::MX(mx) => named("__meta_dns_mx_record_target", mx.exchange.to_string(), port),
        RData::NS(ns) => named("__meta_dns_ns_record_target", ns.0.to_string(), port),
        RData::SRV(srv) => {
            let address = named("__meta_dns_srv_record_target", srv.target.to_string(), srv.port);
            labels.push(("__meta_dns_srv_record_port", srv.port.to_string()));
            address
        }
        // A name's other names come along with its addresses.
        _ => return None,
    };
    Some(Group { addresses: vec![address], labels: Labels::from_pairs(labels) })
}

#[cfg(test)]
#[path = "discovery_tests.rs"]
mod tests;
