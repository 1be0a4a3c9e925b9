//! Vendors that want a pause, and the journal of runs.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use serde_json::Value;

use super::layout::{OLD_USAGE, USAGE, VENDORS};
use super::{Store, atomic, reader};
use crate::error::{Error, Result, printable};
use crate::model::task::object;
use crate::model::{AllParked, Obstacle, Parked, Time, Told, json};

/// The parts of vendors.json: pauses, and accounts that are refused.
const PARKED: &str = "parked";
const UNREADY: &str = "unready";
/// The largest vendors.json that is read, in bytes.
const MAX_VENDORS: u64 = 1024 * 1024;
/// Where the usage journal is cut, in bytes: some hundred thousand runs.
const LONGEST_USAGE: u64 = 64 * 1024 * 1024;
/// The largest usage journal read at once, in bytes. Others may have made it longer than we do.
const MAX_USAGE: u64 = 1024 * 1024 * 1024;

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
    /// The pauses that were made last, by key, whether or not their time is over.
    ///
    /// # Errors
    /// `Corrupt` when vendors.json cannot be read: better no run than one against somebody's will.
    pub fn parked_vendors(&self) -> Result<AllParked> {
        let Some(content) = reader::file(&self.layout.root, VENDORS, MAX_VENDORS)? else {
            return Ok(AllParked::new());
        };
        parse_vendors(&content.bytes).ok_or_else(|| {
            let path = self.layout.root.path().join(VENDORS);
            let path = printable(&path.to_string_lossy());
            Error::corrupt(format!("{path} cannot be read, so nothing is claimed for any vendor"))
                .with_hint("remove the file to end the pauses of all vendors")
        })
    }

    /// The pauses that hold at present.
    ///
    /// # Errors
    /// As [`parked_vendors`](Self::parked_vendors).
    pub fn parked_now(&self) -> Result<AllParked> {
        let now = self.now().wall;
        let mut parked = self.parked_vendors()?;
        parked.retain(|_, parked| parked.holds(now));
        Ok(parked)
    }

    /// Changes the pause with this key as `decide` says, which is given what stands there: nobody else
    /// changes it meanwhile. Returns what it said.
    ///
    /// # Errors
    /// `Locked`, `Io`, or `Corrupt` when vendors.json cannot be read, with nothing changed.
    pub fn change_parked(
        &self,
        key: &str,
        decide: impl FnOnce(Option<&Parked>) -> ParkChange,
    ) -> Result<ParkChange> {
        self.check_writable()?;
        let tmp = self.layout.tmp()?;
        let lock = self.lock_store()?;
        let mut all = self.parked_vendors()?;
        let change = decide(all.get(key));
        match &change {
            ParkChange::Keep => return Ok(change),
            ParkChange::Park(parked) => drop(all.insert(key.to_string(), parked.clone())),
            ParkChange::Forget => drop(all.remove(key)),
        }
        let text = vendors_text(&all, self.now().wall);
        // A person's pauses are in it too: a power cut must not take them away.
        atomic::replace_durably(&tmp, &self.layout.root, VENDORS, text.as_bytes())?;
        drop(lock);
        self.ring(&[]);
        Ok(change)
    }

    /// Leaves a vendor, or one of its models, alone because a person says so; what kept it from working
    /// before is forgotten.
    ///
    /// # Errors
    /// `Locked`, `Io`, or `Corrupt` when vendors.json cannot be read, with nothing changed.
    pub fn pause_vendor(
        &self,
        vendor: &str,
        model: Option<&str>,
        until: Time,
        reason: Option<&str>,
    ) -> Result<Parked> {
        let pause = Parked::asked(vendor, model, self.now().wall, until, reason);
        self.change_durably(|all| drop(all.insert(pause.key(), pause.clone())))?;
        Ok(pause)
    }

    /// Uses a vendor again that is left alone, whatever for, and all of its models, or one of its models.
    /// Returns the pauses that held.
    ///
    /// # Errors
    /// `Locked`, `Io`, or `Corrupt` when vendors.json cannot be read, with nothing changed.
    pub fn resume_vendor(&self, vendor: &str, model: Option<&str>) -> Result<Vec<Parked>> {
        let model = model.map(str::to_lowercase);
        let is_meant =
            |parked: &Parked| parked.vendor == vendor && (model.is_none() || parked.model == model);
        let now = self.now().wall;
        let mut ended = Vec::new();
        self.change_durably(|all| {
            ended = all.values().filter(|parked| is_meant(parked) && parked.holds(now)).cloned().collect();
            all.retain(|_, parked| !is_meant(parked));
        })?;
        Ok(ended)
    }

    /// What a person says is on the disk when the call returns.
    fn change_durably(&self, change: impl FnOnce(&mut AllParked)) -> Result<()> {
        self.check_writable()?;
        let tmp = self.layout.tmp()?;
        // Rare, and a person waits for it: here the sync may happen under the lock.
        let lock = self.lock_store()?;
        let mut all = self.parked_vendors()?;
        change(&mut all);
        let text = vendors_text(&all, self.now().wall);
        atomic::replace_durably(&tmp, &self.layout.root, VENDORS, text.as_bytes())?;
        drop(lock);
        self.ring(&[]);
        Ok(())
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
        let fail = |verb, error| Error::io(verb, root.path().join(USAGE), error);
        let mut text = String::new();
        // Somebody was killed while writing: the half line must not take this one with it.
        if is_torn(&file).map_err(|error| fail("read", error))? {
            text.push('\n');
        }
        text.push_str(line);
        // One write: lines of several processes never mix.
        file.write_all(text.as_bytes()).map_err(|error| fail("write", error))
    }

    /// The journal of runs, the old one first, as text.
    pub fn usage(&self) -> Result<String> {
        let read = |name| -> Result<String> {
            let content = reader::file(&self.layout.root, name, MAX_USAGE)?;
            Ok(content
                .map_or_else(String::new, |content| String::from_utf8_lossy(&content.bytes).into_owned()))
        };
        // In this order: a journal that is moved meanwhile is seen twice, which does no harm.
        let new = read(USAGE)?;
        // The last line of the old one may be broken; it must not take the first of the new one with it.
        Ok(read(OLD_USAGE)? + "\n" + &new)
    }
}

