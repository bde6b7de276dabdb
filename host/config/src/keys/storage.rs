//! The keys of `[storage] downsample`.

use super::key;
use crate::spec::Kind::*;
use crate::spec::Need::*;
use crate::spec::TableSpec;

pub(super) static DOWNSAMPLE: TableSpec = TableSpec {
    doc: "A step of downsampling: first and last sample, count, sum, minimum and maximum of each stretch of time stay.",
    keys: &[
        key("after", Duration, Required, "How old samples are by then."),
        key("resolution", Duration, Required, "The stretches of time, like \"5m\"."),
    ],
};
