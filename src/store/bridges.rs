//! What each bridge remembers of its board, in `bridges/NAME.json`.
//!
//! Only the bridge that holds the lock of its name reads and writes it. The file may be lost: what counts is in the
//! tasks, from which the bridge works it out again.

use super::layout::BRIDGES;
use super::lock::FileLock;
use super::{FileStore, atomic, bounded_file};
use crate::error::{Error, Result, printable};
use crate::model::bridge::check_bridge_name;
use crate::model::bridge::record::BridgeRecords;
use crate::model::json::{self, Object};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

impl FileStore {
    pub(crate) fn try_bridge_lock(&self, name: &str) -> Result<Option<FileLock>> {
        check_bridge_name(name)?;
        self.check_writable()?;
        FileLock::try_acquire_in(self.layout.root.open_or_make(BRIDGES)?, &format!("{name}.lock"))
    }

    pub(crate) fn bridge_records(&self, name: &str) -> Result<Option<BridgeRecords>> {
        check_bridge_name(name)?;
        let Some(dir) = self.layout.root.open_existing(BRIDGES)? else { return Ok(None) };
        let Some(content) = bounded_file::read(&dir, &file_name(name), MAX_BYTES)? else { return Ok(None) };
        Ok(serde_json::from_slice(&content.bytes).ok())
    }

    pub(crate) fn save_bridge_records(&self, name: &str, records: &BridgeRecords) -> Result<()> {
        check_bridge_name(name)?;
        self.check_writable()?;
        let dir = self.layout.root.open_or_make(BRIDGES)?;
        let path = || printable(&dir.path().join(file_name(name)).to_string_lossy());
        let value = serde_json::to_value(records);
        let object: Object = match value {
            Ok(serde_json::Value::Object(object)) => object,
            _ => return Err(Error::corrupt(format!("{} cannot be written", path()))),
        };
        let text = json::to_text(&object);
        atomic::replace_durably(&self.layout.tmp()?, &dir, &file_name(name), text.as_bytes())
    }
}

fn file_name(name: &str) -> String {
    format!("{name}.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bridge::record::CardRecord;
    use crate::store::StoreOptions;

    #[test]
    fn records_are_kept_and_one_process_is_the_bridge() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(&dir.path().join("state"), StoreOptions::default()).unwrap();
        assert_eq!(store.bridge_records("team").unwrap(), None);
        let card = CardRecord { generation: "2".to_string(), left: true, ..CardRecord::default() };
        let records = BridgeRecords { holder: "a".to_string(), cards: [("7".to_string(), card)].into() };
        store.save_bridge_records("team", &records).unwrap();
        assert_eq!(store.bridge_records("team").unwrap(), Some(records));
        assert_eq!(store.bridge_records("other").unwrap(), None);
        let path = dir.path().join("state/bridges/team.json");
        std::fs::write(path, "{\"cards\": {\"7\"").unwrap();
        assert_eq!(store.bridge_records("team").unwrap(), None, "it is worked out again");
        assert!(store.bridge_records("../x").is_err());

        let lock = store.try_bridge_lock("team").unwrap();
        assert!(lock.is_some() && store.try_bridge_lock("team").unwrap().is_none());
        assert!(store.try_bridge_lock("other").unwrap().is_some());
        drop(lock);
        assert!(store.try_bridge_lock("team").unwrap().is_some());
    }
}
