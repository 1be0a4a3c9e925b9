//! What has become of schedules, in `schedules.json`: up to which time their tasks are submitted.
//!
//! A task is submitted before its time is recorded, under an idempotency key that names schedule and time. So a
//! process that dies in between, or two that run schedules at once, submit it once.

use std::collections::BTreeMap;

use serde_json::Value;

use super::FileStore;
use super::json_file::{DecodeResult, DocumentChange, JsonFile, admit_any};
use super::layout::SCHEDULES;
use crate::error::{Error, Result};
use crate::model::Time;
use crate::model::json::Object;
use crate::model::task::object;

/// What has become of one schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRecord {
    /// The expression and time zone that this is about; with others, the schedule begins anew.
    pub rule: String,
    /// Every time until this one is done with.
    pub until: Time,
    /// The time for which the last task was submitted, and the id of the task.
    pub last: Option<(Time, String)>,
}

/// What has become of all schedules, by workspace id and name.
pub type ScheduleRecords = BTreeMap<(String, String), ScheduleRecord>;

/// The one key of schedules.json.
const WORKSPACES: &str = "workspaces";

const RECORDS: JsonFile<ScheduleRecords> = JsonFile {
    name: SCHEDULES,
    max_bytes: 16 * 1024 * 1024,
    admit: admit_any,
    decode,
    encode,
    unreadable: |path, why| {
        Error::corrupt(format!("{path} cannot be read ({why}), so no schedule submits anything"))
            .with_hint("remove the file; every schedule then starts over at its next time")
    },
};

fn decode(file: Object) -> DecodeResult<ScheduleRecords> {
    let workspaces =
        file.get(WORKSPACES).and_then(Value::as_object).ok_or("'workspaces' is not an object")?;
    let mut records = ScheduleRecords::new();
    for (workspace, schedules) in workspaces {
        let schedules = schedules.as_object().ok_or("a workspace is not an object")?;
        for (name, entry) in schedules {
            records.insert((workspace.clone(), name.clone()), decode_record(entry)?);
        }
    }
    Ok(records)
}

fn decode_record(entry: &Value) -> DecodeResult<ScheduleRecord> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let time = |text: &str| Time::parse(text).map_err(|error| error.message().to_string());
    Ok(ScheduleRecord {
        rule: text("rule").ok_or("'rule' is not a text")?.to_string(),
        until: time(text("until").ok_or("'until' is not a text")?)?,
        last: match (text("last"), text("last_task")) {
            (Some(last), Some(task)) => Some((time(last)?, task.to_string())),
            _ => None,
        },
    })
}

fn encode(records: ScheduleRecords) -> Object {
    let mut workspaces = Object::new();
    for ((workspace, name), record) in records {
        let (last, task) = record.last.map(|(time, task)| (time.to_string(), task)).unzip();
        let entry = object([
            ("rule", record.rule.into()),
            ("until", record.until.to_string().into()),
            ("last", last.into()),
            ("last_task", task.into()),
        ]);
        let schedules = workspaces.entry(workspace).or_insert_with(|| Object::new().into());
        if let Value::Object(schedules) = schedules {
            schedules.insert(name, entry.into());
        }
    }
    object([(WORKSPACES, workspaces.into())])
}

impl FileStore {
    pub(crate) fn schedule_records(&self) -> Result<ScheduleRecords> {
        RECORDS.read(self)
    }

    pub(crate) fn record_schedule(&self, workspace: &str, name: &str, record: &ScheduleRecord) -> Result<()> {
        RECORDS.change(self, |all| {
            let key = (workspace.to_string(), name.to_string());
            let is_behind = |known: &ScheduleRecord| known.rule == record.rule && known.until >= record.until;
            if all.get(&key).is_some_and(is_behind) {
                return Ok(DocumentChange::Keep(()));
            }
            all.insert(key, record.clone());
            Ok(DocumentChange::Write(()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    #[test]
    fn records_that_cannot_be_read_stop_every_schedule() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path(), StoreOptions::default()).unwrap();
        let until = Time::parse("2026-01-01T00:00:00Z").unwrap();
        let record = ScheduleRecord { rule: "@daily UTC".into(), until, last: None };
        std::fs::write(dir.path().join("schedules.json"), "{\"workspaces\": []}").unwrap();
        let error = store.record_schedule("w", "nightly", &record).unwrap_err().to_string();
        assert!(
            error.contains("no schedule submits anything") && error.contains("remove the file"),
            "{error}"
        );
    }
}
