//! Alerts and reports by mail, through the host's SMTP settings.
//!
//! Invariant: mails about one group are one conversation; text of an alert is never markup.
//! Not here: servers, passwords, the sender's address (the host's `mail`).

mod letter;

use belfry_sdk::mail::Message;
use belfry_sdk::prelude::*;

/// The instance's config.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Recipients.
    pub to: Vec<String>,
    /// Recipients of a copy.
    #[serde(default)]
    pub cc: Vec<String>,
    /// In front of every subject.
    #[serde(default)]
    pub subject_prefix: String,
    /// Alerts of a group that are written out.
    #[serde(default = "fifty")]
    pub max_alerts: usize,
}

fn fifty() -> usize {
    50
}

/// The handler.
#[derive(Debug)]
pub struct Email(Config);

impl Email {
    fn message(&self, subject: &str, text: String) -> Message {
        let subject = match self.0.subject_prefix.trim() {
            "" => subject.to_owned(),
            prefix => format!("{prefix} {subject}"),
        };
        Message::new(subject, text).to(&self.0.to).cc(&self.0.cc)
    }
}

impl Plugin for Email {
    type Config = Config;

    fn describe() -> Descriptor {
        Descriptor::new("handler-email", env!("CARGO_PKG_VERSION"), "Sends alerts and reports by mail.")
            .config_schema(include_str!("../config.schema.json"))
            .want("mail", "the addresses of `to` and `cc`")
    }

    fn configure(config: Config) -> Result<Self> {
        if config.to.is_empty() {
            return Err(Error::config("`to` is empty: nobody would get the mail"));
        }
        Ok(Self(config))
    }
}

impl AlertHandler for Email {
    fn deliver(&mut self, group: AlertGroup) -> Result<Receipt> {
        let letter = letter::alerts(&group, self.0.max_alerts);
        self.message(&letter.subject, letter.text).html(letter.html).thread(letter::thread(&group)).send()?;
        Ok(Receipt { reference: None, note: Some(format!("sent to {}", self.0.to.join(", "))) })
    }
}

impl ReportHandler for Email {
    fn deliver_report(&mut self, report: Report) -> Result<()> {
        let letter = letter::report(&report);
        let mut message = self.message(&letter.subject, letter.text).html(letter.html);
        for document in report.documents {
            message = message.attach(document.file_name, document.media_type, document.data);
        }
        message.send()
    }
}

belfry_sdk::export!(Email: alert_handler, report_handler);

#[cfg(test)]
mod tests;
