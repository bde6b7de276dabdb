//! Which certificates are trusted: Mozilla's, those of the system, those of a file.
//!
//! Invariant: what is trusted is trusted both as an authority and as a server's own certificate.
//! Not here: what is asked of a server's certificate (`verify`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;

use super::verify::Verifier;
use super::{file_name, pem};

/// Certificates of a file that the log names.
const UNUSABLE_TOLD: usize = 5;

/// Read when first asked for, and again after [`reread_system_roots`].
static SYSTEM: Mutex<Option<Arc<[CertificateDer<'static>]>>> = Mutex::new(None);

/// The certificates that this machine trusts, where `SSL_CERT_FILE` and `SSL_CERT_DIR` say, else where its system keeps
/// them. What cannot be read is said in the log, once per reading: the others count.
pub fn system_roots() -> Arc<[CertificateDer<'static>]> {
    let mut system = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    system.get_or_insert_with(read_system_roots).clone()
}

/// One for all who trust what is trusted anyway: hundreds of certificates are no matter once, but are for each of a thousand
/// jobs.
static PUBLIC: Mutex<Option<Arc<dyn ServerCertVerifier>>> = Mutex::new(None);

/// What checks servers by [`Trust::public`].
pub(super) fn public_verifier() -> Result<Arc<dyn ServerCertVerifier>, String> {
    let mut public = PUBLIC.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = &*public {
        return Ok(made.clone());
    }
    let made = Trust::public().verifier()?;
    *public = Some(made.clone());
    Ok(made)
}

/// Whoever connects from now on trusts what the machine trusts now; connectors that there are stay as they are.
pub fn reread_system_roots() {
    *SYSTEM.lock().unwrap_or_else(PoisonError::into_inner) = None;
    // After that: what is made of the old ones meanwhile goes with it.
    *PUBLIC.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

fn read_system_roots() -> Arc<[CertificateDer<'static>]> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("of the system's trusted certificates some cannot be read: {error}");
    }
    // Folders of certificates hold old and odd ones, which are nobody's mistake.
    found.certs.into_iter().filter(|c| RootCertStore::empty().add(c.clone()).is_ok()).collect()
}

/// What was said last of a file: a list of targets may be asked for each second, with certificates that are read each time.
static SAID: Mutex<BTreeMap<PathBuf, Vec<String>>> = Mutex::new(BTreeMap::new());

/// Certificates of a file that are left out, unless the same was said before.
fn say_once(path: &Path, unusable: &[String]) {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if unusable.is_empty() {
        said.remove(path);
        return;
    }
    if said.insert(path.to_owned(), unusable.to_vec()).is_some_and(|before| before == unusable) {
        return;
    }
    let (file, left_out) = (path.display(), unusable.len());
    let first: Vec<&str> = unusable.iter().take(UNUSABLE_TOLD).map(String::as_str).collect();
    tracing::warn!(%file, left_out, "certificates that cannot be used are left out, the others count: {}", first.join("; "));
}

/// Of a certificate that is to be trusted; rustls speaks of the other side's.
fn unusable_because(e: &rustls::Error) -> String {
    match e {
        rustls::Error::InvalidCertificate(why) => format!("it cannot be used: {why}"),
        other => other.to_string(),
    }
}

/// Whom a client trusts.
#[derive(Clone, Debug)]
pub struct Trust {
    roots: RootCertStore,
    /// Certificates that a server may show as its own.
    own: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Mozilla's authorities (as of this build) and those of the system.
    pub fn public() -> Self {
        let system = system_roots();
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        roots.add_parsable_certificates(system.iter().cloned());
        Self { roots, own: system.to_vec() }
    }

    /// The certificates of a PEM file and no others. Fails where none can be used; the error names the file, not its folder.
    pub fn file(path: &Path) -> Result<Self, String> {
        let mut trust = Self { roots: RootCertStore::empty(), own: Vec::new() };
        trust.add_file(path)?;
        Ok(trust)
    }

    /// Those of a PEM file too. What cannot be used is said in the log: the others count, as for Prometheus.
    pub fn add_file(&mut self, path: &Path) -> Result<(), String> {
        let error = |why: &str| format!("cannot read the certificate file `{}`: {why}", file_name(path));
        let mut unusable = Vec::new();
        let before = self.own.len();
        for found in pem::certificates(path).map_err(|why| error(&why))? {
            let added = found.certificate.and_then(|certificate| {
                self.roots.add(certificate.clone()).map_err(|e| unusable_because(&e))?;
                self.own.push(certificate);
                Ok(())
            });
            unusable.extend(added.err().map(|why| format!("line {}: {why}", found.line)));
        }
        if self.own.len() == before {
            return Err(error(unusable.first().map_or(pem::NONE, String::as_str)));
        }
        say_once(path, &unusable);
        Ok(())
    }

    /// How many authorities that is.
    #[cfg(test)]
    pub(super) fn authorities(&self) -> usize {
        self.roots.len()
    }

    /// What checks servers by it.
    pub fn verifier(self) -> Result<Arc<dyn ServerCertVerifier>, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let by_authority = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots), provider)
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Arc::new(Verifier { by_authority, own: self.own }))
    }
}
