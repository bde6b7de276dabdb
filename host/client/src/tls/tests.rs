//! Who is trusted, shown by whole handshakes with a server of the test.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion};

use super::*;

/// A server's certificate and its key, and a folder for what clients read.
struct Server {
    folder: tempfile::TempDir,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Server {
    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self::of(certificate.der().clone(), key.serialize_der())
    }

    fn of(certificate: CertificateDer<'static>, key: Vec<u8>) -> Self {
        Self { folder: tempfile::tempdir().expect("folder"), certificate, key }
    }

    /// As `openssl req -x509` makes them: signed by itself, and an authority's.
    fn self_signed(params: CertificateParams) -> Self {
        let mut params = params;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        Self::new(&params.self_signed(&key).expect("certificate"), &key)
    }

    /// Signed by an authority that nobody knows.
    fn signed(params: CertificateParams) -> Self {
        let (key, authority) = (KeyPair::generate().expect("key"), authority());
        Self::new(&params.signed_by(&key, &authority).expect("certificate"), &key)
    }

    /// Its own certificate is all that is trusted.
    fn pinned(&self) -> TlsOptions {
        TlsOptions { ca_file: Some(pem(&self.folder, &self.certificate)), ..TlsOptions::default() }
    }

    /// It shows the certificate whatever the key: rustls' usual server would not begin with one that it cannot read, or
    /// with the key of another.
    fn config(&self, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        let key = PrivatePkcs8KeyDer::from(self.key.clone());
        let key = rustls::crypto::ring::sign::any_supported_type(&key.into()).expect("key");
        let shown = CertifiedKey::new(vec![self.certificate.clone()], key);
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
    }

    /// A client says hello, and the server answers.
    fn greet(&self, options: &TlsOptions, name: &str) -> Result<(), String> {
        self.greet_with(options, name, rustls::DEFAULT_VERSIONS)
    }

    fn greet_with(
        &self,
        options: &TlsOptions,
        name: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<(), String> {
        let server = ServerConnection::new(Arc::new(self.config(versions))).expect("server");
        let name = ServerName::try_from(name.to_owned()).expect("name");
        let client = ClientConnection::new(Arc::new(config(options)?), name).expect("client");
        talk(client, server)
    }
}

fn talk(mut client: ClientConnection, mut server: ServerConnection) -> Result<(), String> {
    client.writer().write_all(b"hello").expect("it is kept until the handshake is done");
    for _ in 0..10 {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut there).expect("memory");
        }
        server.read_tls(&mut there.as_slice()).expect("memory");
        // What it dislikes it tells the client, too.
        let _ = server.process_new_packets();
        while server.wants_write() {
            server.write_tls(&mut back).expect("memory");
        }
        client.read_tls(&mut back.as_slice()).expect("memory");
        client.process_new_packets().map_err(|e| tls_words(&e))?;
        let mut heard = [0; 5];
        if server.reader().read(&mut heard).is_ok_and(|n| n == 5) {
            assert_eq!(&heard, b"hello");
            return Ok(());
        }
    }
    panic!("the two do not come to an end");
}

fn pem(folder: &tempfile::TempDir, certificate: &[u8]) -> PathBuf {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")).expect("write");
    path
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("authority")
}

fn for_localhost() -> CertificateParams {
    valid(&["localhost", "127.0.0.1"], 2020, 2090)
}

/// From the beginning of one year to that of another.
fn valid(names: &[&str], first: i32, last: i32) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("params");
    params.not_before = date_time_ymd(first, 1, 1);
    params.not_after = date_time_ymd(last, 1, 2);
    params
}

#[test]
fn a_certificate_that_stands_in_the_file_itself_is_accepted() {
    for server in [Server::self_signed(for_localhost()), Server::signed(for_localhost())] {
        for name in ["localhost", "127.0.0.1"] {
            for version in rustls::ALL_VERSIONS {
                assert_eq!(server.greet_with(&server.pinned(), name, &[version]), Ok(()), "{version:?}");
            }
        }
    }
}

#[test]
fn an_authority_of_the_file_vouches_for_others() {
    let authority = authority();
    let key = KeyPair::generate().expect("key");
    let server = Server::new(&for_localhost().signed_by(&key, &authority).expect("certificate"), &key);
    let ca_file = Some(pem(&server.folder, authority.der()));
    assert_eq!(server.greet(&TlsOptions { ca_file, ..TlsOptions::default() }, "localhost"), Ok(()));
}

