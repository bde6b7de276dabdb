//! Mail through the host's SMTP settings. Each recipient must be granted.

use crate::errors::Result;
use crate::host;

pub use crate::bindings::imports::belfry::plugin::mail::Attachment;
use crate::bindings::imports::belfry::plugin::mail::Message as Wire;

/// A mail being written.
#[derive(Clone, Debug)]
pub struct Message(Wire);

impl Message {
    /// A mail with a subject and a plain text.
    pub fn new(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self(Wire {
            to: Vec::new(),
            cc: Vec::new(),
            subject: subject.into(),
            text: text.into(),
            html: None,
            thread_key: None,
            attachments: Vec::new(),
        })
    }

    /// Recipients.
    pub fn to(mut self, addresses: &[String]) -> Self {
        self.0.to.extend_from_slice(addresses);
        self
    }

    /// Recipients of a copy.
    pub fn cc(mut self, addresses: &[String]) -> Self {
        self.0.cc.extend_from_slice(addresses);
        self
    }

    /// The same as HTML.
    pub fn html(mut self, html: impl Into<String>) -> Self {
        self.0.html = Some(html.into());
        self
    }

    /// Mails with one key are shown as one conversation.
    pub fn thread(mut self, key: impl Into<String>) -> Self {
        self.0.thread_key = Some(key.into());
        self
    }

    /// A file with it.
    pub fn attach(mut self, name: impl Into<String>, media_type: impl Into<String>, data: Vec<u8>) -> Self {
        self.0.attachments.push(Attachment { name: name.into(), media_type: media_type.into(), inline_id: None, data });
        self
    }

    /// Sends it: the SMTP server has taken it when this returns ok.
    ///
    /// # Errors
    /// `Denied` for a recipient that is not granted; retryable ones when the server cannot now.
    pub fn send(self) -> Result<()> {
        Ok(host::mail::send(&self.0)?)
    }
}
