//! Agents that programs and commands add, in `agents.json`.
//!
//! The configuration file belongs to a person. Agents that programs add are kept in the store, and count if the
//! configuration has none of that name.

use std::path::PathBuf;

use serde_json::Value;

use super::Store;
use super::json_file::{DocumentChange, JsonFile, cannot_be_read};
use super::layout;
use super::settings_file::{FileVersion, admit_trusted, text_of};
use crate::error::Result;
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{AGENT_LANES, LaneName};

/// The settings of the agents, by name.
const AGENTS: JsonFile<Object> = JsonFile {
    name: layout::AGENTS,
    max_bytes: 1024 * 1024,
    admit: |store, content| admit_trusted(store, content, layout::AGENTS),
    decode: |mut file| match file.remove(KEY) {
        None | Some(Value::Null) => Ok(Object::new()),
        Some(Value::Object(agents)) => Ok(agents),
        Some(_) => Err("'agents' must be an object".to_string()),
    },
    encode: |agents| object([(KEY, agents.into())]),
    unreadable: cannot_be_read,
};

/// The one key of the file.
const KEY: &str = "agents";

impl Store {
    /// Reads agents.json; returns its path and its text if there is one.
    ///
    /// # Errors
    /// `Corrupt` when it is not a regular file, too large, not UTF-8, or one that another user may have
    /// written, since it chooses what runs; `Io`.
    pub(crate) fn agents_text(&self) -> Result<Option<(PathBuf, String)>> {
        let Some(bytes) = AGENTS.bytes(self)? else { return Ok(None) };
        let path = self.agents_path();
        let text = text_of(&path, &bytes)?.to_string();
        Ok(Some((path, text)))
    }

    /// Returns the path of agents.json, whether or not it exists.
    pub(crate) fn agents_path(&self) -> PathBuf {
        AGENTS.path(self)
    }

    /// Returns the agents of agents.json: name → settings.
    ///
    /// # Errors
    /// `Corrupt` when the file cannot be read; `Io`.
    pub(crate) fn agents(&self) -> Result<Object> {
        AGENTS.read(self)
    }

    /// Changes the agents of agents.json and wakes the dispatchers, which load it again.
    ///
    /// # Errors
    /// The error of `change`, `Corrupt`, `NewerFormat`, `Locked`, `Io`; each with nothing written.
    pub(crate) fn change_agents(&self, change: impl FnOnce(&mut Object) -> Result<()>) -> Result<()> {
        let lanes: Vec<LaneName> = AGENTS.change(self, |agents| {
            change(agents)?;
            let lanes = agents.keys().map(|name| LaneName::stored(format!("{AGENT_LANES}{name}")));
            Ok(DocumentChange::Write(lanes.collect()))
        })?;
        self.wake_waiters(&lanes);
        Ok(())
    }

    /// Returns the present version of agents.json; `None` when there is none.
    pub(crate) fn agents_version(&self) -> Option<FileVersion> {
        FileVersion::in_root(self, layout::AGENTS)
    }
}
