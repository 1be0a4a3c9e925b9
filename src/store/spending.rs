//! What dispatchers spend, in `budget.json`: counted from the usage log, each line once, when a budget is looked at.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use serde_json::Value;

use super::FileStore;
use super::history::open_read;
use super::json_file::{DocumentChange, JsonFile, admit_any};
use super::layout::{BUDGET, OLD_USAGE, USAGE};
use crate::error::{Error, Result};
use crate::model::LaneName;
use crate::model::json::Object;
use crate::model::spending::{CountedRun, LogPosition, SpendingRecord};
use crate::sha256::sha256_bytes;

/// Reads a line of the usage log; `None` for one that is no run.
pub(crate) type ReadRun = dyn Fn(&str) -> Option<CountedRun>;

const SPENDING: JsonFile<SpendingRecord> = JsonFile {
    name: BUDGET,
    max_bytes: 64 * 1024 * 1024,
    admit: admit_any,
    decode: |file| serde_json::from_value(Value::Object(file)).map_err(|error| error.to_string()),
    encode,
    unreadable: |path, why| {
        Error::corrupt(format!(
            "{path} cannot be read ({why}), so nothing is claimed for a lane with a budget"
        ))
        .with_hint("remove the file; what was spent is then counted again from the usage log")
    },
};

fn encode(record: SpendingRecord) -> Object {
    match serde_json::to_value(record) {
        Ok(Value::Object(file)) => file,
        // A record always has keys.
        _ => Object::new(),
    }
}

impl FileStore {
    pub(crate) fn spending(&self, read_run: &ReadRun) -> Result<SpendingRecord> {
        let mut record = SPENDING.read(self)?;
        self.count_new_runs(&mut record, read_run)?;
        Ok(record)
    }

    pub(crate) fn recorded_spending(&self) -> Result<SpendingRecord> {
        SPENDING.read(self)
    }

    pub(crate) fn change_spending<R>(
        &self,
        read_run: &ReadRun,
        change: impl FnOnce(&mut SpendingRecord) -> Result<R>,
    ) -> Result<R> {
        let (result, freed) = SPENDING.change(self, |record| {
            self.count_new_runs(record, read_run)?;
            let before: Vec<String> = record.over.keys().cloned().collect();
            let result = change(record)?;
            let freed: Vec<LaneName> = before
                .into_iter()
                .filter(|lane| !record.over.contains_key(lane))
                .map(LaneName::stored)
                .collect();
            Ok(DocumentChange::Write((result, freed)))
        })?;
        if !freed.is_empty() {
            self.ring(&freed);
        }
        Ok(result)
    }

    /// Counts the lines of the usage log after the recorded position. A log that was rotated is read on in the old
    /// file; in a log that is another one, everything is counted again.
    fn count_new_runs(&self, record: &mut SpendingRecord, read_run: &ReadRun) -> Result<()> {
        let root = &self.layout.root;
        let fail = |error| Error::io("read", root.path().join(USAGE), error);
        let (new, old) = (open_read(root, USAGE)?, open_read(root, OLD_USAGE)?);
        let position = record.position;
        let continues = |file: &File| -> std::io::Result<bool> {
            let meta = file.metadata()?;
            let is_it = meta.ino() == position.file && meta.len() >= position.bytes;
            Ok(is_it && (position.mark == 0 || mark(file, position.bytes)? == position.mark))
        };
        if let Some(file) = &new
            && continues(file).map_err(fail)?
        {
            let bytes = count(file, position.bytes, record, read_run).map_err(fail)?;
            record.position = position_in(file, bytes).map_err(fail)?;
            return Ok(());
        }
        let from = match &old {
            Some(file) if continues(file).map_err(fail)? => position.bytes,
            _ => {
                record.reset();
                0
            }
        };
        if let Some(file) = &old {
            count(file, from, record, read_run).map_err(fail)?;
        }
        if let Some(file) = &new {
            let bytes = count(file, 0, record, read_run).map_err(fail)?;
            record.position = position_in(file, bytes).map_err(fail)?;
        }
        Ok(())
    }
}

/// Returns the position after some bytes of a log.
fn position_in(file: &File, bytes: u64) -> std::io::Result<LogPosition> {
    Ok(LogPosition { file: file.metadata()?.ino(), bytes, mark: mark(file, bytes)? })
}

