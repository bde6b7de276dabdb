//! How jobs and HTTP discovery ask: credentials, TLS, headers.

use toml::Table;
use toml::Value as Toml;

use super::shapes::Fault;
use super::yaml::Node;
use super::{Import, string};
use crate::read::is_settable_header;

const CREDENTIALS: [&str; 4] = ["basic_auth", "authorization", "bearer_token", "bearer_token_file"];

impl Import<'_> {
    /// The keys of `node` that jobs and HTTP discovery have in common; what is not among `read` either is noted.
    pub(super) fn http(&mut self, node: &Node, read: &[&str]) -> Result<(), Fault> {
        let entries = node.entries("scrape_configs")?;
        let mut credentials = entries.iter().filter(|(key, _)| CREDENTIALS.contains(key));
        if let (Some((first, _)), Some((second, again))) = (credentials.next(), credentials.next()) {
            return Err(again.fault(format!("`{first}` and `{second}` are both set: keep one of them")));
        }
        for (key, node) in entries {
            match key {
                "basic_auth" => self.basic_auth(node)?,
                "authorization" => self.authorization(node)?,
                "bearer_token" => self.table("authorization", [("token", string(node.text(key)?))]),
                "bearer_token_file" => {
                    let file = self.path(node, key)?;
                    self.table("authorization", file.map(|f| ("token_file", f)));
                }
                "tls_config" => self.tls(node)?,
                "http_headers" => self.headers(node)?,
                read_elsewhere if read.contains(&read_elsewhere) => {}
                other if other.ends_with("_sd_configs") => {
                    let kind = other.trim_end_matches("_sd_configs");
                    let help = "write its targets to a file ([[scrape.file]]) or serve them ([[scrape.http]])";
                    self.note(node, format!("discovery by {kind} is not there: {help}"));
                }
                other => self.note(node, format!("`{other}` has no counterpart")),
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
        for (key, value) in node.entries("basic_auth")? {
            match key {
                "username" => username = string(value.text(key)?),
                "password" => password = Some(string(value.text(key)?)),
                "password_file" => file = self.path(value, key)?,
                other => {
                    is_whole = false;
                    self.note(value, format!("`{other}` has no counterpart, so `basic_auth` is left out"));
                }
            }
        }
        let secret = match (password, file) {
            (Some(_), Some(_)) => {
                return Err(node.fault("`password` and `password_file` are both set: keep one of them"));
            }
            (None, Some(file)) => ("password_file", file),
            (password, None) => ("password", password.unwrap_or(string(""))),
        };
        if is_whole {
            self.table("basic_auth", [("username", username), secret]);
        }
        Ok(())
    }

    fn authorization(&mut self, node: &Node) -> Result<(), Fault> {
        let (mut kind, mut token, mut file) = (None, None, None);
        for (key, value) in node.entries("authorization")? {
            match key {
                "type" if value.text(key)?.trim().eq_ignore_ascii_case("basic") => {
                    return Err(value.fault("`authorization` cannot be of type `basic`: use `basic_auth`"));
                }
                "type" => kind = Some(value.text(key)?.trim()).filter(|k| !k.is_empty()),
                "credentials" => token = Some(string(value.text(key)?)),
                "credentials_file" => file = self.path(value, key)?,
                other => self.note(value, format!("`{other}` has no counterpart")),
            }
        }
        let secret = match (token, file) {
            (Some(_), Some(_)) => {
                return Err(node.fault("`credentials` and `credentials_file` are both set: keep one of them"));
            }
            (Some(token), None) => ("token", token),
            (None, Some(file)) => ("token_file", file),
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
        for (key, value) in node.entries("tls_config")? {
            match key {
                "ca_file" | "cert_file" | "key_file" => table.extend(self.path(value, key)?.map(|p| (key, p))),
                "server_name" => table.push((key, string(value.text(key)?))),
                "insecure_skip_verify" => table.push((key, Toml::Boolean(value.flag(key)?))),
                other => self.note(value, format!("`{other}` has no counterpart")),
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
