//! Everything an instance of a plugin is made from, checked once.
//!
//! Invariant: a `Prepared` whose [`Prepared::first_instance`] succeeded can make further instances without a compile.
//! Not here: when instances are made (`actor.rs`).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use belfry_model::MetricMetadata;
use parking_lot::Mutex;

use crate::bindings::exports::belfry::plugin::plugin as wit;
use crate::calls::refused;
use crate::capabilities::GuestError;
use crate::capabilities::log::LogRing;
use crate::capabilities::sink::{Carry, Phase};
use crate::component::Linked;
use crate::config_grants;
use crate::convert;
use crate::error::{CallError, LoadError};
use crate::instance::{Failure, Instance};
use crate::runtime::Inner;
use crate::spec::{Grants, Limits, PluginSpec, Secret};

/// Bytes of a plugin's config.
const CONFIG_BYTES_MAX: usize = 1 << 20;
/// Problems of a config that are told at once.
const CONFIG_PROBLEMS_MAX: usize = 20;

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    /// What it calls itself.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// Metrics that it always has.
    pub metrics: Vec<MetricMetadata>,
    /// JSON Schema of its config; may be empty.
    pub config_schema: String,
    /// What it would like to be granted. Grants nothing.
    pub wants: Vec<(String, String)>,
    /// How often it would like to be asked.
    pub default_interval: Option<Duration>,
    /// Further facts.
    pub attributes: Vec<(String, String)>,
}

impl From<wit::Descriptor> for Descriptor {
    fn from(d: wit::Descriptor) -> Self {
        Self {
            name: d.name,
            version: d.version,
            summary: d.summary,
            metrics: d.metrics.into_iter().map(convert::metric).collect(),
            config_schema: d.config_schema,
            wants: convert::attributes(d.wants),
            default_interval: d.default_interval_ms.map(|ms| Duration::from_millis(u64::from(ms))),
            attributes: convert::attributes(d.attributes),
        }
    }
}

/// A plugin's component with its spec.
pub(crate) struct Prepared {
    pub runtime: Arc<Inner>,
    pub linked: Linked,
    pub spec: PluginSpec,
    pub name: Arc<str>,
    grants: OnceLock<Arc<Grants>>,
    pub limits: Arc<Limits>,
    pub secrets: Arc<BTreeMap<String, Secret>>,
    pub ring: Arc<Mutex<LogRing>>,
}

impl Prepared {
    pub(crate) fn new(runtime: Arc<Inner>, linked: Linked, spec: PluginSpec, ring: Arc<Mutex<LogRing>>) -> Arc<Self> {
        Arc::new(Self {
            name: Arc::from(spec.name.as_str()),
            grants: OnceLock::new(),
            limits: Arc::new(spec.limits.clone()),
            secrets: Arc::new(spec.secrets.clone()),
            runtime,
            linked,
            spec,
            ring,
        })
    }

    /// What it may use: nothing until `describe` has told which of its config are addresses.
    pub(crate) fn grants(&self) -> Arc<Grants> {
        self.grants.get().cloned().unwrap_or_default()
    }

    /// Instantiate → describe → check the config → configure.
    pub(crate) async fn first_instance(self: &Arc<Self>) -> Result<(Instance, Descriptor), LoadError> {
        let during = |step: &str, failure: &Failure| {
            let reason = match failure {
                Failure::TimedOut(limit) => format!("it used up its {limit:?} time limit in {step}"),
                Failure::Trapped(reason) => format!("it trapped in {step}: {reason}"),
            };
            self.error(reason, "look at the plugin's last log lines; the fault is in the plugin or in a limit that is too small for it")
        };
        let mut instance = Instance::new(self, Carry::new()).await.map_err(|(f, _)| during("its start", &f))?;
        let now = self.runtime.shared.services.clock.now();
        let descriptor: Descriptor = instance
            .call(Phase::Describe, now, |exports, store| Box::pin(exports.plugin.call_describe(store)))
            .await
            .map_err(|f| during("`describe`", &f))?
            .into();
        let granted = check_config(&self.spec.config, &descriptor.config_schema, &self.spec.grants)
            .map_err(|(reason, help)| self.error(reason, help))?;
        instance.state_mut().grants = self.grants.get_or_init(|| Arc::new(granted)).clone();
        match self.configure(&mut instance).await {
            Err(failure) => Err(during("`configure`", &failure)),
            Ok(Err(refusal)) => {
                Err(self.error(format!("it refused its config: {}", refusal.message), "mend the plugin's `config`"))
            }
            Ok(Ok(())) => Ok((instance, descriptor)),
        }
    }

