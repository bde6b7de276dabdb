//! Standard output: the answers of commands.
//!
//! Invariant: a reader that has read enough (`belfry … | head -1`) ends nothing with a panic; an answer that could not
//! be written for another reason (a full disk) is a failure of the command.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _};
use std::sync::OnceLock;

/// What stopped the first answer that could not be written.
static FAILED: OnceLock<String> = OnceLock::new();

/// Writes a line. Use [`say!`](crate::say).
pub fn line(text: Arguments<'_>) {
    keep(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Writes text as it is.
pub fn text(text: &str) {
    let mut out = std::io::stdout().lock();
    keep(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Why an answer is not whole; a closed pipe is no reason to complain.
pub fn failure() -> Option<&'static str> {
    FAILED.get().map(String::as_str)
}

fn keep(outcome: std::io::Result<()>) {
    if let Err(error) = outcome
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _ = FAILED.set(error.to_string());
    }
}

/// `println!` for answers of commands: it does not panic when nobody reads.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        $crate::out::line(format_args!($($text)*))
    };
}
