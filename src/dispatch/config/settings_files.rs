//! The texts of the files other than handoff.yaml that set routes and agents. Each file is read once, so that
//! the settings that take effect are the ones that were checked for consent.

use std::path::PathBuf;

use crate::Result;
use crate::store::Store;
use crate::workspace::{Config, read_agents_file};

/// A file, with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingsFile {
    /// Its resolved path.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl SettingsFile {
    fn of((path, text): (PathBuf, String)) -> Self {
        Self { path, text }
    }
}

/// The files other than handoff.yaml; `None` where there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct SettingsFiles {
    /// routes.json in the store.
    pub routes: Option<SettingsFile>,
    /// The file of agent-dispatch that `agents_from` names.
    pub imported_agents: Option<SettingsFile>,
    /// agents.json in the store.
    pub stored_agents: Option<SettingsFile>,
}

impl SettingsFiles {
    /// Reads the files that belong to a workspace, and to its store if there is one.
    ///
    /// # Errors
    /// `Corrupt` or `Io` for routes.json and agents.json; as [`read_agents_file`].
    pub(crate) fn read(workspace: &Config, store: Option<&Store>) -> Result<Self> {
        let routes = store.map(Store::routes_text).transpose()?.flatten();
        let stored_agents = store.map(Store::agents_text).transpose()?.flatten();
        let imported_agents = workspace.agents_from.as_deref();
        let imported_agents = imported_agents.map(|path| read_agents_file(workspace, path)).transpose()?;
        Ok(Self {
            routes: routes.map(SettingsFile::of),
            imported_agents: imported_agents.map(SettingsFile::of),
            stored_agents: stored_agents.map(SettingsFile::of),
        })
    }

    /// Returns the files in the store, which programs change, each with the key that holds its settings.
    pub(crate) fn in_store(&self) -> impl Iterator<Item = (&'static str, &SettingsFile)> {
        let files = [("routes", &self.routes), ("agents", &self.stored_agents)];
        files.into_iter().filter_map(|(key, file)| Some((key, file.as_ref()?)))
    }
}
