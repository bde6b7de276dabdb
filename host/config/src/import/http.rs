//! How jobs and HTTP discovery ask: credentials, TLS, headers.

use toml::Table;
use toml::Value as Toml;

use super::elsewhere::{PROXY, check as check_elsewhere, check_proxy, is_ours};
use super::shapes::Fault;
use super::yaml::Node;
use super::{Import, string};
use crate::read::is_settable_header;

const CREDENTIALS: [&str; 5] = ["basic_auth", "authorization", "oauth2", "bearer_token", "bearer_token_file"];

/// Discoveries of Prometheus that are not here; each is `NAME_sd_configs`.
const DISCOVERIES: [&str; 28] = [
    "aws",
    "azure",
    "consul",
    "digitalocean",
    "docker",
    "dockerswarm",
    "ec2",
    "eureka",
    "gce",
    "hetzner",
    "ionos",
    "kubernetes",
    "kuma",
    "lightsail",
    "linode",
    "marathon",
    "nerve",
    "nomad",
    "openstack",
    "outscale",
    "ovhcloud",
    "puppetdb",
    "scaleway",
    "serverset",
    "stackit",
    "triton",
    "uyuni",
    "vultr",
];

/// Headers that Prometheus sets itself or lets other keys set, in small letters; it takes none of them.
const HEADERS_REFUSED: [&str; 18] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

/// Of several ways to say one thing at most one may be set; an empty one is not. Is one?
pub(super) fn one_of(table: &Node, keys: &[&str]) -> Result<bool, Fault> {
    let set = |key| table.get(key).filter(|node| node.text(key).is_ok_and(|text| !text.is_empty()));
    let mut set = keys.iter().filter_map(|key| set(key).map(|node| (key, node)));
    match (set.next(), set.next()) {
        (Some((first, _)), Some((second, again))) => {
            Err(again.fault(format!("`{first}` and `{second}` are both set: keep one of them")))
        }
        (first, _) => Ok(first.is_some()),
    }
}

