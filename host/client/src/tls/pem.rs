//! The certificates of a PEM file, each by itself.
//!
//! Invariant: one that is damaged costs the others nothing, also where its end is missing.
//! Not here: whether it is any good as a certificate (`roots`).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error, PemObject as _};

/// Bytes of a file: a thousand times what a system's bundle has.
const FILE_BYTES_MAX: u64 = 256 << 20;

const BEGIN: &[u8] = b"-----BEGIN ";
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END ";

/// What is said of a file without certificates.
pub(super) const NONE: &str = "there is no certificate in it";

/// A certificate that stands in a file, or why it is none.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it begins, from 1.
    pub line: usize,
    pub certificate: Result<CertificateDer<'static>, String>,
}

/// In their order; what else the file holds is passed over. The error says why it cannot be read.
pub(super) fn certificates(path: &Path) -> Result<Vec<Found>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|f| f.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|e| e.to_string())?;
    Ok(of(&bytes))
}

fn of(bytes: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    // Where the last begin lies, and its line.
    let mut begun: Option<(usize, usize)> = None;
    let (mut at, mut line) = (0, 1);
    let cut = |from: (usize, usize), to: usize, found: &mut Vec<Found>| {
        let section = bytes.get(from.0..to).unwrap_or_default();
        if section.starts_with(CERTIFICATE) {
            found.push(Found { line: from.1, certificate: decoded(section) });
        }
    };
    for text in bytes.split_inclusive(|b| matches!(b, b'\n' | b'\r')) {
        // One without an end breaks off where the next begins.
        if text.starts_with(BEGIN)
            && let Some(unfinished) = begun.replace((at, line))
        {
            cut(unfinished, at, &mut found);
        }
        at += text.len();
        if text.starts_with(END)
            && let Some(begun) = begun.take()
        {
            cut(begun, at, &mut found);
        }
        line += usize::from(text.ends_with(b"\n"));
    }
    if let Some(unfinished) = begun {
        cut(unfinished, bytes.len(), &mut found);
    }
    found
}

fn decoded(section: &[u8]) -> Result<CertificateDer<'static>, String> {
    CertificateDer::from_pem_slice(section).map_err(|e| match e {
        Error::MissingSectionEnd { .. } => "its end is missing".to_owned(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, Result<Vec<u8>, String>)> {
        of(text.as_bytes()).into_iter().map(|f| (f.line, f.certificate.map(|c| c.to_vec()))).collect()
    }

    #[test]
    fn each_certificate_stands_for_itself() {
        let one = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        let (good, bad) = (one("AAEC"), one("A?"));
        let key = "-----BEGIN PRIVATE KEY-----\nA?\n-----END PRIVATE KEY-----\n";
        let open = "-----BEGIN CERTIFICATE-----\nAAEC\n";
        let whole = Ok(vec![0, 1, 2]);
        assert_eq!(lines(&format!("# words\n{good}{key}{good}")), [(2, whole.clone()), (8, whole.clone())]);
        assert_eq!(lines(&good.replace('\n', "\r\n")), [(1, whole.clone())]);
        let found = lines(&format!("{bad}{good}"));
        assert!(matches!(&found[..], [(1, Err(_)), (4, Ok(_))]), "{found:?}");
        let missing = Err("its end is missing".to_owned());
        assert_eq!(lines(&format!("{open}{good}{open}")), [(1, missing.clone()), (3, whole), (6, missing)]);
        assert_eq!(lines("-----END CERTIFICATE-----\nAAEC"), []);
    }
}
