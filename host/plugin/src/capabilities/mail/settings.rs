//! Where mail goes out.
//!
//! Invariant: the password is never printed.

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, Tokio1Executor};

/// Of a whole conversation; a server that greylists or scans takes its time.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// A mail server and how to speak to it.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpSettings {
    /// Host name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Transport security.
    pub tls: SmtpTls,
    /// Name and password, if it wants them.
    pub credentials: Option<(String, String)>,
    /// Sender of every message: `belfry@example.com` or `Belfry <belfry@example.com>`.
    pub from: String,
    /// The name in the greeting (EHLO); else the machine's address.
    pub hello: Option<String>,
    /// Of the whole conversation, waiting for a free connection included.
    pub timeout: Duration,
    /// More roots to trust than Mozilla's and the system's, in PEM.
    pub ca_file: Option<PathBuf>,
}

/// How the connection to the mail server is secured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SmtpTls {
    /// Begin in the clear, insist on STARTTLS.
    #[default]
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// None: for servers on this machine.
    None,
}

impl std::fmt::Debug for SmtpSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpSettings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl SmtpSettings {
    /// STARTTLS, no login; the other fields are for the caller to change.
    pub fn new(host: impl Into<String>, port: u16, from: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port,
            tls: SmtpTls::default(),
            credentials: None,
            from: from.into(),
            hello: None,
            timeout: TIMEOUT_DEFAULT,
            ca_file: None,
        }
    }

    /// What is wrong with them, if anything; makes no connection.
    pub fn check(&self) -> Result<(), String> {
        self.checked().map(drop)
    }

    pub(super) fn checked(&self) -> Result<(Mailbox, AsyncSmtpTransport<Tokio1Executor>), String> {
        let sender =
            self.from.parse::<Mailbox>().map_err(|error| format!("`{}` is no mail address: {error}", self.from))?;
        if self.host.is_empty() {
            return Err("the mail server has no host".to_owned());
        }
        let tls = match self.tls {
            SmtpTls::None => Tls::None,
            SmtpTls::StartTls => Tls::Required(self.tls_parameters()?),
            SmtpTls::Tls => Tls::Wrapper(self.tls_parameters()?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port)
            .tls(tls)
            .timeout(Some(self.timeout));
        if let Some((user, password)) = &self.credentials {
            builder = builder.credentials(Credentials::new(user.clone(), password.clone()));
        }
        if let Some(name) = &self.hello {
            if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) {
                return Err(format!("`{name}` is no host name to greet a mail server with"));
            }
            builder = builder.hello_name(ClientId::Domain(name.clone()));
        }
        Ok((sender, builder.build()))
    }

    fn tls_parameters(&self) -> Result<TlsParameters, String> {
        let mut builder = TlsParameters::builder(self.host.clone());
        // Mozilla's are lettre's own.
        for root in belfry_client::system_roots().iter() {
            builder = builder.add_root_certificate(Certificate::from_der(root.to_vec()).map_err(|e| e.to_string())?);
        }
        if let Some(path) = &self.ca_file {
            let wrong = |error: &dyn std::fmt::Display| format!("CA file {}: {error}", path.display());
            let pem = std::fs::read(path).map_err(|error| wrong(&error))?;
            builder = builder.add_root_certificate(Certificate::from_pem(&pem).map_err(|error| wrong(&error))?);
        }
        builder.build_rustls().map_err(|error| error.to_string())
    }

    /// `text` without the password.
    pub(super) fn redacted(&self, text: &str) -> String {
        match &self.credentials {
            Some((_, password)) if !password.is_empty() => text.replace(password, "[redacted]"),
            _ => text.to_owned(),
        }
    }
}
