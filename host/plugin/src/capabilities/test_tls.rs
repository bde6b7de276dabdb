//! A certificate authority of one test, and a server's end of TLS.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// When the server's certificate ends: 2090-01-02T00:00:00Z.
pub(crate) const NOT_AFTER_MS: i64 = 3_786_998_400_000;

/// Signs a certificate for `localhost` and `127.0.0.1`.
pub(crate) struct TestCa {
    folder: tempfile::TempDir,
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl TestCa {
    pub fn new() -> Self {
        Self::until(2090)
    }

    /// Whose server certificate ends at the beginning of a year.
    pub fn until(year: i32) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Belfry test authority");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("authority");

        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("params");
        params.distinguished_name.push(DnType::CommonName, "belfry-test-server");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 2);
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &ca).expect("certificate");

        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).expect("write");
        let chain = vec![certificate.der().clone()];
        Self { folder, chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()) }
    }

    /// The authority's certificate as PEM.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A server's end.
    pub fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), PrivateKeyDer::Pkcs8(self.key.clone_key()))
            .expect("certificate");
        TlsAcceptor::from(Arc::new(config))
    }
}
