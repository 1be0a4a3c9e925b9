//! Dispatch routes that programs add, in `routes.json`.
//!
//! The configuration file belongs to a person, with its comments and its order. Routes that programs set are
//! kept in the store instead, and replace those of the file for the same lane.

use std::path::PathBuf;

use serde_json::Value;

use super::FileStore;
use super::json_file::{DocumentChange, JsonFile, cannot_be_read};
use super::layout;
use super::settings_file::{FileVersion, admit_trusted, text_of};
use crate::error::Result;
use crate::model::LaneName;
use crate::model::json::Object;
use crate::model::task::object;

/// The routes by lane; null for a lane whose route in the configuration file does not count.
const ROUTES: JsonFile<Object> = JsonFile {
    name: layout::ROUTES,
    max_bytes: 1024 * 1024,
    admit: |store, content| admit_trusted(store, content, layout::ROUTES),
    decode: |mut file| match file.remove(KEY) {
        None | Some(Value::Null) => Ok(Object::new()),
        Some(Value::Object(routes)) => Ok(routes),
        Some(_) => Err("'routes' must be an object".to_string()),
    },
    encode: |routes| object([(KEY, routes.into())]),
    unreadable: cannot_be_read,
};

/// The one key of the file.
const KEY: &str = "routes";

impl FileStore {
    pub(crate) fn routes_text(&self) -> Result<Option<(PathBuf, String)>> {
        let Some(bytes) = ROUTES.bytes(self)? else { return Ok(None) };
        let path = self.routes_path();
        let text = text_of(&path, &bytes)?.to_string();
        Ok(Some((path, text)))
    }

    pub(crate) fn routes_path(&self) -> PathBuf {
        ROUTES.path(self)
    }

    pub(crate) fn routes(&self) -> Result<Object> {
        ROUTES.read(self)
    }

    pub(crate) fn change_routes(&self, change: impl FnOnce(&mut Object) -> Result<()>) -> Result<()> {
        let lanes: Vec<LaneName> = ROUTES.change(self, |routes| {
            change(routes)?;
            Ok(DocumentChange::Write(routes.keys().map(LaneName::stored).collect()))
        })?;
        self.wake_waiters(&lanes);
        Ok(())
    }

    pub(crate) fn routes_version(&self) -> Option<FileVersion> {
        FileVersion::in_root(self, layout::ROUTES)
    }
}
