//! Vendors that want a pause, and the journal of runs.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde_json::Value;

use super::layout::{USAGE, VENDORS};
use super::{Store, atomic, read};
use crate::error::Result;
use crate::model::task::object;
use crate::model::{Time, json};

/// The largest usage journal read at once, in bytes.
const MAX_USAGE: u64 = 1024 * 1024 * 1024;

/// Until when and why a vendor is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Since when.
    pub since: Time,
    /// Until when.
    pub until: Time,
    /// Why, in the vendor's words.
    pub reason: String,
    /// How often in a row it was parked.
    pub strikes: u32,
}

impl Store {
    /// The vendors that were parked last, whether or not their time is over. What cannot be read
    /// counts as nothing: the vendor itself will say again that it wants a pause.
    pub fn parked_vendors(&self) -> BTreeMap<String, Parked> {
        let content = read::file(&self.layout.root, VENDORS, 1024 * 1024).ok().flatten();
        let object = content.and_then(|content| json::parse_object(&content.bytes).ok());
        let parked = object.as_ref().and_then(|object| object.get("parked")).and_then(Value::as_object);
        parked
            .into_iter()
            .flatten()
            .filter_map(|(vendor, entry)| Some((vendor.clone(), parked_from(entry)?)))
            .collect()
    }

    /// The vendors that are left alone at present.
    pub fn parked_now(&self) -> BTreeMap<String, Parked> {
        let now = self.now().wall;
        let mut parked = self.parked_vendors();
        parked.retain(|_, parked| now < parked.until);
        parked
    }

    /// Parks a vendor, or forgets that it was parked.
    pub fn park_vendor(&self, vendor: &str, parked: Option<Parked>) -> Result<()> {
        self.check_writable()?;
        let lock = self.lock_store()?;
        let mut all = self.parked_vendors();
        match parked {
            Some(parked) => all.insert(vendor.to_string(), parked),
            None => all.remove(vendor),
        };
        let text = json::to_text(&object([("parked", Value::Object(all.iter().map(entry).collect()))]));
        atomic::replace_derived(&self.layout.root, VENDORS, text.as_bytes())?;
        drop(lock);
        self.ring(&[]);
        Ok(())
    }

    /// Adds a line to the journal of runs.
    pub fn append_usage(&self, line: &str) -> Result<()> {
        let mut file = atomic::open_for_append(&self.layout.root, USAGE)?;
        // One write: lines of several processes never mix.
        file.write_all(line.as_bytes())
            .map_err(|error| crate::error::Error::io("write", self.layout.root.path().join(USAGE), error))
    }

    /// The journal of runs, as text.
    pub fn usage(&self) -> Result<String> {
        let content = read::file(&self.layout.root, USAGE, MAX_USAGE)?;
        Ok(content.map_or_else(String::new, |content| String::from_utf8_lossy(&content.bytes).into_owned()))
    }
}

fn entry((vendor, parked): (&String, &Parked)) -> (String, Value) {
    let entry = object([
        ("since", parked.since.to_string().into()),
        ("until", parked.until.to_string().into()),
        ("reason", parked.reason.clone().into()),
        ("strikes", parked.strikes.into()),
    ]);
    (vendor.clone(), Value::Object(entry))
}

fn parked_from(entry: &Value) -> Option<Parked> {
    let time = |key: &str| Time::parse(entry.get(key)?.as_str()?).ok();
    Some(Parked {
        since: time("since")?,
        until: time("until")?,
        reason: entry.get("reason").and_then(Value::as_str).unwrap_or_default().to_string(),
        strikes: entry
            .get("strikes")
            .and_then(Value::as_u64)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(1),
    })
}
