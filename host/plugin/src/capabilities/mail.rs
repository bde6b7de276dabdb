//! `mail`: messages through the host's SMTP settings; the plugin sees neither server nor password.
//!
//! Invariant: every recipient is granted before a connection is made; the sender is the host's; no error carries the
//! password; a message that can never be accepted is told from one that may be later.
//! Not here: queues and retries (`notify`), what a mail says (the plugin).
//!
//! - `message`: the contract's record as MIME
//! - `settings`: where mail goes out, how that connection is secured

mod message;
mod settings;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

use lettre::transport::smtp::Error as SmtpError;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::sync::Semaphore;

pub use settings::{SmtpSettings, SmtpTls};

use super::{GuestError, denied, error, limit};
use crate::bindings::belfry::plugin::mail::{Host, Message};
use crate::state::InstanceState;

/// Connections to the mail server at a time, of all plugins: servers refuse more from one address.
const CONNECTIONS_MAX: usize = 4;
/// Recipients of a message: what RFC 5321 (4.5.3.1.8) lets a server refuse beyond.
const RECIPIENTS_MAX: usize = 100;
/// Bytes of a message's parts, before encoding: what common servers take.
const MESSAGE_BYTES_MAX: usize = 20 << 20;

/// The one sender that all plugins share.
pub(crate) struct Mailer {
    outgoing: Result<Outgoing, String>,
    connections: Semaphore,
}

struct Outgoing {
    settings: SmtpSettings,
    sender: lettre::message::Mailbox,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Mailer {
    /// Without settings, or with wrong ones, sending answers an error with code "config".
    pub(crate) fn new(settings: Option<SmtpSettings>) -> Self {
        let outgoing = match settings {
            None => Err("Belfry has no mail server; set `[smtp]` in the config".to_owned()),
            Some(settings) => settings.checked().map(|(sender, transport)| Outgoing { settings, sender, transport }),
        };
        Self { outgoing, connections: Semaphore::new(CONNECTIONS_MAX) }
    }

    /// Returns once the server has taken the message for all of its recipients.
    async fn send(&self, grants: &[String], message: Message) -> Result<(), GuestError> {
        let recipients = message::recipients(&message).map_err(super::invalid)?;
        if let Some(other) = recipients.iter().find(|mailbox| !granted(grants, mailbox.email.as_ref())) {
            return Err(denied(
                &format!("mail to `{}`", other.email),
                "add the address, or `*@` its domain, to `grants.mail`",
            ));
        }
        if recipients.len() > RECIPIENTS_MAX {
            return Err(limit(format!("{} recipients; at most {RECIPIENTS_MAX}", recipients.len())));
        }
        let bytes = message::bytes(&message);
        if bytes > MESSAGE_BYTES_MAX {
            return Err(limit(format!("the message has {bytes} bytes; at most {MESSAGE_BYTES_MAX}")));
        }
        let outgoing = self.outgoing.as_ref().map_err(|why| error("config", why.clone(), false))?;
        let mime = message::mime(&outgoing.sender, message).map_err(super::invalid)?;
        // The transport's own time-out covers connecting, not a server that falls silent.
        let sent = tokio::time::timeout(outgoing.settings.timeout, async {
            let _permit = self.connections.acquire().await;
            outgoing.transport.send(mime).await
        });
        match sent.await {
            Ok(sent) => sent.map(drop).map_err(|error| outgoing.answer(&error)),
            Err(_) => {
                let (host, limit) = (&outgoing.settings.host, outgoing.settings.timeout);
                Err(error("timeout", format!("the mail server {host} did not take the message within {limit:?}"), true))
            }
        }
    }
}

impl Outgoing {
    /// 4xx and broken connections may work later (RFC 5321, 4.2.1); 5xx will not.
    fn answer(&self, smtp: &SmtpError) -> GuestError {
        let mut message = format!("the mail server {}: {smtp}", self.settings.host);
        let mut source = std::error::Error::source(smtp);
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        // Servers have been seen to repeat a login in their answer.
        let message = self.settings.redacted(&message);
        if smtp.is_permanent() {
            error("rejected", message, false)
        } else if smtp.is_transient() {
            error("unavailable", message, true)
        } else if smtp.is_timeout() {
            error("timeout", message, true)
        } else if smtp.is_tls() {
            error("tls", message, false)
        } else if smtp.is_client() {
            error("config", message, false)
        } else {
            error("unreachable", message, true)
        }
    }
}

/// `*`, `*@domain` or an address; letters' case is ignored.
fn granted(grants: &[String], address: &str) -> bool {
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
    grants.iter().any(|grant| {
        grant == "*"
            || grant.eq_ignore_ascii_case(address)
            || grant.strip_prefix("*@").is_some_and(|granted| granted.eq_ignore_ascii_case(domain))
    })
}

impl Host for InstanceState {
    async fn send(&mut self, message: Message) -> Result<(), GuestError> {
        self.shared.mail.send(&self.grants.mail, message).await
    }
}