/// Returns a hash of the last bytes before an offset of a log, which tells it from another one.
fn mark(file: &File, end: u64) -> std::io::Result<u64> {
    const LENGTH: u64 = 256;
    let mut last = vec![0; end.min(LENGTH) as usize];
    let begin = end - last.len() as u64;
    file.read_exact_at(&mut last, begin)?;
    let hash = sha256_bytes(&last);
    Ok(u64::from_str_radix(&hash.as_str()[..16], 16).unwrap_or_default())
}

/// Counts the whole lines of a log from an offset on. Returns the offset of their end.
fn count(file: &File, mut at: u64, record: &mut SpendingRecord, read_run: &ReadRun) -> std::io::Result<u64> {
    let mut rest: Vec<u8> = Vec::new();
    let mut block = vec![0; 256 * 1024];
    let mut read_to = at;
    loop {
        let length = file.read_at(&mut block, read_to)?;
        if length == 0 {
            return Ok(at);
        }
        read_to += length as u64;
        rest.extend_from_slice(&block[..length]);
        let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else { continue };
        let whole: Vec<u8> = rest.drain(..=end).collect();
        at += whole.len() as u64;
        let text = String::from_utf8_lossy(&whole);
        text.lines().filter_map(read_run).for_each(|run| record.count(&run));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::model::spending::{BudgetLimit, BudgetMeasure, BudgetScope, Budgets};
    use crate::model::{Now, Time};
    use crate::store::StoreOptions;

    /// A line of a log in these tests is the id of a run.
    fn read_run(line: &str) -> Option<CountedRun> {
        Some(CountedRun {
            run: Some(line.to_string()).filter(|line| !line.is_empty()),
            lane: LaneName::stored("work"),
            vendor: "claude".to_string(),
            ended: Time::parse("2026-11-25T12:00:00Z").ok()?,
            usd: Some(1.0),
            tokens: None,
            was_started: true,
        })
    }

    fn spent(record: &SpendingRecord) -> f64 {
        let limit = BudgetLimit { scope: BudgetScope::Store, measure: BudgetMeasure::UsdPerDay, amount: 9.0 };
        let budgets = Budgets { limits: vec![limit], ..Budgets::default() };
        let now = Now::wall_only(Time::parse("2026-11-25T13:00:00Z").unwrap());
        record.uses(&budgets, None, now.wall)[0].spent
    }

    #[test]
    fn each_line_is_counted_once_also_after_a_rotation_and_a_loss() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path(), StoreOptions::default()).unwrap();
        assert_eq!(spent(&store.spending(&read_run).unwrap()), 0.0);
        store.append_usage("a\n").unwrap();
        store.append_usage("b\n").unwrap();
        assert_eq!(spent(&store.change_spending(&read_run, |record| Ok(record.clone())).unwrap()), 2.0);
        assert_eq!(spent(&store.recorded_spending().unwrap()), 2.0);
        store.append_usage("c\nhalf").unwrap();
        assert_eq!(spent(&store.spending(&read_run).unwrap()), 3.0, "half a line is not there yet");
        let count = || store.change_spending(&read_run, |record| Ok(spent(record))).unwrap();
        assert_eq!(count(), 3.0);
        let (new, old) = (dir.path().join("usage.jsonl"), dir.path().join("usage.old.jsonl"));
        std::fs::OpenOptions::new().append(true).open(&new).unwrap().write_all(b"-and-half\nd\n").unwrap();
        #[expect(clippy::disallowed_methods, reason = "as a rotation does it")]
        std::fs::rename(&new, &old).unwrap();
        std::fs::write(&new, "e\n").unwrap();
        assert_eq!(count(), 6.0, "the rest of the old log and the new one");
        std::fs::remove_file(dir.path().join("budget.json")).unwrap();
        assert_eq!(count(), 6.0);
        std::fs::write(&new, "f\n").unwrap();
        std::fs::remove_file(&old).unwrap();
        std::fs::remove_file(&new).unwrap();
        std::fs::write(&new, "g\n").unwrap();
        assert_eq!(count(), 1.0, "a store that was restored counts what its log has");
        std::fs::write(&new, "hh\nii\n").unwrap();
        assert_eq!(count(), 2.0, "another log with the same inode");
        std::fs::write(dir.path().join("budget.json"), "{\"spent\": 1}").unwrap();
        let error = store.spending(&read_run).unwrap_err().to_string();
        assert!(
            error.contains("so nothing is claimed for a lane with a budget")
                && error.contains("remove the file"),
            "{error}"
        );
    }
}
