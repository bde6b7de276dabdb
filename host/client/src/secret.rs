//! A text that nobody sees but the one it is meant for.

use std::io::Read as _;
use std::path::PathBuf;

use crate::OptionsError;

/// Bytes of a file that holds a secret.
const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The text itself.
    Text(String),
    /// A file that holds it; read at each use, so that a new token is used at once.
    File(PathBuf),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl Secret {
    /// The text as it is now; that of a file without white space around it.
    pub fn read(&self) -> Result<String, OptionsError> {
        let path = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::File(path) => path,
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|f| f.take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text))
            .map_err(|e| OptionsError(format!("cannot read the secret file `{name}`: {}", e.kind())))?;
        Ok(text.trim().to_owned())
    }
}
