//! Follows the configuration of running bridges.

use std::path::Path;
use std::sync::Arc;

use super::bridge_settings::agreed_bridges;
use super::env;
use crate::bridge::supervisor::BridgePlan;
use crate::dispatch::config::consent::ConsentPolicy;
use crate::error::Result;
use crate::store::{FileVersion, Store};
use crate::workspace::Config;

/// Reads the bridges again when their configuration, or the consent given to it, has changed.
pub(super) struct BridgeReloader {
    config: Config,
    /// The bridge that was named; `None` for all.
    name: Option<String>,
    seen: Vec<Option<FileVersion>>,
}

impl BridgeReloader {
    /// Begins with a configuration that was just read.
    pub(super) fn new(config: Config, name: Option<String>, store: &Store) -> Self {
        let seen = file_versions(&config, store);
        Self { config, name, seen }
    }

    /// Returns the bridges of a changed configuration, or the error that prevents it from being used; once for each
    /// change.
    pub(super) fn reload_if_changed(&mut self, store: &Store) -> Option<Result<BridgePlan>> {
        let seen = file_versions(&self.config, store);
        if seen == self.seen {
            return None;
        }
        self.seen = seen;
        Some(self.read(store))
    }

    fn read(&self, store: &Store) -> Result<BridgePlan> {
        let config = self.config.reload(Some(store.address()))?;
        let mut bridges = agreed_bridges(&config)?;
        bridges.retain(|bridge| self.name.as_ref().is_none_or(|name| bridge.name == *name));
        Ok(BridgePlan { config: Arc::new(config), bridges })
    }
}

/// Returns the versions of the file and of the consent given to it.
fn file_versions(config: &Config, store: &Store) -> Vec<Option<FileVersion>> {
    let file = config.path().and_then(|path: &Path| FileVersion::at(path));
    let consent = ConsentPolicy::new(env::trust_records()).record_versions(config, store);
    [file].into_iter().chain(consent).collect()
}
