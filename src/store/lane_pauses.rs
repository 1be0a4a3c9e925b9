//! Paused lanes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::layout::{LANES, Layout};
use super::{Store, atomic, reader};
use crate::error::{Error, Result, printable};
use crate::model::task::object;
use crate::model::{Time, json};

/// Since when and why a lane hands out nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it was paused.
    pub since: Time,
    /// Why, in a person's words.
    pub reason: Option<String>,
}

impl Store {
    /// The lanes that hand out nothing at present.
    ///
    /// # Errors
    /// `Corrupt` when lanes.json cannot be read: better no claim than one against somebody's will.
    pub fn paused(&self) -> Result<BTreeMap<String, Pause>> {
        read_paused(&self.layout)
    }

    /// Stops handing out tasks of a lane; what is claimed stays claimed. `false`: it was paused.
    pub fn pause(&self, lane: &str, reason: Option<&str>) -> Result<bool> {
        let since = self.now().wall;
        self.change_paused(lane, |paused| {
            let new = !paused.contains_key(lane);
            if new {
                paused.insert(lane.to_string(), Pause { since, reason: reason.map(str::to_string) });
            }
            new
        })
    }

    /// Hands out tasks of a lane again. `false`: it was not paused.
    pub fn resume(&self, lane: &str) -> Result<bool> {
        self.change_paused(lane, |paused| paused.remove(lane).is_some())
    }

    fn change_paused(
        &self,
        lane: &str,
        change: impl FnOnce(&mut BTreeMap<String, Pause>) -> bool,
    ) -> Result<bool> {
        self.check_writable()?;
        let tmp = self.layout.tmp()?;
        // Rare, and a person waits for it: here the sync may happen under the lock.
        let lock = self.lock_store()?;
        let mut paused = self.paused()?;
        let changed = change(&mut paused);
        if changed {
            atomic::replace_durably(&tmp, &self.layout.root, LANES, text(&paused).as_bytes())?;
        }
        drop(lock);
        self.ring(&[lane]);
        Ok(changed)
    }
}

fn text(paused: &BTreeMap<String, Pause>) -> String {
    let lanes: json::Object = paused
        .iter()
        .map(|(lane, pause)| {
            let reason = pause.reason.clone().map_or(Value::Null, Value::from);
            let entry = object([("since", pause.since.to_string().into()), ("reason", reason)]);
            (lane.clone(), Value::Object(entry))
        })
        .collect();
    json::to_text(&object([("paused", Value::Object(lanes))]))
}

fn read_paused(layout: &Layout) -> Result<BTreeMap<String, Pause>> {
    let Some(content) = reader::file(&layout.root, LANES, 16 * 1024 * 1024)? else {
        return Ok(BTreeMap::new());
    };
    let broken = || {
        let path = layout.root.path().join(LANES);
        Error::corrupt(format!("{} cannot be read", printable(&path.to_string_lossy())))
            .with_hint("remove the file to resume all lanes")
    };
    let object = json::parse_object(&content.bytes).map_err(|_| broken())?;
    let lanes = object.get("paused").and_then(Value::as_object).ok_or_else(broken)?;
    lanes
        .iter()
        .map(|(lane, entry)| {
            let since = entry.get("since").and_then(Value::as_str).ok_or_else(broken)?;
            let since = Time::parse(since).map_err(|_| broken())?;
            let reason = entry.get("reason").and_then(Value::as_str).map(str::to_string);
            Ok((lane.clone(), Pause { since, reason }))
        })
        .collect()
}