#[test]
fn a_certificate_that_cannot_be_used_costs_the_others_of_its_file_nothing() {
    let server = Server::self_signed(for_localhost());
    let path = pem(&server.folder, &server.certificate);
    let good = std::fs::read_to_string(&path).expect("read");
    let section = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let cut_off = good.lines().next().expect("begin").to_owned() + "\nMIIB\n";
    let damaged = [section("AAAA"), section("no base64!"), cut_off];
    let options = TlsOptions { ca_file: Some(path.clone()), ..TlsOptions::default() };
    let greet = |text: String| {
        std::fs::write(&path, text).expect("written");
        server.greet(&options, "localhost")
    };
    for damaged in &damaged {
        for text in [format!("{damaged}{good}"), format!("{good}{damaged}")] {
            assert_eq!(greet(text.clone()), Ok(()), "{text}");
        }
        let e = greet(format!("# a bundle\n{damaged}")).expect_err("there is no good one");
        assert!(e.starts_with("cannot read the certificate file `ca.pem`: line 2: "), "{e}");
        assert!(!e.contains("peer"), "it is ours: {e}");
    }
    let e = greet("hello".to_owned()).expect_err("there is none");
    assert_eq!(e, "cannot read the certificate file `ca.pem`: there is no certificate in it");
}

#[test]
fn our_own_certificates_must_all_be_whole() {
    let server = Server::self_signed(for_localhost());
    let certificate = pem(&server.folder, &server.certificate);
    let key = server.folder.path().join("key.pem");
    let pair = rcgen::KeyPair::try_from(server.key.as_slice()).expect("key");
    std::fs::write(&key, pair.serialize_pem()).expect("written");
    let options = TlsOptions { identity: Some((certificate.clone(), key)), ..TlsOptions::default() };
    config(&options).expect("both are good");
    let good = std::fs::read_to_string(&certificate).expect("read");
    std::fs::write(&certificate, format!("{good}-----BEGIN CERTIFICATE-----\nAAA")).expect("written");
    let e = config(&options).expect_err("half of the second one is missing");
    assert_eq!(e, "cannot read the certificate file `ca.pem`: line 4: its end is missing");
}

#[test]
fn another_certificate_than_that_of_the_file_is_refused() {
    // The same names and dates, another key.
    let (server, other) = (Server::self_signed(for_localhost()), Server::self_signed(for_localhost()));
    assert!(server.greet(&other.pinned(), "localhost").is_err());
    let e = server.greet(&TlsOptions::default(), "localhost").expect_err("in no file");
    assert_eq!(
        e,
        "its certificate is not accepted: it is an authority's (CA:TRUE) and its own issuer is unknown: put it into \
         `ca_file`"
    );
    let server = Server::signed(for_localhost());
    let e = server.greet(&TlsOptions::default(), "localhost").expect_err("in no file");
    assert_eq!(
        e,
        "its certificate is not accepted: its issuer is unknown: put the issuer's certificate, or its own, into \
         `ca_file`"
    );
}

#[test]
fn the_dates_and_names_of_a_certificate_of_the_file_count() {
    let names = ["localhost", "127.0.0.1"];
    for make in [Server::self_signed, Server::signed] {
        let said = |params: CertificateParams, name: &str| {
            let server = make(params);
            server.greet(&server.pinned(), name).expect_err("refused")
        };
        let before = "its certificate is not accepted: ";
        assert_eq!(
            said(valid(&names, 2020, 2021), "localhost"),
            format!("{before}it expired at Jan  2 00:00:00 2021 +00:00")
        );
        assert_eq!(
            said(valid(&names, 2080, 2090), "localhost"),
            format!("{before}it is not yet valid, only from Jan  1 00:00:00 2080 +00:00")
        );
        assert_eq!(
            said(valid(&names, 2020, 2090), "example.com"),
            format!("{before}it is not for `example.com`; it is for `localhost`, `127.0.0.1`")
        );
        assert_eq!(
            said(valid(&[], 2020, 2090), "localhost"),
            format!("{before}it is not for `localhost`; it has no names (subjectAltName)")
        );
    }
}

#[test]
fn only_the_first_names_of_a_certificate_are_told() {
    let names: Vec<_> = (0..20).map(|n| format!("n{n}.example.com")).collect();
    let server = Server::signed(CertificateParams::new(names).expect("params"));
    let e = server.greet(&server.pinned(), "localhost").expect_err("none of them");
    assert!(e.ends_with("`n7.example.com` and 12 more"), "{e}");
}

/// A certificate and its key: of `openssl x509 -req -signkey`, which has no names and ends in 2126.
const VERSION_1: &[u8] = include_bytes!("version_1.pem");

