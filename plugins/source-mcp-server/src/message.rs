//! JSON-RPC messages of MCP, and how an answer is found in a body: as JSON, or among server-sent events.
//!
//! Model Context Protocol, revision 2025-06-18, "Transports / Streamable HTTP"; the event format is WHATWG HTML's
//! "Server-sent events".
//! Not here: HTTP.

use serde_json::{Value, json};

/// What this probe offers; the server answers with what it speaks.
pub const PROTOCOL_OFFERED: &str = "2025-06-18";

/// `{"jsonrpc": "2.0", "id": …}`
pub fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// Params of `initialize`.
pub fn hello() -> Value {
    json!({
        "protocolVersion": PROTOCOL_OFFERED,
        "capabilities": {},
        "clientInfo": { "name": "belfry-probe", "version": env!("CARGO_PKG_VERSION") },
    })
}

/// What a server said to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Its result.
    Result(Value),
    /// `error`, as JSON-RPC has it.
    Error { code: i64, message: String },
}

/// The answer to request `id`, if this JSON is (or, as a batch, holds) it. Other messages are no concern of a probe.
pub fn answer_in(json: &str, id: u64) -> Option<Answer> {
    let value: Value = serde_json::from_str(json).ok()?;
    match &value {
        Value::Array(batch) => batch.iter().find_map(|message| answer_of(message, id)),
        message => answer_of(message, id),
    }
}

fn answer_of(message: &Value, id: u64) -> Option<Answer> {
    if message["id"] != json!(id) {
        return None;
    }
    if let Some(result) = message.get("result") {
        return Some(Answer::Result(result.clone()));
    }
    let error = message.get("error")?;
    let text = error["message"].as_str().unwrap_or("no message").chars().take(200).collect();
    Some(Answer::Error { code: error["code"].as_i64().unwrap_or(0), message: text })
}

/// Finds events' data in a stream that comes in pieces, cut anywhere.
#[derive(Debug, Default)]
pub struct Events {
    /// Of the line that is not yet whole.
    line: Vec<u8>,
    data: String,
    after_cr: bool,
}

impl Events {
    /// Takes the next piece; answers the data of the events it completed.
    pub fn push(&mut self, piece: &[u8]) -> Vec<String> {
        let mut done = Vec::new();
        for &byte in piece {
            // A line ends with CR, LF or CRLF.
            let second_half = byte == b'\n' && self.after_cr;
            self.after_cr = byte == b'\r';
            match byte {
                b'\n' if second_half => {}
                b'\n' | b'\r' => done.extend(self.end_line()),
                byte => self.line.push(byte),
            }
        }
        done
    }

    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return (!data.is_empty()).then_some(data);
        }
        let line = String::from_utf8_lossy(&line);
        if let Some(data) = line.strip_prefix("data:") {
            if !self.data.is_empty() {
                self.data.push('\n');
            }
            self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_message_with_the_requests_id() {
        let done = Some(Answer::Result(json!({})));
        assert_eq!(answer_in(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#, 2), done);
        assert_eq!(answer_in(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, 2), None);
        assert_eq!(answer_in(r#"[{"method":"notifications/message"},{"id":2,"result":{}}]"#, 2), done);
        assert_eq!(
            answer_in(r#"{"id":2,"error":{"code":-32601,"message":"no such method"}}"#, 2),
            Some(Answer::Error { code: -32601, message: "no such method".into() })
        );
        assert_eq!(answer_in("<html>", 2), None);
    }

    #[test]
    fn events_are_found_wherever_the_stream_is_cut() {
        let stream =
            ": hello\r\nevent: message\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\nid: 7\ndata:x\n\n\ndata: never ended";
        for cut in 0..stream.len() {
            let mut events = Events::default();
            let mut all = events.push(&stream.as_bytes()[..cut]);
            all.extend(events.push(&stream.as_bytes()[cut..]));
            assert_eq!(all, ["{\"a\":\n1}", "x"], "cut at {cut}");
        }
    }
}
