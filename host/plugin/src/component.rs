//! A compiled component, linked once, ready to be instantiated any number of times.
//!
//! Invariant: its imports are resolved and checked, and each kind that it exports has its functions found, before there
//! is an instance.
//! Not here: the instance (`instance.rs`).

use wasmtime::component::{Component, Instance, InstancePre, Linker};
use wasmtime::{AsContextMut, Store};

use crate::bindings::exports::belfry::plugin as wit;
use crate::inspect::ComponentInfo;
use crate::state::InstanceState;

/// A component and where its exports are.
pub(crate) struct Linked {
    pub info: ComponentInfo,
    pre: InstancePre<InstanceState>,
    plugin: wit::plugin::GuestIndices,
    collector: Option<wit::collector::GuestIndices>,
    metric_source: Option<wit::metric_source::GuestIndices>,
    alert_handler: Option<wit::alert_handler::GuestIndices>,
    report_handler: Option<wit::report_handler::GuestIndices>,
    report_section: Option<wit::report_section::GuestIndices>,
}

/// The functions of one instance.
pub(crate) struct Exports {
    pub plugin: wit::plugin::Guest,
    pub collector: Option<wit::collector::Guest>,
    pub metric_source: Option<wit::metric_source::Guest>,
    pub alert_handler: Option<wit::alert_handler::Guest>,
    pub report_handler: Option<wit::report_handler::Guest>,
    pub report_section: Option<wit::report_section::Guest>,
}

impl Linked {
    /// Resolves imports and finds exports.
    pub(crate) fn new(
        linker: &Linker<InstanceState>,
        component: &Component,
        info: ComponentInfo,
    ) -> wasmtime::Result<Self> {
        let pre = linker.instantiate_pre(component)?;
        let has = |kind| info.kinds.contains(&kind);
        use crate::inspect::Kind;
        let collector = has(Kind::Collector).then(|| wit::collector::GuestIndices::new(&pre)).transpose()?;
        let source = has(Kind::MetricSource).then(|| wit::metric_source::GuestIndices::new(&pre)).transpose()?;
        let handler = has(Kind::AlertHandler).then(|| wit::alert_handler::GuestIndices::new(&pre)).transpose()?;
        let reports = has(Kind::ReportHandler).then(|| wit::report_handler::GuestIndices::new(&pre)).transpose()?;
        let section = has(Kind::ReportSection).then(|| wit::report_section::GuestIndices::new(&pre)).transpose()?;
        Ok(Self {
            plugin: wit::plugin::GuestIndices::new(&pre)?,
            collector,
            metric_source: source,
            alert_handler: handler,
            report_handler: reports,
            report_section: section,
            pre,
            info,
        })
    }

    /// A new instance in `store`. Runs the guest's start code.
    pub(crate) async fn instantiate(&self, store: &mut Store<InstanceState>) -> wasmtime::Result<Exports> {
        let instance = self.pre.instantiate_async(store.as_context_mut()).await?;
        self.exports(store, &instance)
    }

    fn exports(&self, store: &mut Store<InstanceState>, instance: &Instance) -> wasmtime::Result<Exports> {
        Ok(Exports {
            plugin: self.plugin.load(&mut *store, instance)?,
            collector: self.collector.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
            metric_source: self.metric_source.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
            alert_handler: self.alert_handler.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
            report_handler: self.report_handler.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
            report_section: self.report_section.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
        })
    }
}