#[test]
fn whoever_checks_nobody_takes_old_and_expired_certificates_but_not_those_of_others() {
    let anybody = TlsOptions { insecure_skip_verify: true, ..TlsOptions::default() };
    let old = || CertificateDer::from_pem_slice(VERSION_1).expect("PEM");
    let PrivateKeyDer::Pkcs8(key) = PrivateKeyDer::from_pem_slice(VERSION_1).expect("PEM") else {
        panic!("the key is PKCS 8");
    };
    let expired = valid(&["localhost"], 2020, 2021);
    let servers = [Server::of(old(), key.secret_pkcs8_der().to_vec()), Server::self_signed(expired)];
    for (server, version) in servers.iter().flat_map(|s| rustls::ALL_VERSIONS.iter().map(move |v| (s, v))) {
        assert_eq!(server.greet_with(&anybody, "another.example.com", &[version]), Ok(()), "{version:?}");
    }

    let stranger = KeyPair::generate().expect("key");
    for certificate in [old(), Server::self_signed(for_localhost()).certificate] {
        for version in rustls::ALL_VERSIONS {
            let thief = Server::of(certificate.clone(), stranger.serialize_der());
            let e = thief.greet_with(&anybody, "localhost", &[version]).expect_err("it does not hold the key");
            assert!(e.contains("not signed by the key"), "{version:?}: {e}");
        }
    }
}

#[test]
fn a_version_1_certificate_that_is_checked_is_refused_with_what_to_do() {
    let certificate = CertificateDer::from_pem_slice(VERSION_1).expect("PEM");
    let server = Server::of(certificate, Vec::new());
    let verifier = Trust::file(&server.pinned().ca_file.expect("file")).and_then(Trust::verifier).expect("verifier");
    let name = ServerName::try_from("localhost").expect("name");
    let now = rustls::pki_types::UnixTime::now();
    let e = verifier.verify_server_cert(&server.certificate, &[], &name, &[], now).expect_err("it has no names");
    assert!(tls_words(&e).contains("version 1"), "{}", tls_words(&e));
}

#[test]
fn what_a_server_ends_the_handshake_for_is_guessed_at() {
    let words = |alert| tls_words(&rustls::Error::AlertReceived(alert));
    assert!(words(rustls::AlertDescription::HandshakeFailure).contains("P-384"));
    assert!(words(rustls::AlertDescription::CertificateRequired).contains("a certificate of ours"));
}

/// The process of the test is started again with `SSL_CERT_FILE`, which cannot be set in one that runs.
#[test]
fn what_the_machine_trusts_counts_beside_mozillas_and_is_read_again_when_asked() {
    const FOLDER: &str = "BELFRY_TEST_MACHINE";
    if let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) {
        let read = |name: &str| std::fs::read(folder.join(name)).expect("of the parent");
        let server = Server::of(read("server.der").into(), read("server.key"));
        let greeted = || server.greet(&TlsOptions::default(), "localhost");
        assert_eq!(greeted(), Ok(()));
        assert!(Trust::public().authorities() > webpki_roots::TLS_SERVER_ROOTS.len());
        std::fs::copy(folder.join("self.pem"), folder.join("machine.pem")).expect("copied");
        assert_eq!(greeted(), Ok(()), "it is read once");
        reread_system_roots();
        greeted().expect_err("its authority is gone");
        // A certificate that somebody made for a server, and told the machine to trust.
        let server = Server::of(read("self.der").into(), read("self.key"));
        assert_eq!(server.greet(&TlsOptions::default(), "localhost"), Ok(()));
        return;
    }
    let (key, authority) = (KeyPair::generate().expect("key"), authority());
    let server = Server::new(&for_localhost().signed_by(&key, &authority).expect("certificate"), &key);
    let own = Server::self_signed(for_localhost());
    let machine = tempfile::tempdir().expect("folder");
    let write = |name: &str, bytes: &[u8]| std::fs::write(machine.path().join(name), bytes).expect("write");
    let own_pem = std::fs::read(pem(&own.folder, &own.certificate)).expect("read");
    let unreadable = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    write("machine.pem", &[unreadable, authority.pem().as_bytes()].concat());
    write("self.pem", &own_pem);
    for (name, server) in [("server", &server), ("self", &own)] {
        write(&format!("{name}.der"), &server.certificate);
        write(&format!("{name}.key"), &server.key);
    }
    let again = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "tls::tests::what_the_machine_trusts_counts_beside_mozillas_and_is_read_again_when_asked"])
        .env("SSL_CERT_FILE", machine.path().join("machine.pem"))
        .env_remove("SSL_CERT_DIR")
        .env(FOLDER, machine.path())
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success() && said.contains("1 passed"), "{said}\n{}", String::from_utf8_lossy(&again.stderr));
}
