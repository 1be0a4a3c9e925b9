//! Admission control: which tasks may be claimed while vendors have cooldowns.

use super::config::served_lane::ServedLane;
use super::cooldown;
use crate::error::Result;
use crate::model::{Cooldown, CooldownKey, Cooldowns, Task, Time};
use crate::store::{CooldownChange, Store};

/// A snapshot of all cooldowns.
pub(crate) struct Admission<'a> {
    store: &'a Store,
    cooldowns: Cooldowns,
    now: Time,
}

impl<'a> Admission<'a> {
    /// Loads the current cooldowns.
    ///
    /// # Errors
    /// When they cannot be read; then no task may be claimed for any vendor.
    pub(crate) fn load(store: &'a Store) -> Result<Self> {
        Ok(Self { store, cooldowns: store.cooldowns()?, now: store.now().wall })
    }

    /// Returns the cooldown that blocks all tasks with this key, or `None` if there is none or a probe is due.
    pub(crate) fn blocking_cooldown(&self, key: &CooldownKey) -> Option<&Cooldown> {
        self.vendor_cooldown(key).filter(|cooldown| !cooldown.is_probe_due(self.now))
    }

    /// Returns whether a task may be claimed, for a vendor without a [blocking cooldown](Self::blocking_cooldown). For
    /// a refused account, only the first task in all dispatchers is admitted, as a probe.
    ///
    /// # Errors
    /// The cooldown of the model that the task needs, if there is one to report.
    pub(crate) fn admit(&self, served: &ServedLane, task: &Task) -> std::result::Result<bool, Cooldown> {
        let (model, _) = served.model_for(task);
        let mut models = self.cooldowns.values().filter(|cooldown| cooldown.scope.model().is_some());
        match models.find(|cooldown| cooldown.blocks(&served.cooldown_key, model.as_deref(), self.now)) {
            Some(cooldown) => Err(cooldown.clone()),
            None => Ok(self.vendor_cooldown(&served.cooldown_key).is_none()
                || self.try_reserve_probe(&served.cooldown_key)),
        }
    }

    fn vendor_cooldown(&self, key: &CooldownKey) -> Option<&Cooldown> {
        self.cooldowns.get(key).filter(|cooldown| cooldown.is_active(self.now))
    }

    fn try_reserve_probe(&self, key: &CooldownKey) -> bool {
        let store = self.store;
        let change = store.change_cooldown(key, |before| {
            cooldown::reserve_probe(before, store.now().wall, store.random() as u64)
        });
        matches!(change, Ok(CooldownChange::Set(_)))
    }
}
