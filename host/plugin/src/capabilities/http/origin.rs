//! Origins: what a grant names and what a URL asks for.
//!
//! Invariant: two origins are compared by scheme, host and port of the URL, never by a header.
//! Not here: what an origin's name resolves to (`address`).

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// How.
    pub scheme: Scheme,
    /// In lower case, punycode; without brackets around an IPv6 address.
    pub host: String,
    /// Never 0.
    pub port: u16,
    /// The host when it is written as an address.
    pub address: Option<IpAddr>,
}

impl Origin {
    /// The origin of a URL; `None` for other schemes than `http` and `https`.
    pub fn of(url: &Url) -> Option<Self> {
        let scheme = Scheme::parse(url.scheme())?;
        let (host, address) = match url.host()? {
            // `example.com.` is the same host as `example.com`.
            Host::Domain(name) => (name.trim_end_matches('.').to_ascii_lowercase(), None),
            Host::Ipv4(ip) => (ip.to_string(), Some(IpAddr::V4(ip))),
            Host::Ipv6(ip) => (ip.to_string(), Some(IpAddr::V6(ip))),
        };
        let port = url.port_or_known_default().filter(|port| *port != 0)?;
        (!host.is_empty()).then_some(Self { scheme, host, port, address })
    }

    /// The value of the `Host` header.
    pub fn authority(&self) -> String {
        let host = match self.address {
            Some(IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => self.host.clone(),
        };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

/// A granted origin, perhaps with `*.` before its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    origin: Origin,
    subdomains: bool,
}

impl OriginPattern {
    /// Reads `https://api.github.com`, `http://127.0.0.1:9000` or `https://*.example.com`; says what is wrong otherwise.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            |why: &str| format!("`{text}` is no origin: {why}; write it as `https://host` or `https://host:port`");
        let (plain, subdomains) = match text.split_once("://*.") {
            Some((scheme, rest)) => (format!("{scheme}://{rest}"), true),
            None => (text.to_owned(), false),
        };
        if plain.contains('*') {
            return Err(wrong("`*.` may only stand before the host"));
        }
        let url = Url::parse(&plain).map_err(|error| wrong(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it carries credentials"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it carries a path"));
        }
        let origin = Origin::of(&url).ok_or_else(|| wrong("only http and https are known"))?;
        if subdomains && origin.address.is_some() {
            return Err(wrong("an address has no subdomains"));
        }
        Ok(Self { origin, subdomains })
    }

    /// Does it grant `origin`? `*.example.com` grants `a.example.com` and `a.b.example.com`, not `example.com`.
    pub fn matches(&self, origin: &Origin) -> bool {
        self.origin.scheme == origin.scheme
            && self.origin.port == origin.port
            && if self.subdomains {
                origin.address.is_none()
                    && origin
                        .host
                        .strip_suffix(&self.origin.host)
                        .and_then(|rest| rest.strip_suffix('.'))
                        .is_some_and(|sub| !sub.is_empty())
            } else {
                self.origin.host == origin.host
            }
    }

    /// Does it name this very address, at the origin's scheme and port?
    pub fn names_address(&self, origin: &Origin, address: IpAddr) -> bool {
        self.origin.scheme == origin.scheme && self.origin.port == origin.port && self.origin.address == Some(address)
    }

    /// Names one host, not every subdomain of it.
    pub fn is_exact(&self) -> bool {
        !self.subdomains
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.subdomains {
            return self.origin.fmt(f);
        }
        write!(f, "{}://*.{}", self.origin.scheme.as_str(), self.origin.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(pattern: &str, url: &str) -> bool {
        let origin = Origin::of(&Url::parse(url).expect("url")).expect("origin");
        OriginPattern::parse(pattern).expect("pattern").matches(&origin)
    }

    #[test]
    fn a_grant_holds_for_its_scheme_host_and_port_alone() {
        assert!(granted("https://api.github.com", "https://api.github.com/repos?q=1"));
        assert!(granted("https://api.github.com", "https://API.github.com:443/"));
        assert!(granted("https://api.github.com", "https://api.github.com./"));
        assert!(!granted("https://api.github.com", "http://api.github.com/"));
        assert!(!granted("https://api.github.com", "https://api.github.com:8443/"));
        assert!(!granted("https://api.github.com", "https://api.github.com.evil.example/"));
        assert!(!granted("https://api.github.com", "https://evil.example/api.github.com"));
        assert!(!granted("https://api.github.com", "https://api.github.com@evil.example/"));
        assert!(granted("http://127.0.0.1:9000", "http://127.0.0.1:9000/x"));
        // The URL standard reads these as the same address.
        assert!(granted("http://127.0.0.1:9000", "http://0x7f.1:9000/x"));
        assert!(granted("http://[::1]:9000", "http://[0:0::1]:9000/x"));
    }

    #[test]
    fn a_star_grants_subdomains_and_not_the_domain_itself() {
        assert!(granted("https://*.example.com", "https://a.example.com/"));
        assert!(granted("https://*.example.com", "https://a.b.example.com/"));
        assert!(!granted("https://*.example.com", "https://example.com/"));
        assert!(!granted("https://*.example.com", "https://evilexample.com/"));
        assert!(!granted("https://*.example.com", "http://a.example.com/"));
    }

    #[test]
    fn what_is_no_origin_is_refused_with_the_way_to_write_it() {
        for (text, why) in [
            ("api.github.com", "relative URL"),
            ("ftp://api.github.com", "only http and https"),
            ("https://api.github.com/repos", "carries a path"),
            ("https://u:p@api.github.com", "carries credentials"),
            ("https://*", "`*.` may only stand before the host"),
            ("https://a.*.com", "`*.` may only stand before the host"),
            ("https://*.10.0.0.1", "an address has no subdomains"),
        ] {
            let error = OriginPattern::parse(text).expect_err(text);
            assert!(error.contains(why) && error.contains("https://host"), "{text}: {error}");
        }
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        for text in ["https://api.github.com", "http://[::1]:9000", "https://*.example.com:8443", "http://10.0.0.1"] {
            assert_eq!(OriginPattern::parse(text).expect(text).to_string(), text);
        }
    }
}
