//! From the config's words on HTTP to the client's.

use belfry_client::{Auth, ClientOptions, Secret, TlsOptions};
use belfry_config::types::scrape as config;

/// For a target, a list of targets or an engine.
pub fn client_options(http: &config::Http) -> ClientOptions {
    ClientOptions {
        auth: match &http.auth {
            config::HttpAuth::None => Auth::None,
            config::HttpAuth::Basic(name, password) => {
                Auth::Basic { username: name.clone(), password: secret(password) }
            }
            config::HttpAuth::Token(kind, token) => Auth::Token { kind: kind.clone(), token: secret(token) },
        },
        headers: http.headers.iter().map(|(name, value)| (name.clone(), secret(value))).collect(),
        tls: TlsOptions {
            ca_file: http.tls.ca_file.clone(),
            identity: http.tls.identity.clone(),
            server_name: http.tls.server_name.clone(),
            insecure_skip_verify: http.tls.insecure_skip_verify,
        },
    }
}

fn secret(source: &config::SecretSource) -> Secret {
    match source {
        config::SecretSource::Text(text) => Secret::Text(text.0.clone()),
        config::SecretSource::File(path) => Secret::File(path.clone()),
    }
}