impl Import<'_> {
    /// The keys of `node` that jobs and HTTP discovery have in common. Those of `elsewhere` are noted, and what is not
    /// among `read` either is refused.
    pub(super) fn http(&mut self, node: &Node, read: &[&str], elsewhere: &[&str]) -> Result<(), Fault> {
        let entries = node.entries("scrape_configs")?;
        // An empty token is none.
        let is_set = |key: &str, n: &Node| !key.starts_with("bearer_token") || !n.text(key).is_ok_and(str::is_empty);
        let mut credentials = entries.iter().filter(|(key, n)| CREDENTIALS.contains(key) && is_set(key, n));
        if let (Some((first, _)), Some((second, again))) = (credentials.next(), credentials.next()) {
            return Err(again.fault(format!("`{first}` and `{second}` are both set: keep one of them")));
        }
        check_proxy(node)?;
        for (key, node) in entries {
            check_elsewhere(key, node)?;
            match key {
                "basic_auth" => self.basic_auth(node)?,
                "authorization" => self.authorization(node)?,
                "bearer_token" | "bearer_token_file" if !is_set(key, node) => {}
                "bearer_token" => self.table("authorization", [("token", string(node.text(key)?))]),
                "bearer_token_file" => {
                    let file = self.path(node, key)?;
                    self.table("authorization", file.map(|f| ("token_file", f)));
                }
                "tls_config" => self.tls(node)?,
                "http_headers" => self.headers(node)?,
                read_elsewhere if read.contains(&read_elsewhere) => {}
                "oauth2" => self.note(node, "`oauth2` is not supported: what is asked, is asked without a token"),
                "enable_http2" if !is_ours(key, node) => {
                    self.note(node, "`enable_http2` is not supported: what is asked, is asked by HTTP/1.1");
                }
                proxy if PROXY.contains(&proxy) && !is_ours(proxy, node) => {
                    self.note(node, format!("`{proxy}` is not supported: what is asked, is asked without a proxy"));
                }
                "enable_http2" => {}
                proxy if PROXY.contains(&proxy) => {}
                other if is_discovery(other) => {
                    node.items(other)?;
                    let kind = other.trim_end_matches("_sd_configs");
                    let help = "write its targets to a file ([[scrape.file]]) or serve them ([[scrape.http]])";
                    self.note(node, format!("discovery by {kind} is not there: {help}"));
                }
                other if elsewhere.contains(&other) => {
                    self.note(node, format!("`{other}` has no counterpart"));
                }
                other => return Err(node.fault(format!("`{other}` is not known to Prometheus: mend or remove it"))),
            }
        }
        Ok(())
    }

    fn table<'k>(&mut self, key: &str, entries: impl IntoIterator<Item = (&'k str, Toml)>) {
        let table: Table = entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        if !table.is_empty() {
            self.line(key, Toml::Table(table));
        }
    }

    fn basic_auth(&mut self, node: &Node) -> Result<(), Fault> {
        // Both may be missing there: then they are empty.
        let (mut username, mut password, mut file) = (string(""), None, None);
        let mut is_whole = true;
        one_of(node, &["username", "username_file", "username_ref"])?;
        one_of(node, &["password", "password_file", "password_ref"])?;
        for (key, value) in node.entries("basic_auth")? {
            match key {
                "username" => username = string(value.text(key)?),
                "password" => password = Some(string(value.text(key)?)),
                "password_file" => file = self.path(value, key)?,
                "username_file" | "username_ref" | "password_ref" => {
                    is_whole = false;
                    self.note(value, format!("`{key}` has no counterpart, so `basic_auth` is left out"));
                }
                other => return Err(value.fault(format!("`{other}` is not known to Prometheus in `basic_auth`"))),
            }
        }
        let secret = match file {
            Some(file) => ("password_file", file),
            None => ("password", password.unwrap_or(string(""))),
        };
        if is_whole {
            self.table("basic_auth", [("username", username), secret]);
        }
        Ok(())
    }

    fn authorization(&mut self, node: &Node) -> Result<(), Fault> {
        let (mut kind, mut token, mut file) = (None, None, None);
        let is_set = one_of(node, &["credentials", "credentials_file", "credentials_ref"])?;
        for (key, value) in node.entries("authorization")? {
            match key {
                "type" if value.text(key)?.trim().eq_ignore_ascii_case("basic") => {
                    return Err(value.fault("`authorization` cannot be of type `basic`: use `basic_auth`"));
                }
                "type" => kind = Some(value.text(key)?.trim()).filter(|k| !k.is_empty()),
                // An empty one beside another is none.
                "credentials" => token = Some(value.text(key)?).filter(|t| !is_set || !t.is_empty()).map(string),
                "credentials_file" => file = self.path(value, key)?,
                "credentials_ref" if value.text(key)?.is_empty() => {}
                "credentials_ref" => self.note(value, format!("`{key}` has no counterpart")),
                other => return Err(value.fault(format!("`{other}` is not known to Prometheus in `authorization`"))),
            }
        }
        let secret = match (token, file) {
            (_, Some(file)) => ("token_file", file),
            (Some(token), None) => ("token", token),
            (None, None) => {
                self.note(node, "`authorization` has no credentials that could be carried over, so it is left out");
                return Ok(());
            }
        };
        self.table("authorization", kind.map(|k| ("type", string(k))).into_iter().chain([secret]));
        Ok(())
    }

    fn tls(&mut self, node: &Node) -> Result<(), Fault> {
        let mut table = Vec::new();
        check_tls(node)?;
        for (key, value) in node.entries("tls_config")? {
            match key {
                "ca_file" | "cert_file" | "key_file" => table.extend(self.path(value, key)?.map(|p| (key, p))),
                "server_name" => table.push((key, string(value.text(key)?))),
                "insecure_skip_verify" => table.push((key, Toml::Boolean(value.flag(key)?))),
                _ if value.text(key)?.is_empty() => {}
                _ => self.note(value, format!("`{key}` has no counterpart")),
            }
        }
        let has = |key: &str| table.iter().any(|(k, _)| *k == key);
        if has("cert_file") != has("key_file") {
            self.note(node, "of `cert_file` and `key_file` one is missing, so the other is left out");
            table.retain(|(k, _)| !["cert_file", "key_file"].contains(k));
        }
        self.table("tls", table);
        Ok(())
    }

    fn headers(&mut self, node: &Node) -> Result<(), Fault> {
        let (mut plain, mut files) = (Table::new(), Table::new());
        for (name, header) in node.entries("http_headers")? {
            let entries = header.entries(name)?;
            if HEADERS_REFUSED.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(header.fault(format!("the header `{name}` is not to be set: Prometheus sets it itself")));
            }
            if let Some((key, node)) = entries.iter().find(|(key, _)| !["values", "secrets", "files"].contains(key)) {
                return Err(
                    node.fault(format!("`{key}` is not known to Prometheus: a header has values, secrets, files"))
                );
            }
            if !is_settable_header(name) {
                self.note(header, format!("the header `{name}`: Belfry sets it itself, or it is no name for a header"));
                continue;
            }
            let secret = "use secret_headers with a file or variable";
            match entries.as_slice() {
                [(key @ ("values" | "files"), node)] => match (*key, node.texts(key)?.as_slice()) {
                    ("values", [value]) => drop(plain.insert(name.to_owned(), string(value))),
                    ("files", [file]) => {
                        let table = [("file".to_owned(), self.absolute(file))].into_iter().collect();
                        files.insert(name.to_owned(), Toml::Table(table));
                    }
                    _ => self.note(header, format!("the header `{name}`: one value can be carried over")),
                },
                [("secrets", _)] => self.note(header, format!("the secret header `{name}`: {secret}")),
                _ => self.note(header, format!("the header `{name}`: one value can be carried over")),
            }
        }
        for (key, table) in [("headers", plain), ("secret_headers", files)] {
            self.table(key, table.iter().map(|(k, v)| (k.as_str(), v.clone())).collect::<Vec<_>>());
        }
        Ok(())
    }
}

