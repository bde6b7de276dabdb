//! Between the contract's calls and the author's traits: one instance, its config, its series.
//!
//! Invariant: what a call set is pushed when it returns ok, and only then.

use crate::bindings::imports::belfry::plugin::types::Error as Wire;
use crate::errors::{Error, Result};
use crate::plugin::Plugin;
use crate::series;

/// Where the component keeps its one instance; implemented by [`export!`](crate::export).
#[doc(hidden)]
pub trait Slot: Plugin {
    fn with_slot<R>(f: impl FnOnce(&mut Option<Self>) -> R) -> R;
}

/// Makes the component's instance from JSON.
pub(crate) fn configure<P: Slot>(config: &str) -> Result<(), Wire> {
    report_panics();
    let instance = instance_from(config)?;
    P::with_slot(|slot| *slot = Some(instance));
    Ok(())
}

/// Makes an instance from JSON.
pub(crate) fn instance_from<P: Plugin>(config: &str) -> Result<P> {
    // No config at all means an empty object; to a plugin without config (`()`) that is nothing.
    let config = if config.trim().is_empty() { "{}" } else { config.trim() };
    let parsed = serde_json::from_str(config);
    let parsed = if config == "{}" { parsed.or_else(|e| serde_json::from_str("null").map_err(|_| e)) } else { parsed };
    parsed.map_err(|e| Error::Config(e.to_string())).and_then(P::configure)
}

/// Runs one call on the instance; its samples are pushed when it is ok.
fn call<P: Slot, R>(f: impl FnOnce(&mut P) -> Result<R>) -> Result<R, Wire> {
    Ok(settle(on_instance(f))?)
}

/// Pushes what an ok call set, forgets what a failed one did.
pub(crate) fn settle<R>(answer: Result<R>) -> Result<R> {
    match answer {
        Ok(answer) => series::flush().map(|()| answer),
        Err(error) => {
            series::discard();
            Err(error)
        }
    }
}

fn on_instance<P: Slot, R>(f: impl FnOnce(&mut P) -> Result<R>) -> Result<R> {
    P::with_slot(|slot| match slot {
        Some(instance) => f(instance),
        None => Err(Error::config("the plugin was called before it was configured")),
    })
}

/// As [`call`], for kinds that set no metrics: their components must not import what pushes them.
fn call_silent<P: Slot, R>(f: impl FnOnce(&mut P) -> Result<R>) -> Result<R, Wire> {
    Ok(on_instance(f)?)
}

/// A trap says only "unreachable": the log gets the message and the place.
fn report_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|info| crate::log::write(crate::log::Level::Error, &info.to_string(), &[])));
}

