//! `[storage]`: bounds of what is kept that make sense as a whole.
//!
//! Invariant: of the steps of `downsample` both ages and resolutions ascend, and each resolution is a multiple of the one before: blocks that were
//! downsampled once can be downsampled again.
//! Not here: doing it (the store does).

use std::time::Duration;

use belfry_model::duration::format_duration;

use super::Context;
use crate::types::Downsample;
use crate::view::View;

/// Finer than this hardly saves anything.
const RESOLUTION_MIN: Duration = Duration::from_secs(60);
/// A bucket of more than a day has no use that we know.
const RESOLUTION_MAX: Duration = Duration::from_secs(86_400);

/// The log and some blocks must have room in it: less would keep a few minutes, or nothing.
const RETENTION_BYTES_MIN: u64 = 16 << 20;

/// As with Prometheus 0 is no bound, not room for nothing.
pub(super) fn retention_bytes(view: &View<'_>, context: &mut Context<'_>) -> Option<u64> {
    let bytes = view.bytes("retention_size").filter(|bytes| *bytes > 0)?;
    if bytes < RETENTION_BYTES_MIN {
        let message =
            "`retention_size` is less than 16MiB, which leaves no room for the log beside the blocks".to_owned();
        context.error(view.place("retention_size"), message, "use more, like 1GiB; 0 is no bound");
    }
    Some(bytes)
}

/// `None` when a step cannot be read at all. `retention` comes with the key that says it.
pub(super) fn downsample(
    view: &View<'_>,
    retention: (&str, Option<Duration>),
    window: Duration,
    context: &mut Context<'_>,
) -> Option<Vec<Downsample>> {
    let mut steps: Vec<Downsample> = Vec::new();
    for step in view.tables("downsample") {
        let (after, resolution) = (step.duration("after")?, step.duration("resolution")?);
        let named = format_duration(resolution);
        if !(RESOLUTION_MIN..=RESOLUTION_MAX).contains(&resolution) {
            let message = format!("`resolution` is {named}");
            context.error(step.place("resolution"), message, "use something from 1m to 1d, like 5m or 1h");
        } else if let Some(before) = steps.last() {
            let finer = format_duration(before.resolution);
            if resolution <= before.resolution || resolution.as_millis() % before.resolution.as_millis() != 0 {
                let message = format!("`resolution` is {named}, which is no larger multiple of the {finer} before it");
                context.error(step.place("resolution"), message, "name the finest first, like 5m and then 1h");
            }
        }
        if after <= window {
            let message = format!("`after` ({}) is within `out_of_order_window`", format_duration(after));
            context.error(step.place("after"), message, "use a longer time, like 7d");
        } else if steps.last().is_some_and(|before| after <= before.after) {
            let message = format!("`after` ({}) is no longer than that of the step before", format_duration(after));
            context.error(step.place("after"), message, "name the youngest samples first, like 7d and then 30d");
        } else if let (key, Some(kept)) = retention
            && kept <= after
        {
            let message =
                format!("`after` ({}) is not within `{key}` ({})", format_duration(after), format_duration(kept));
            let help = format!("raise `{key}`, lower `after`, or leave the step out");
            context.error(step.place("after"), message, help);
        }
        steps.push(Downsample { after, resolution });
    }
    Some(steps)
}
