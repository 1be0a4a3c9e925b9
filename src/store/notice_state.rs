//! Up to where the notices of each workspace are delivered, and which of them wait for another attempt: `notices/`.
//!
//! One process at a time delivers the notices of a workspace; the lock is free again when it ends.

use std::collections::BTreeMap;

use serde_json::Value;

use super::dir::Dir;
use super::layout::{NOTICES, lane_key};
use super::lock::{self, FileLock};
use super::{FileStore, atomic, bounded_file};
use crate::error::{Error, Result, printable};
use crate::model::Time;
use crate::model::json::{self, Object};
use crate::model::task::object;

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A notice whose delivery has failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PendingNotice {
    /// The settings of the rule that it is for; with others it is dropped.
    pub rule: String,
    /// The notice.
    pub notice: Object,
    /// When its delivery failed for the first time.
    pub since: Time,
    /// How often its delivery has failed.
    pub failures: u32,
    /// When it is delivered again.
    pub next: Time,
}

/// What is delivered of the notices of a workspace.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NoticeState {
    /// The number of the last change in the feed whose notices are delivered or pending.
    pub after: u64,
    /// The conditions of the store that were told: a key for each, and since when it holds.
    pub told: BTreeMap<String, String>,
    /// The notices whose delivery has failed.
    pub pending: Vec<PendingNotice>,
}

impl NoticeState {
    fn from_object(file: &Object) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_string);
        let told = file.get("told")?.as_object()?;
        let pending = file.get("pending")?.as_array()?;
        let pending_notice = |entry: &Value| {
            Some(PendingNotice {
                rule: text(entry.get("rule")?)?,
                notice: entry.get("notice")?.as_object()?.clone(),
                since: Time::parse(entry.get("since")?.as_str()?).ok()?,
                failures: u32::try_from(entry.get("failures")?.as_u64()?).ok()?,
                next: Time::parse(entry.get("next")?.as_str()?).ok()?,
            })
        };
        Some(Self {
            after: file.get("after")?.as_u64()?,
            told: told.iter().map(|(key, value)| Some((key.clone(), text(value)?))).collect::<Option<_>>()?,
            pending: pending.iter().map(pending_notice).collect::<Option<_>>()?,
        })
    }

    fn to_object(&self) -> Object {
        let told: Object = self.told.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        let pending = self.pending.iter().map(|pending| {
            Value::Object(object([
                ("rule", pending.rule.clone().into()),
                ("notice", pending.notice.clone().into()),
                ("since", pending.since.to_string().into()),
                ("failures", pending.failures.into()),
                ("next", pending.next.to_string().into()),
            ]))
        });
        object([
            ("after", self.after.into()),
            ("told", told.into()),
            ("pending", pending.collect::<Vec<_>>().into()),
        ])
    }
}

fn automation_lock(workspace: &str) -> String {
    format!("{}.running.lock", lane_key(workspace))
}

/// Returns whether the file `name` in `notices/` can be read.
pub(super) fn is_readable(notices: &Dir, name: &str) -> bool {
    read(notices, name).is_ok_and(|state| state.is_some())
}

/// Reads a file in `notices/`; `None` when there is none.
fn read(notices: &Dir, name: &str) -> Result<Option<NoticeState>> {
    let Some(content) = bounded_file::read(notices, name, MAX_BYTES)? else { return Ok(None) };
    let state = json::parse_object(&content.bytes).ok().and_then(|file| NoticeState::from_object(&file));
    state.map(Some).ok_or_else(|| {
        let path = printable(&notices.path().join(name).to_string_lossy());
        Error::corrupt(format!("{path} cannot be read, so no notices are delivered"))
            .with_hint("remove the file; notices then begin with what happens next")
    })
}

impl FileStore {
    pub(crate) fn try_notice_lock(&self, workspace: &str) -> Result<Option<FileLock>> {
        self.check_writable()?;
        let name = format!("{}.lock", lane_key(workspace));
        FileLock::try_acquire_in(self.layout.root.open_or_make_derived(NOTICES)?, &name)
    }

    pub(crate) fn try_automation_lock(&self, workspace: &str) -> Result<Option<FileLock>> {
        self.check_writable()?;
        let notices = self.layout.root.open_or_make_derived(NOTICES)?;
        FileLock::try_acquire_in(notices, &automation_lock(workspace))
    }

    pub(crate) fn automation_is_running(&self, workspace: &str) -> Result<bool> {
        match self.layout.root.open_existing(NOTICES)? {
            Some(notices) => lock::is_held(&notices, &automation_lock(workspace)),
            None => Ok(false),
        }
    }

    pub(crate) fn notice_state(&self, workspace: &str) -> Result<Option<NoticeState>> {
        let Some(notices) = self.layout.root.open_existing(NOTICES)? else { return Ok(None) };
        read(&notices, &format!("{}.json", lane_key(workspace)))
    }

    pub(crate) fn set_notice_state(&self, workspace: &str, state: &NoticeState) -> Result<()> {
        self.check_writable()?;
        let notices = self.layout.root.open_or_make_derived(NOTICES)?;
        let text = json::to_text(&state.to_object());
        let name = format!("{}.json", lane_key(workspace));
        atomic::replace_durably(&self.layout.tmp()?, &notices, &name, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    #[test]
    fn the_state_comes_back_and_one_process_has_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path(), StoreOptions::default()).unwrap();
        assert_eq!(store.notice_state("w").unwrap(), None);
        let lock = store.try_notice_lock("w").unwrap().expect("the lock");
        assert!(store.try_notice_lock("w").unwrap().is_none());
        assert!(store.try_notice_lock("other").unwrap().is_some());
        let state = NoticeState {
            after: 7,
            told: BTreeMap::from([("parked:claude".to_string(), "2026-01-01T00:00:00Z".to_string())]),
            pending: vec![PendingNotice {
                rule: "[]".to_string(),
                notice: object([("notice", "failed".into())]),
                since: Time::from_micros(5),
                failures: 2,
                next: Time::from_micros(9),
            }],
        };
        store.set_notice_state("w", &state).unwrap();
        assert_eq!(store.notice_state("w").unwrap(), Some(state));
        drop(lock);
        assert!(store.try_notice_lock("w").unwrap().is_some());
        let file = std::fs::read_dir(dir.path().join("notices")).unwrap().next().unwrap().unwrap().path();
        std::fs::write(&file, "{}").unwrap();
        let error = store.notice_state("w").unwrap_err().to_string();
        assert!(error.contains("no notices are delivered; remove the file"), "{error}");
    }
}
