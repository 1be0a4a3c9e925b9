//! Agents that programs and commands add, in `agents.json`.
//!
//! The configuration file belongs to a person. Agents that programs add are kept in the store, and count if the
//! configuration has none of that name.

use std::path::PathBuf;

use serde_json::Value;

use super::FileStore;
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

impl FileStore {
    pub(crate) fn agents_text(&self) -> Result<Option<(PathBuf, String)>> {
        let Some(bytes) = AGENTS.bytes(self)? else { return Ok(None) };
        let path = self.agents_path();
        let text = text_of(&path, &bytes)?.to_string();
        Ok(Some((path, text)))
    }

    pub(crate) fn agents_path(&self) -> PathBuf {
        AGENTS.path(self)
    }

    pub(crate) fn agents(&self) -> Result<Object> {
        AGENTS.read(self)
    }

    pub(crate) fn change_agents(&self, change: impl FnOnce(&mut Object) -> Result<()>) -> Result<()> {
        let lanes: Vec<LaneName> = AGENTS.change(self, |agents| {
            change(agents)?;
            let lanes = agents.keys().map(|name| LaneName::stored(format!("{AGENT_LANES}{name}")));
            Ok(DocumentChange::Write(lanes.collect()))
        })?;
        self.wake_waiters(&lanes);
        Ok(())
    }

    pub(crate) fn agents_version(&self) -> Option<FileVersion> {
        FileVersion::in_root(self, layout::AGENTS)
    }
}
