//! Lines in the plugin's log: `info!("read {n} files")`, with attributes `warn!("slow"; took_ms = 812)`.
//!
//! Past the plugin's limit of lines or bytes the host drops lines and counts them.

use crate::bindings::imports::belfry::plugin::types::Attribute;
use crate::host;

pub use crate::bindings::imports::belfry::plugin::log::Level;

/// Writes one line. The macros are shorter.
pub fn write(level: Level, message: &str, attributes: &[(&str, &dyn std::fmt::Display)]) {
    let attributes: Vec<_> =
        attributes.iter().map(|(key, value)| Attribute { key: (*key).into(), value: value.to_string() }).collect();
    host::log::write(level, message, &attributes);
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($arg:expr),+ $(; $($key:ident = $value:expr),+ $(,)?)?) => {
        $crate::log::write($crate::log::Level::$level, &format!($($arg),+), &[$($((stringify!($key), &$value)),+)?])
    };
}

/// For whoever writes the plugin.
#[macro_export]
macro_rules! debug { ($($t:tt)*) => { $crate::__log!(Debug, $($t)*) }; }
/// Good to know.
#[macro_export]
macro_rules! info { ($($t:tt)*) => { $crate::__log!(Info, $($t)*) }; }
/// Something is not as it should be, and the plugin goes on.
#[macro_export]
macro_rules! warn { ($($t:tt)*) => { $crate::__log!(Warn, $($t)*) }; }
/// Something failed.
#[macro_export]
macro_rules! error { ($($t:tt)*) => { $crate::__log!(Error, $($t)*) }; }