/// Whether the last line of a file has no end.
fn is_torn(file: &File) -> std::io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    Ok(file.read_at(&mut byte, last)? == 1 && byte != *b"\n")
}

/// The content of vendors.json. What was over a day ago says nothing any more.
fn vendors_text(all: &AllParked, now: Time) -> String {
    const FORGOTTEN_SECONDS: f64 = 86_400.0;
    // A refused account stands apart: to a lanes that knows nothing of those it is no pause.
    let part = |unready: bool| {
        let is_part = |parked: &Parked| {
            let is_old = !parked.holds(now) && now.seconds_since(parked.until) > FORGOTTEN_SECONDS;
            (parked.obstacle == Obstacle::Account) == unready && !is_old
        };
        Value::Object(all.iter().filter(|(_, parked)| is_part(parked)).map(entry).collect())
    };
    json::to_text(&object([(PARKED, part(false)), (UNREADY, part(true))]))
}

/// The pauses that the content of vendors.json tells of; `None` when it cannot be understood.
fn parse_vendors(bytes: &[u8]) -> Option<AllParked> {
    let file = json::parse_object(bytes).ok()?;
    let mut all = AllParked::new();
    for part in [PARKED, UNREADY].into_iter().filter_map(|part| file.get(part)) {
        for (key, entry) in part.as_object()? {
            all.insert(key.clone(), parked_from(key, entry)?);
        }
    }
    Some(all)
}

fn entry((key, parked): (&String, &Parked)) -> (String, Value) {
    let mut entry = object([
        ("since", parked.since.to_string().into()),
        ("until", parked.until.to_string().into()),
        ("reason", parked.reason.clone().into()),
        ("strikes", parked.strikes.into()),
        ("named", (parked.told > Told::Guess).into()),
        ("exact", (parked.told == Told::Exact).into()),
        ("kind", parked.obstacle.word().into()),
    ]);
    if let Some(model) = &parked.model {
        entry.extend(object([
            ("vendor", parked.vendor.clone().into()),
            ("model", model.clone().into()),
            ("by_default", parked.by_default.into()),
        ]));
    }
    (key.clone(), Value::Object(entry))
}

fn parked_from(key: &str, entry: &Value) -> Option<Parked> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let time = |key: &str| Time::parse(text(key)?).ok();
    let is = |key: &str| entry.get(key).and_then(Value::as_bool).unwrap_or(false);
    Some(Parked {
        vendor: text("vendor").unwrap_or(key).to_string(),
        model: text("model").map(str::to_string),
        by_default: is("by_default"),
        obstacle: Obstacle::parse(text("kind").unwrap_or_default()),
        since: time("since")?,
        until: time("until")?,
        told: match (is("exact"), is("named")) {
            (true, _) => Told::Exact,
            (_, true) => Told::Named,
            _ => Told::Guess,
        },
        reason: text("reason").unwrap_or_default().to_string(),
        strikes: entry
            .get("strikes")
            .and_then(Value::as_u64)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(1),
    })
}