    /// A further instance, after the first one has shown that the component works.
    pub(crate) async fn next_instance(self: &Arc<Self>, carry: Carry) -> Result<Instance, (CallError, Carry)> {
        let mut instance = match Instance::new(self, carry).await {
            Ok(instance) => instance,
            Err((failure, carry)) => return Err((self.failed(failure), carry)),
        };
        match self.configure(&mut instance).await {
            Ok(Ok(())) => Ok(instance),
            Ok(Err(refusal)) => Err((refused(&self.name, refusal), instance.into_carry())),
            Err(failure) => Err((self.failed(failure), instance.into_carry())),
        }
    }

    async fn configure(&self, instance: &mut Instance) -> Result<Result<(), GuestError>, Failure> {
        let now = self.runtime.shared.services.clock.now();
        let config = self.spec.config.clone();
        instance
            .call(Phase::Other, now, |exports, store| {
                Box::pin(async move { exports.plugin.call_configure(store, &config).await })
            })
            .await
    }

    pub(crate) fn failed(&self, failure: Failure) -> CallError {
        let plugin = self.spec.name.clone();
        match failure {
            Failure::TimedOut(limit) => CallError::TimedOut { plugin, limit },
            Failure::Trapped(reason) => CallError::Trapped { plugin, reason },
        }
    }

    fn error(&self, reason: impl Into<String>, help: impl Into<String>) -> LoadError {
        LoadError { plugin: self.spec.name.clone(), reason: reason.into(), help: help.into() }
    }
}

/// Checks a config against the plugin's schema: all problems at once, each with where it is. Answers the grants, with
/// those that the config implies.
fn check_config(config: &str, schema: &str, grants: &Grants) -> Result<Grants, (String, String)> {
    if config.len() > CONFIG_BYTES_MAX {
        return Err((
            format!("its config has {} bytes; at most {CONFIG_BYTES_MAX}", config.len()),
            "put large data elsewhere".into(),
        ));
    }
    let value: serde_json::Value = serde_json::from_str(config)
        .map_err(|e| (format!("its config is no JSON: {e}"), "`config` must be a table".to_owned()))?;
    if !value.is_object() {
        return Err(("its config is no object".into(), "`config` must be a table".into()));
    }
    if schema.trim().is_empty() {
        return Ok(grants.clone());
    }
    let bug = "this is a mistake of the plugin: tell its author".to_owned();
    let schema: serde_json::Value =
        serde_json::from_str(schema).map_err(|e| (format!("its config schema is no JSON: {e}"), bug.clone()))?;
    let validator =
        jsonschema::validator_for(&schema).map_err(|e| (format!("its config schema is not valid: {e}"), bug))?;
    let problems: Vec<String> = validator
        .iter_errors(&value)
        .take(CONFIG_PROBLEMS_MAX)
        .map(|e| {
            let path = e.instance_path().to_string().replace('/', ".");
            format!("`config{path}`: {e}")
        })
        .collect();
    if problems.is_empty() {
        return Ok(config_grants::with_config(grants, &value, &schema));
    }
    let keys: Vec<&str> =
        schema["properties"].as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default();
    let help = if keys.is_empty() {
        "mend the plugin's `config`".to_owned()
    } else {
        format!("its keys are {}", keys.join(", "))
    };
    Err((format!("its config does not fit: {}", problems.join("; ")), help))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{
        "type": "object",
        "properties": { "per_core": { "type": "boolean" }, "mounts": { "type": "array" } },
        "additionalProperties": false
    }"#;

    fn check(config: &str, schema: &str) -> Result<(), (String, String)> {
        check_config(config, schema, &Grants::default()).map(drop)
    }

    #[test]
    fn a_config_that_fits_is_taken() {
        assert_eq!(check(r#"{"per_core": true}"#, SCHEMA), Ok(()));
        assert_eq!(check(r#"{"anything": 1}"#, ""), Ok(()));
    }

    #[test]
    fn all_problems_are_told_at_once_with_the_keys_there_are() {
        let (reason, help) = check(r#"{"per_core": 1, "mount": []}"#, SCHEMA).unwrap_err();
        assert!(reason.contains("`config.per_core`: 1 is not of type \"boolean\""), "{reason}");
        assert!(reason.contains("'mount' was unexpected"), "{reason}");
        assert_eq!(help, "its keys are mounts, per_core");
    }

    #[test]
    fn a_broken_schema_is_the_plugins_fault() {
        let (_, help) = check("{}", "{ nonsense").unwrap_err();
        assert!(help.contains("tell its author"));
    }

    #[test]
    fn a_config_is_a_table() {
        assert!(check("[]", SCHEMA).is_err());
        assert!(check("{", SCHEMA).is_err());
    }
}
