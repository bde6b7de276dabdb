//! Small state of this plugin's own that survives swaps and restarts. Needs the grant `kv = true`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::errors::Result;
use crate::host;

/// The bytes kept under `key`.
///
/// # Errors
/// `Denied` without the grant.
pub fn get(key: &str) -> Result<Option<Vec<u8>>> {
    Ok(host::kv::get(key)?)
}

/// Keeps bytes under `key`.
///
/// # Errors
/// `Denied` without the grant, `Limit` when the plugin would keep too much.
pub fn set(key: &str, value: &[u8]) -> Result<()> {
    Ok(host::kv::set(key, value)?)
}

/// Forgets `key`; fine if there is none.
///
/// # Errors
/// `Denied` without the grant.
pub fn delete(key: &str) -> Result<()> {
    Ok(host::kv::delete(key)?)
}

/// The keys that begin with `prefix`, in order.
///
/// # Errors
/// `Denied` without the grant.
pub fn keys(prefix: &str) -> Result<Vec<String>> {
    Ok(host::kv::keys(prefix)?)
}

/// The value kept under `key`, as JSON.
///
/// # Errors
/// As [`get`], or when what is kept is not such a value.
pub fn get_json<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
    get(key)?.map(|bytes| serde_json::from_slice(&bytes)).transpose().map_err(Into::into)
}

/// Keeps a value as JSON.
///
/// # Errors
/// As [`set`].
pub fn set_json<T: Serialize>(key: &str, value: &T) -> Result<()> {
    set(key, &serde_json::to_vec(value)?)
}
