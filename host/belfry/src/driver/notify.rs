//! Delivers what the notify organ decides to tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use belfry_model::Clock;
use belfry_notify::{AlertGroup, DeliveryOutcome, NotifyEffect, NotifyInput};
use belfry_state::State;
use tracing::Instrument as _;

use super::{Mailbox, Perform};
use crate::adapters::deliver;
use crate::changes::{Changed, Changes};
use crate::plugins::PluginSet;

/// Which plugin handles a channel.
pub type Channels = BTreeMap<String, String>;

/// The hands of the notify organ.
pub struct Messenger {
    /// Handlers.
    pub plugins: Arc<PluginSet>,
    /// By channel.
    pub channels: Arc<ArcSwap<Channels>>,
    /// Keeps groups and the journal.
    pub state: Arc<State>,
    /// Back to the organ.
    pub inputs: Mailbox<NotifyInput>,
    /// Where people find this Belfry.
    pub external_url: String,
    /// For the dashboard.
    pub changes: Changes,
    /// For the journal.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Perform<NotifyEffect> for Messenger {
    async fn perform(&self, effect: NotifyEffect) {
        match effect {
            NotifyEffect::Deliver { ticket, group } => self.deliver(ticket, group),
            // Awaited: a group is on the disk before its delivery begins.
            NotifyEffect::Persist { key, state } => {
                if let Err(error) = self.state.persist_notify_groups(self.clock.now(), vec![(key, state)]).await {
                    tracing::error!(%error, "a group's state was not kept: a restart would tell it again");
                }
            }
            NotifyEffect::Journal(entry) => {
                if let Err(error) = self.state.journal_append(self.clock.now(), vec![entry]).await {
                    tracing::error!(%error, "the journal was not written");
                }
            }
        }
    }
}

impl Messenger {
    fn deliver(&self, ticket: u64, group: AlertGroup) {
        let handler = self.channels.load().get(&group.channel).and_then(|name| self.plugins.get(name));
        let input = deliver::group_input(&group, &self.external_url);
        let (inputs, changes) = (self.inputs.clone(), self.changes.clone());
        let span = tracing::info_span!("deliver", channel = group.channel, dedup_key = group.dedup_key);
        let work = async move {
            let outcome = match handler {
                Some(plugin) => deliver::outcome(plugin.deliver(&input).await),
                // It may be being loaded, or come back with the next config.
                None => DeliveryOutcome::Unavailable {
                    reason: format!("the handler of channel `{}` is not loaded", input.channel),
                    retry_after: None,
                },
            };
            match &outcome {
                DeliveryOutcome::Accepted { .. } => tracing::info!(channel = input.channel, "delivered"),
                other => tracing::warn!(channel = input.channel, outcome = ?other, "not delivered"),
            }
            changes.tell(Changed::Alerts);
            // The organ is gone only when the process ends; the group is told again after the restart.
            inputs.send(NotifyInput::Delivered { ticket, outcome }).await;
        };
        tokio::spawn(work.instrument(span));
    }
}