/// Of jobs alone `promtool` asks that both a certificate and its key are in files, or none of them.
pub(super) fn check_job_tls(job: &Node) -> Result<(), Fault> {
    let Some(node) = job.get("tls_config") else { return Ok(()) };
    let (certificate, key) = (one_of(node, &["cert_file"])?, one_of(node, &["key_file"])?);
    if certificate == key {
        return Ok(());
    }
    // Where nothing else is set either, that is said.
    check_tls(node)?;
    let (there, missing) = if certificate { ("cert_file", "key_file") } else { ("key_file", "cert_file") };
    let why = "a certificate and its key are both in files, or both in the config";
    Err(node.fault(format!("`{there}` is set and `{missing}` is not: {why}")))
}

/// What Prometheus refuses of a `tls_config`, wherever it stands.
pub(super) fn check_tls(node: &Node) -> Result<(), Fault> {
    one_of(node, &["ca", "ca_file", "ca_ref"])?;
    let certificate = one_of(node, &["cert", "cert_file", "cert_ref"])?;
    let key = one_of(node, &["key", "key_file", "key_ref"])?;
    if certificate != key {
        let missing = if certificate { "key_file" } else { "cert_file" };
        return Err(node.fault(format!("`{missing}` is missing: a certificate and its key go together")));
    }
    for (key, value) in node.entries("tls_config")? {
        match key {
            "insecure_skip_verify" => drop(value.flag(key)?),
            "min_version" | "max_version" if !["TLS10", "TLS11", "TLS12", "TLS13"].contains(&value.text(key)?) => {
                return Err(value.fault(format!("`{key}`: `{}` is none of TLS10 to TLS13", value.text(key)?)));
            }
            "ca" | "ca_file" | "ca_ref" | "cert" | "cert_file" | "cert_ref" | "key" | "key_file" | "key_ref"
            | "server_name" | "min_version" | "max_version" => drop(value.text(key)?),
            other => return Err(value.fault(format!("`{other}` is not known to Prometheus in `tls_config`"))),
        }
    }
    Ok(())
}

fn is_discovery(key: &str) -> bool {
    key.strip_suffix("_sd_configs").is_some_and(|kind| DISCOVERIES.contains(&kind))
}
