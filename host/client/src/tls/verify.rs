//! What is asked of a server's certificate.
//!
//! Invariant: a server that is not known by its authority is known by its very certificate only, and then too by the
//! certificate's dates and names; whoever shows a certificate must hold its key, even where nobody is checked.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};
use x509_parser::prelude::{X509Certificate, X509Version};

/// By a trusted authority, or by a certificate that is trusted itself: `openssl req -x509` makes a server certificates
/// that are an authority's, and webpki takes none of those for a server's own.
#[derive(Debug)]
pub(super) struct Verifier {
    pub by_authority: Arc<WebPkiServerVerifier>,
    pub own: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let result = self.by_authority.verify_server_cert(certificate, chain, name, ocsp, now);
        if result.is_ok() || !self.own.iter().any(|own| own == certificate) {
            return result;
        }
        check_dates(certificate, now)?;
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_authority.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_authority.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_authority.supported_verify_schemes()
    }
}

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| CertificateError::BadEncoding)?;
    Ok(parsed)
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let certificate = parsed(certificate)?;
    let validity = certificate.validity();
    let unix = |seconds: i64| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
    };
    let (not_before, not_after) = (unix(validity.not_before.timestamp()), unix(validity.not_after.timestamp()));
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    Ok(())
}

/// For `insecure_skip_verify`: who answers is not checked; that they hold the key they show is.
#[derive(Debug)]
pub(super) struct TrustAnybody(pub Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match old_key(certificate) {
            Some(key) => self.verify_tls12_by_key(message, &key, signature),
            None => verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        match old_key(certificate) {
            Some(key) => verify_tls13_signature_with_raw_key(message, &key, signature, algorithms),
            None => verify_tls13_signature(message, certificate, signature, algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The key of a certificate of X.509's versions 1 and 2, which webpki does not read. What it is of another it says itself.
fn old_key(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let certificate = parsed(certificate).ok().filter(|c| c.version() != X509Version::V3)?;
    Some(SubjectPublicKeyInfoDer::from(certificate.public_key().raw.to_vec()))
}

impl TrustAnybody {
    /// As `verify_tls12_signature` of rustls does it by a certificate: a scheme of TLS 1.2 does not say which curve, so
    /// that each algorithm of the scheme is tried.
    fn verify_tls12_by_key(
        &self,
        message: &[u8],
        key: &SubjectPublicKeyInfoDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = webpki::RawPublicKeyEntity::try_from(key).map_err(|_| CertificateError::BadEncoding)?;
        let schemes = self.0.signature_verification_algorithms.mapping;
        let Some((_, algorithms)) = schemes.iter().find(|(scheme, _)| *scheme == signature.scheme) else {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        };
        if algorithms.iter().any(|a| key.verify_signature(*a, message, signature.signature()).is_ok()) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }
}
