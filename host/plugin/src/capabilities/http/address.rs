//! Addresses: which ones a granted origin may lead to.
//!
//! Invariant: a name that anyone can point anywhere (public DNS) never leads to this machine or its network; the
//! address that is checked is the one that is connected to.
//! Not here: resolving and connecting (`connect`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::origin::{Origin, OriginPattern};

/// Where an address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// On the Internet.
    Public,
    /// This machine.
    Loopback,
    /// A private network: RFC 1918, RFC 6598 (carrier-grade NAT), RFC 4193 (unique local).
    Private,
    /// Link-local (cloud metadata services live there), multicast, unspecified, reserved.
    Special,
}

/// Where `address` lies, by the registries of RFC 6890.
pub fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Reach {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        (127, ..) => Reach::Loopback,
        (10, ..) | (192, 168, _) => Reach::Private,
        (172, 16..=31, _) | (100, 64..=127, _) => Reach::Private,
        // "This network", link-local, IETF protocol assignments, 6to4 relay, benchmarking, multicast and reserved.
        (0, ..) | (169, 254, _) | (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _) | (224..=255, ..) => Reach::Special,
        // Documentation.
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Reach::Special,
        _ => Reach::Public,
    }
}

fn reach_v6(ip: Ipv6Addr) -> Reach {
    if let Some(v4) = embedded_v4(ip) {
        return reach_v4(v4);
    }
    let segments = ip.segments();
    if ip.is_loopback() {
        Reach::Loopback
    } else if segments[0] & 0xfe00 == 0xfc00 {
        Reach::Private
    } else if segments[0] & 0xe000 != 0x2000
        || (segments[0] == 0x2001 && segments[1] < 0x0200 || segments[0..2] == [0x2001, 0x0db8])
    {
        // Global unicast is 2000::/3; of it 2001::/23 and 2001:db8::/32 are not for use.
        Reach::Special
    } else {
        Reach::Public
    }
}

/// The IPv4 address that this one stands for: mapped (`::ffff:a.b.c.d`), NAT64 (RFC 6052) or 6to4 (RFC 3056).
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = ip.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// May a request for `origin`, granted by `grants`, go to `address`? Public addresses always; others when
/// - a grant names the very address at this scheme and port, or
/// - the grant names `localhost` and the address is loopback, or
/// - the grant names exactly a host that public DNS cannot hold (one label, `.internal`, `.local`, `.home.arpa`, `.lan`)
///   and the address is of a private network.
pub fn allowed(grants: &[OriginPattern], origin: &Origin, address: IpAddr) -> Result<(), String> {
    let at = reach(address);
    if at == Reach::Public || grants.iter().any(|grant| grant.names_address(origin, address)) {
        return Ok(());
    }
    let named = origin.address.is_none() && grants.iter().any(|grant| grant.is_exact() && grant.matches(origin));
    let ok = match at {
        Reach::Public => true,
        Reach::Loopback => named && is_localhost(&origin.host),
        Reach::Private => named && is_private_name(&origin.host),
        Reach::Special => false,
    };
    if ok {
        return Ok(());
    }
    let kind = match at {
        Reach::Loopback => "the loopback address",
        Reach::Private => "the private address",
        _ => "the special address",
    };
    let by_address = Origin { host: address.to_string(), address: Some(address), ..origin.clone() };
    Err(format!("`{}` leads to {kind} {address}; to allow it, grant `{by_address}` too", origin.host))
}

fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

fn is_private_name(host: &str) -> bool {
    const SUFFIXES: [&str; 4] = [".internal", ".local", ".home.arpa", ".lan"];
    !is_localhost(host) && (!host.contains('.') || SUFFIXES.iter().any(|suffix| host.ends_with(suffix)))
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn check(grants: &[&str], url: &str, address: &str) -> bool {
        let grants: Vec<_> = grants.iter().map(|g| OriginPattern::parse(g).expect("grant")).collect();
        let origin = Origin::of(&Url::parse(url).expect("url")).expect("origin");
        allowed(&grants, &origin, address.parse().expect("address")).is_ok()
    }

    #[test]
    fn addresses_are_sorted_by_where_they_lead() {
        for (address, want) in [
            ("8.8.8.8", Reach::Public),
            ("2606:4700::1111", Reach::Public),
            ("127.0.0.1", Reach::Loopback),
            ("127.8.8.8", Reach::Loopback),
            ("::1", Reach::Loopback),
            ("::ffff:127.0.0.1", Reach::Loopback),
            ("10.1.2.3", Reach::Private),
            ("172.16.0.1", Reach::Private),
            ("172.31.255.255", Reach::Private),
            ("172.32.0.1", Reach::Public),
            ("192.168.1.1", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("fd00::1", Reach::Private),
            ("::ffff:10.0.0.1", Reach::Private),
            ("64:ff9b::a00:1", Reach::Private),
            ("2002:7f00:1::", Reach::Loopback),
            ("169.254.169.254", Reach::Special),
            ("::ffff:169.254.169.254", Reach::Special),
            ("fe80::1", Reach::Special),
            ("0.0.0.0", Reach::Special),
            ("::", Reach::Special),
            ("224.0.0.1", Reach::Special),
            ("255.255.255.255", Reach::Special),
            ("ff02::1", Reach::Special),
            ("2001:db8::1", Reach::Special),
        ] {
            assert_eq!(reach(address.parse().expect("address")), want, "{address}");
        }
    }

    #[test]
    fn a_public_name_never_leads_inside() {
        let grants = ["https://api.example.com", "https://*.example.com"];
        assert!(check(&grants, "https://api.example.com", "93.184.216.34"));
        for inside in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "100.64.0.1", "::ffff:127.0.0.1"] {
            assert!(!check(&grants, "https://api.example.com", inside), "{inside}");
        }
    }

    #[test]
    fn a_grant_that_names_the_address_allows_it_at_that_port_alone() {
        assert!(check(&["http://127.0.0.1:9000"], "http://127.0.0.1:9000", "127.0.0.1"));
        assert!(!check(&["http://127.0.0.1:9000"], "http://127.0.0.2:9000", "127.0.0.2"));
        let both = ["https://grafana.example.com:3000", "https://10.0.0.5:3000"];
        assert!(check(&both, "https://grafana.example.com:3000", "10.0.0.5"));
        assert!(!check(&both, "https://grafana.example.com:3000", "10.0.0.6"));
        assert!(check(&["http://169.254.169.254"], "http://169.254.169.254", "169.254.169.254"));
    }

    #[test]
    fn names_that_can_only_be_private_lead_to_private_addresses() {
        assert!(check(&["http://localhost:9000"], "http://localhost:9000", "127.0.0.1"));
        assert!(check(&["http://localhost:9000"], "http://localhost:9000", "::1"));
        assert!(!check(&["http://localhost:9000"], "http://localhost:9000", "10.0.0.1"));
        assert!(check(&["http://redis:9000"], "http://redis:9000", "172.18.0.2"));
        assert!(check(&["http://db.internal:9000"], "http://db.internal:9000", "10.0.0.1"));
        assert!(!check(&["http://db.internal:9000"], "http://db.internal:9000", "127.0.0.1"));
        assert!(!check(&["http://metadata.google.internal"], "http://metadata.google.internal", "169.254.169.254"));
        assert!(!check(&["http://*.internal"], "http://db.internal", "10.0.0.1"), "a pattern names no host exactly");
    }
}
