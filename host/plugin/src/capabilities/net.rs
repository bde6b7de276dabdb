//! `net`: no grant for it exists yet, so every call is denied. Guests that import it load and are told.

use super::{GuestError, denied};
use crate::bindings::belfry::plugin::net::{DnsAnswer, Echo, ExchangeRequest, ExchangeResponse, Host};
use crate::state::InstanceState;

fn not_granted() -> GuestError {
    denied("net", "this version of Belfry has no grant for it")
}

impl Host for InstanceState {
    async fn exchange(&mut self, _request: ExchangeRequest) -> Result<ExchangeResponse, GuestError> {
        Err(not_granted())
    }

    async fn ping(&mut self, _host: String, _count: u32, _timeout_ms: u32) -> Result<Echo, GuestError> {
        Err(not_granted())
    }

    async fn resolve(
        &mut self,
        _name: String,
        _kind: String,
        _server: Option<String>,
    ) -> Result<Vec<DnsAnswer>, GuestError> {
        Err(not_granted())
    }
}
