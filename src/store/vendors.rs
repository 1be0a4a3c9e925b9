//! Vendors that want a pause, and the journal of runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;

use serde_json::Value;

use super::layout::{OLD_USAGE, USAGE, VENDORS};
use super::{Store, atomic, read};
use crate::error::Result;
use crate::model::task::object;
use crate::model::{Time, json};

/// Where the usage journal is cut, in bytes: some hundred thousand runs.
const LONGEST_USAGE: u64 = 64 * 1024 * 1024;
/// The largest usage journal read at once, in bytes. Others may have made it longer than we do.
const MAX_USAGE: u64 = 1024 * 1024 * 1024;

/// Until when and why a vendor is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Since when.
    pub since: Time,
    /// Until when.
    pub until: Time,
    /// Who says until when.
    pub told: Told,
    /// Why, in the vendor's words.
    pub reason: String,
    /// How often in a row it was parked.
    pub strikes: u32,
}

/// Who says until when a pause lasts, the least certain first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// Nobody; it is a guess.
    Guess,
    /// The vendor, in words for people, which are cut to the minute.
    Named,
    /// The vendor, in a figure for programs.
    Exact,
}

/// What becomes of a vendor's pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParkChange {
    /// It stays as it is.
    Keep,
    /// This is the pause from now on.
    Park(Parked),
    /// There is none any more.
    Forget,
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

    /// Changes the pause of a vendor as `decide` says, which is given what stands there: nobody else
    /// changes it meanwhile. Returns what it said.
    pub fn change_parked(
        &self,
        vendor: &str,
        decide: impl FnOnce(Option<&Parked>) -> ParkChange,
    ) -> Result<ParkChange> {
        self.check_writable()?;
        let lock = self.lock_store()?;
        let mut all = self.parked_vendors();
        let change = decide(all.get(vendor));
        match &change {
            ParkChange::Keep => return Ok(change),
            ParkChange::Park(parked) => drop(all.insert(vendor.to_string(), parked.clone())),
            ParkChange::Forget => drop(all.remove(vendor)),
        }
        let text = json::to_text(&object([("parked", Value::Object(all.iter().map(entry).collect()))]));
        atomic::replace_derived(&self.layout.root, VENDORS, text.as_bytes())?;
        drop(lock);
        self.ring(&[]);
        Ok(change)
    }

    /// Adds a line to the journal of runs. A journal that has become too long becomes the old one, and
    /// the one that was old before is gone.
    pub fn append_usage(&self, line: &str) -> Result<()> {
        let root = &self.layout.root;
        let is_long = |file: &File| file.metadata().is_ok_and(|meta| meta.len() >= LONGEST_USAGE);
        let mut file = atomic::open_for_append(root, USAGE)?;
        if is_long(&file) {
            let _lock = self.lock_store()?;
            // Again under the lock: only the first who sees it moves it.
            if is_long(&atomic::open_for_append(root, USAGE)?) {
                atomic::rename_derived(root, USAGE, root, OLD_USAGE)?;
            }
            file = atomic::open_for_append(root, USAGE)?;
        }
        // One write: lines of several processes never mix.
        file.write_all(line.as_bytes())
            .map_err(|error| crate::error::Error::io("write", root.path().join(USAGE), error))
    }

    /// The journal of runs, the old one first, as text.
    pub fn usage(&self) -> Result<String> {
        let read = |name| -> Result<String> {
            let content = read::file(&self.layout.root, name, MAX_USAGE)?;
            Ok(content
                .map_or_else(String::new, |content| String::from_utf8_lossy(&content.bytes).into_owned()))
        };
        // In this order: a journal that is moved meanwhile is seen twice, which does no harm.
        let new = read(USAGE)?;
        // The last line of the old one may be broken; it must not take the first of the new one with it.
        Ok(read(OLD_USAGE)? + "\n" + &new)
    }
}

fn entry((vendor, parked): (&String, &Parked)) -> (String, Value) {
    let entry = object([
        ("since", parked.since.to_string().into()),
        ("until", parked.until.to_string().into()),
        ("reason", parked.reason.clone().into()),
        ("strikes", parked.strikes.into()),
        ("named", (parked.told > Told::Guess).into()),
        ("exact", (parked.told == Told::Exact).into()),
    ]);
    (vendor.clone(), Value::Object(entry))
}

fn parked_from(entry: &Value) -> Option<Parked> {
    let time = |key: &str| Time::parse(entry.get(key)?.as_str()?).ok();
    let is = |key: &str| entry.get(key).and_then(Value::as_bool).unwrap_or(false);
    Some(Parked {
        since: time("since")?,
        until: time("until")?,
        told: match (is("exact"), is("named")) {
            (true, _) => Told::Exact,
            (_, true) => Told::Named,
            _ => Told::Guess,
        },
        reason: entry.get("reason").and_then(Value::as_str).unwrap_or_default().to_string(),
        strikes: entry
            .get("strikes")
            .and_then(Value::as_u64)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(1),
    })
}
