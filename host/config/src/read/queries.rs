//! `[queries]`

use super::Context;
use crate::types::queries::Queries;
use crate::view::View;

pub(super) fn queries(view: View<'_>, context: &mut Context<'_>) -> Option<Queries> {
    let queries = Queries {
        lookback: view.duration("lookback")?,
        timeout: view.duration("timeout")?,
        series: u64::try_from(view.whole("series")?).ok()?,
        samples: u64::try_from(view.whole("samples")?).ok()?,
        points: u64::try_from(view.whole("points")?).ok()?,
        memory_bytes: view.bytes("memory")?,
        concurrent: view.whole_u32("concurrent"),
        waiting: view.whole_u32("waiting")?,
    };
    for (key, is_zero, example) in [
        ("lookback", queries.lookback.is_zero(), "5m"),
        ("timeout", queries.timeout.is_zero(), "2m"),
        ("memory", queries.memory_bytes == 0, "1GiB"),
    ] {
        if is_zero {
            let message = format!("`{key}` is zero: no query could be answered");
            context.error(view.place(key), message, format!("use {example}, for example"));
        }
    }
    Some(queries)
}
