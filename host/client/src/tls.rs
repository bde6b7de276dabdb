//! The client's TLS: whom it trusts, and who it says it is.
//!
//! Not here: whom it talks to, at which address.

mod pem;
mod roots;
#[cfg(test)]
mod tests;
mod verify;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub use roots::{Trust, reread_system_roots, system_roots};
use verify::TrustAnybody;
pub use words::tls_words;

/// How connections are secured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificates to trust (PEM), instead of Mozilla's and the system's: authorities' and servers' own. Those that cannot
    /// be used are left out, and told of in the log; at least one must be good.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key (PEM).
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the other's certificate must have, instead of its address.
    pub server_name: Option<String>,
    /// Trust anybody.
    pub insecure_skip_verify: bool,
}

/// The error names the file, not its folder.
pub(super) fn config(options: &TlsOptions) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous();
    let builder = if options.insecure_skip_verify {
        builder.with_custom_certificate_verifier(Arc::new(TrustAnybody(provider)))
    } else {
        builder.with_custom_certificate_verifier(match &options.ca_file {
            Some(path) => Trust::file(path)?.verifier()?,
            None => roots::public_verifier()?,
        })
    };
    let Some((certificate, key)) = &options.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = chain(certificate)?;
    let key_error = |e: &dyn std::fmt::Display| format!("cannot use the key file `{}`: {e}", file_name(key));
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| key_error(&e))?;
    builder.with_client_auth_cert(chain, private).map_err(|e| key_error(&e))
}

/// Our own: all of them are sent, so each must be whole.
fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let error = |why: String| format!("cannot read the certificate file `{}`: {why}", file_name(path));
    let found = pem::certificates(path).map_err(error)?;
    let chain = found.into_iter().map(|f| f.certificate.map_err(|why| error(format!("line {}: {why}", f.line))));
    let chain: Vec<_> = chain.collect::<Result<_, _>>()?;
    if chain.is_empty() { Err(error(pem::NONE.to_owned())) } else { Ok(chain) }
}

fn file_name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}
