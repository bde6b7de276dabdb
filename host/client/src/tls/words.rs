//! What went wrong with TLS, for people.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};
use x509_parser::time::ASN1Time;

/// More names of a certificate are not told.
const NAMES_MAX: usize = 8;

/// What rustls cannot speak at all is most of what a handshake fails at.
const SPOKEN: &str = "TLS 1.3, and 1.2 with ECDHE and AES-GCM or ChaCha20; keys of RSA (2048 bits and more), P-256, P-384 \
                      and Ed25519";

/// An error of TLS in words that say what to do about it.
pub fn tls_words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => format!("its certificate is not accepted: {}", certificate(why)),
        Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            format!("it ended the handshake: it wants a certificate of ours, or speaks none of: {SPOKEN}")
        }
        Error::AlertReceived(AlertDescription::ProtocolVersion) => "it speaks neither TLS 1.2 nor 1.3".to_owned(),
        Error::AlertReceived(AlertDescription::CertificateRequired) => "it wants a certificate of ours".to_owned(),
        Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => format!("it does not accept our certificate: {error}"),
        Error::PeerIncompatible(_) => format!("we speak no TLS in common ({error}); ours is: {SPOKEN}"),
        Error::InvalidMessage(_) => format!("it speaks no TLS there ({error})"),
        other => other.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => format!("it expired at {}", date(*not_after)),
        CertificateError::Expired => "it expired".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("it is not yet valid, only from {}", date(*not_before))
        }
        CertificateError::NotValidYet => "it is not yet valid".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("it is not for `{}`; {}", expected.to_str(), names(presented))
        }
        CertificateError::UnknownIssuer => {
            "its issuer is unknown: put the issuer's certificate, or its own, into `ca_file`".to_owned()
        }
        CertificateError::BadSignature => "it, or the handshake, is not signed by the key that it names".to_owned(),
        CertificateError::BadEncoding => "it cannot be read".to_owned(),
        CertificateError::Revoked => "it was revoked".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not for servers (extended key usage)".to_owned()
        }
        CertificateError::UnhandledCriticalExtension => "it has a critical extension that is not known".to_owned(),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            format!("its key or its signature is of a kind that is not spoken; these are: {SPOKEN}")
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(error) => by_webpki(error),
            None => other.0.to_string(),
        },
        other => other.to_string(),
    }
}

fn by_webpki(error: &webpki::Error) -> String {
    match error {
        webpki::Error::CaUsedAsEndEntity => {
            "it is an authority's (CA:TRUE) and its own issuer is unknown: put it into `ca_file`".to_owned()
        }
        webpki::Error::EndEntityUsedAsCa => "its issuer's certificate is not an authority's (CA:FALSE)".to_owned(),
        webpki::Error::UnsupportedCertVersion => {
            "it is of X.509's version 1, which has no names: make one of version 3, or use `insecure_skip_verify`"
                .to_owned()
        }
        other => format!("{other:?}"),
    }
}

/// The first of them; a certificate of a large site has hundreds.
fn names(presented: &[String]) -> String {
    let name = |name: &String| {
        // webpki tells kind and name as `DnsName("localhost")`, and only that way.
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        format!("`{}`", inner.trim_matches('"'))
    };
    let shown: Vec<_> = presented.iter().take(NAMES_MAX).map(name).collect();
    match presented.len() {
        0 => "it has no names (subjectAltName)".to_owned(),
        n if n > NAMES_MAX => format!("it is for {} and {} more", shown.join(", "), n - NAMES_MAX),
        _ => format!("it is for {}", shown.join(", ")),
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    ASN1Time::from_timestamp(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}