/// Makes this crate a Belfry component: the type, then the kinds it has.
///
/// ```
/// use belfry_sdk::prelude::*;
///
/// static ROLLED: Gauge = Gauge::new("dice_rolled", "What the die showed.");
///
/// struct Dice;
///
/// impl Plugin for Dice {
///     type Config = ();
///     fn describe() -> Descriptor {
///         Descriptor::new("collector-dice", "0.1.0", "Rolls a die.").metrics(&[&ROLLED])
///     }
///     fn configure((): ()) -> Result<Self> {
///         Ok(Self)
///     }
/// }
///
/// impl Collector for Dice {
///     fn collect(&mut self) -> Result<()> {
///         ROLLED.set(4.0);
///         Ok(())
///     }
/// }
///
/// belfry_sdk::export!(Dice: collector);
/// # fn main() {}
/// ```
///
/// The kinds are `collector`, `metric_source`, `alert_handler`, `report_handler` and `report_section`, in any
/// combination: `belfry_sdk::export!(Console: alert_handler, report_handler);`.
#[macro_export]
macro_rules! export {
    ($plugin:ident : $($kind:ident),+ $(,)?) => {
        const _: () = {
            impl $crate::__private::Slot for $plugin {
                fn with_slot<R>(f: impl FnOnce(&mut Option<Self>) -> R) -> R {
                    ::std::thread_local! {
                        static INSTANCE: ::std::cell::RefCell<Option<$plugin>> = const { ::std::cell::RefCell::new(None) };
                    }
                    INSTANCE.with_borrow_mut(f)
                }
            }
            $( $crate::__check_kind!($kind, $plugin); )+
            #[cfg(target_arch = "wasm32")]
            type Component = $crate::__private::Component<$plugin>;
            #[cfg(target_arch = "wasm32")]
            $crate::bindings::base::__export_base!(Component with_types_in $crate::bindings::base);
            $(
                #[cfg(target_arch = "wasm32")]
                $crate::__export_kind!($kind, Component);
            )+
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __check_kind {
    (collector, $plugin:ident) => {
        const _: fn() = $crate::__private::is_collector::<$plugin>;
    };
    (metric_source, $plugin:ident) => {
        const _: fn() = $crate::__private::is_metric_source::<$plugin>;
    };
    (alert_handler, $plugin:ident) => {
        const _: fn() = $crate::__private::is_alert_handler::<$plugin>;
    };
    (report_handler, $plugin:ident) => {
        const _: fn() = $crate::__private::is_report_handler::<$plugin>;
    };
    (report_section, $plugin:ident) => {
        const _: fn() = $crate::__private::is_report_section::<$plugin>;
    };
    ($other:ident, $plugin:ident) => {
        compile_error!(concat!(
            "no plugin kind `",
            stringify!($other),
            "`: collector, metric_source, alert_handler, report_handler or report_section"
        ));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_kind {
    (collector, $component:ident) => { $crate::bindings::collector::__export_collector!($component with_types_in $crate::bindings::collector); };
    (metric_source, $component:ident) => { $crate::bindings::metric_source::__export_metric_source!($component with_types_in $crate::bindings::metric_source); };
    (alert_handler, $component:ident) => { $crate::bindings::alert_handler::__export_alert_handler!($component with_types_in $crate::bindings::alert_handler); };
    (report_handler, $component:ident) => { $crate::bindings::report_handler::__export_report_handler!($component with_types_in $crate::bindings::report_handler); };
    (report_section, $component:ident) => { $crate::bindings::report_section::__export_report_section!($component with_types_in $crate::bindings::report_section); };
}

#[doc(hidden)]
pub mod private {
    use std::marker::PhantomData;

    pub use super::Slot;
    use super::{Wire, call, call_silent, configure};
    use crate::bindings::alert_handler::exports::belfry::plugin::alert_handler;
    use crate::bindings::base::exports::belfry::plugin::plugin;
    use crate::bindings::collector::exports::belfry::plugin::collector;
    use crate::bindings::metric_source::exports::belfry::plugin::metric_source;
    use crate::bindings::report_handler::exports::belfry::plugin::report_handler;
    use crate::bindings::report_section::exports::belfry::plugin::report_section;
    use crate::plugin::{AlertHandler, Collector, MetricSource, ReportHandler, ReportSection};

    pub fn is_collector<P: Collector>() {}
    pub fn is_metric_source<P: MetricSource>() {}
    pub fn is_alert_handler<P: AlertHandler>() {}
    pub fn is_report_handler<P: ReportHandler>() {}
    pub fn is_report_section<P: ReportSection>() {}

    /// The plugin as the bindings want it.
    pub struct Component<P>(PhantomData<P>);

    impl<P: Slot> plugin::Guest for Component<P> {
        fn describe() -> plugin::Descriptor {
            P::describe().into_wire()
        }
        fn configure(config: String) -> Result<(), Wire> {
            configure::<P>(&config)
        }
    }

    impl<P: Slot + Collector> collector::Guest for Component<P> {
        fn collect() -> Result<(), Wire> {
            call(P::collect)
        }
    }

    impl<P: Slot + MetricSource> metric_source::Guest for Component<P> {
        fn identify() -> Result<metric_source::Identity, Wire> {
            call_silent(P::identify)
        }
        fn snapshot() -> Result<metric_source::Health, Wire> {
            call(P::snapshot)
        }
    }

    impl<P: Slot + AlertHandler> alert_handler::Guest for Component<P> {
        fn deliver(group: alert_handler::AlertGroup) -> Result<alert_handler::Receipt, Wire> {
            call_silent(|p: &mut P| p.deliver(group))
        }
    }

    impl<P: Slot + ReportHandler> report_handler::Guest for Component<P> {
        fn deliver_report(report: report_handler::Report) -> Result<(), Wire> {
            call_silent(|p: &mut P| p.deliver_report(report))
        }
    }

    impl<P: Slot + ReportSection> report_section::Guest for Component<P> {
        fn render(request: report_section::SectionRequest) -> Result<Vec<report_section::Block>, Wire> {
            call_silent(|p: &mut P| p.render(request))
        }
    }
}
