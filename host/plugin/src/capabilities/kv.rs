//! `kv`: a plugin's own small state. Granted by `grants.kv`, bounded by `limits.kv_bytes`.

use super::{GuestError, denied, invalid, limit, unavailable};
use crate::bindings::belfry::plugin::kv::Host;
use crate::state::InstanceState;

/// Keys are names, not data.
const KV_KEY_BYTES_MAX: usize = 512;

impl InstanceState {
    fn kv_allowed(&self, key: &str) -> Result<(), GuestError> {
        if !self.grants.kv {
            return Err(denied("kv", "set `grants.kv = true`"));
        }
        if key.len() > KV_KEY_BYTES_MAX {
            return Err(invalid(format!("the key has {} bytes; at most {KV_KEY_BYTES_MAX}", key.len())));
        }
        Ok(())
    }

    async fn kv_put(&mut self, key: &str, value: Option<Vec<u8>>) -> Result<(), GuestError> {
        self.kv_allowed(key)?;
        let bytes_max = self.limits.kv_bytes;
        let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
        if bytes > bytes_max {
            return Err(limit(format!("{bytes} bytes do not fit into `limits.kv_bytes` ({bytes_max})")));
        }
        self.shared.services.kv.put(&self.plugin, key, value, bytes_max).await.map_err(unavailable)
    }
}

impl Host for InstanceState {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, GuestError> {
        self.kv_allowed(&key)?;
        self.shared.services.kv.get(&self.plugin, &key).await.map_err(unavailable)
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), GuestError> {
        self.kv_put(&key, Some(value)).await
    }

    async fn delete(&mut self, key: String) -> Result<(), GuestError> {
        self.kv_put(&key, None).await
    }

    async fn keys(&mut self, prefix: String) -> Result<Vec<String>, GuestError> {
        self.kv_allowed(&prefix)?;
        self.shared.services.kv.keys(&self.plugin, &prefix).await.map_err(unavailable)
    }
}
