//! The contract's message as MIME.
//!
//! Invariant: no field of the plugin's can add a header or a recipient.
//! Threads: messages of one `thread-key` refer to one made-up first message (RFC 5322, 3.6.4), so that mail programs
//! show an alert's mails together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};

use crate::bindings::belfry::plugin::mail::{self, Message};

/// Everyone who gets it.
pub(super) fn recipients(message: &Message) -> Result<Vec<Mailbox>, String> {
    if message.to.is_empty() {
        return Err("a message needs at least one recipient in `to`".to_owned());
    }
    message.to.iter().chain(&message.cc).map(|text| mailbox(text)).collect()
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.trim().parse().map_err(|error| format!("`{}` is no mail address: {error}", text.escape_debug()))
}

/// Bytes of the parts, before encoding.
pub(super) fn bytes(message: &Message) -> usize {
    let attached: usize = message.attachments.iter().map(|a| a.data.len()).sum();
    message.subject.len() + message.text.len() + message.html.as_ref().map_or(0, String::len) + attached
}

pub(super) fn mime(sender: &Mailbox, message: Message) -> Result<lettre::Message, String> {
    let domain = sender.email.domain();
    let mut builder = lettre::Message::builder()
        .from(sender.clone())
        .date_now()
        .message_id(Some(fresh_id(domain)))
        .subject(one_line(&message.subject))
        // RFC 3834: no out-of-office answers to a monitor.
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()));
    for to in &message.to {
        builder = builder.to(mailbox(to)?);
    }
    for cc in &message.cc {
        builder = builder.cc(mailbox(cc)?);
    }
    if let Some(key) = message.thread_key.as_deref().filter(|key| !key.is_empty()) {
        let thread = thread_id(key, domain);
        builder = builder.in_reply_to(thread.clone()).references(thread);
    }

    let (inline, attached): (Vec<_>, Vec<_>) =
        message.attachments.into_iter().partition(|a| a.inline_id.is_some() && message.html.is_some());
    let mixed = if attached.is_empty() { None } else { Some(MultiPart::mixed()) };
    let built = match (text_part(message.text, message.html, inline)?, mixed) {
        (Part::Single(text), None) => builder.singlepart(text),
        (Part::Multi(text), None) => builder.multipart(text),
        (Part::Single(text), Some(mixed)) => builder.multipart(attach(mixed.singlepart(text), attached)?),
        (Part::Multi(text), Some(mixed)) => builder.multipart(attach(mixed.multipart(text), attached)?),
    };
    built.map_err(|error| error.to_string())
}

enum Part {
    Single(SinglePart),
    Multi(MultiPart),
}

/// Plain text, and beside it HTML with the pictures it shows.
fn text_part(text: String, html: Option<String>, inline: Vec<mail::Attachment>) -> Result<Part, String> {
    let Some(html) = html else { return Ok(Part::Single(SinglePart::plain(text))) };
    let alternative = MultiPart::alternative().singlepart(SinglePart::plain(text));
    Ok(Part::Multi(if inline.is_empty() {
        alternative.singlepart(SinglePart::html(html))
    } else {
        alternative.multipart(attach(MultiPart::related().singlepart(SinglePart::html(html)), inline)?)
    }))
}

fn attach(mut to: MultiPart, attachments: Vec<mail::Attachment>) -> Result<MultiPart, String> {
    for attachment in attachments {
        let media_type = ContentType::parse(&attachment.media_type)
            .map_err(|error| format!("`{}` is no media type: {error}", attachment.media_type.escape_debug()))?;
        let name = one_line(&attachment.name);
        let part = match attachment.inline_id.as_deref().map(one_line) {
            Some(id) if id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b)) => {
                Attachment::new_inline_with_name(id, name)
            }
            Some(id) => return Err(format!("`{id}` is no content id: letters, digits and -_.@ only")),
            None => Attachment::new(name),
        };
        to = to.singlepart(part.body(attachment.data, media_type));
    }
    Ok(to)
}

/// Line breaks would end the header.
fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_control()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The same for the same key, and none can be made from it.
fn thread_id(key: &str, domain: &str) -> String {
    format!("<thread.{}@{domain}>", &blake3::hash(key.as_bytes()).to_hex()[..32])
}

fn fresh_id(domain: &str) -> String {
    static SENT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("<{now:x}.{:x}.{:x}@{domain}>", std::process::id(), SENT.fetch_add(1, Ordering::Relaxed))
}
