//! The settings of lanes: pauses in `lanes.json`, descriptions in `board.json`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::FileStore;
use super::json_file::{DecodeResult, DocumentChange, JsonFile, admit_any, cannot_be_read};
use super::layout::{BOARD, LANES};
use crate::error::{Error, Result};
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{LaneName, Time};

/// The pause of a lane: no task of it is handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it was paused.
    pub since: Time,
    /// The reason that a person gave.
    pub reason: Option<String>,
}

const PAUSES: JsonFile<BTreeMap<LaneName, Pause>> = JsonFile {
    name: LANES,
    max_bytes: 16 * 1024 * 1024,
    admit: admit_any,
    decode: decode_pauses,
    encode: encode_pauses,
    unreadable: |path, _| {
        Error::corrupt(format!("{path} cannot be read")).with_hint("remove the file to resume all lanes")
    },
};

/// The one key of lanes.json.
const PAUSED: &str = "paused";

pub(super) fn decode_pauses(file: Object) -> DecodeResult<BTreeMap<LaneName, Pause>> {
    let lanes = file.get(PAUSED).and_then(Value::as_object).ok_or("'paused' is not an object")?;
    let pause = |entry: &Value| -> DecodeResult<Pause> {
        let since = entry.get("since").and_then(Value::as_str).ok_or("'since' is not a text")?;
        let since = Time::parse(since).map_err(|error| error.message().to_string())?;
        let reason = entry.get("reason").and_then(Value::as_str).map(str::to_string);
        Ok(Pause { since, reason })
    };
    lanes.iter().map(|(lane, entry)| Ok((LaneName::stored(lane), pause(entry)?))).collect()
}

pub(super) fn encode_pauses(paused: BTreeMap<LaneName, Pause>) -> Object {
    let entry =
        |pause: Pause| object([("since", pause.since.to_string().into()), ("reason", pause.reason.into())]);
    let lanes: Object = paused.into_iter().map(|(lane, pause)| (lane.into(), entry(pause).into())).collect();
    object([(PAUSED, lanes.into())])
}

/// The whole of board.json, which may contain sections of other programs; they are kept.
const DESCRIPTIONS: JsonFile<Object> = JsonFile {
    name: BOARD,
    max_bytes: 16 * 1024 * 1024,
    admit: admit_any,
    decode: Ok,
    encode: |board| board,
    unreadable: cannot_be_read,
};

/// The section of board.json that describes lanes.
const SECTION: &str = "lanes";

fn section(board: &Object) -> Object {
    board.get(SECTION).and_then(Value::as_object).cloned().unwrap_or_default()
}

impl FileStore {
    pub(crate) fn paused(&self) -> Result<BTreeMap<LaneName, Pause>> {
        PAUSES.read(self)
    }

    pub(crate) fn pause(&self, lane: &LaneName, reason: Option<&str>) -> Result<bool> {
        let since = self.now().wall;
        self.change_pause(lane, |paused| {
            let is_new = !paused.contains_key(lane);
            if is_new {
                paused.insert(lane.clone(), Pause { since, reason: reason.map(str::to_string) });
            }
            is_new
        })
    }

    pub(crate) fn resume(&self, lane: &LaneName) -> Result<bool> {
        self.change_pause(lane, |paused| paused.remove(lane).is_some())
    }

    fn change_pause(
        &self,
        lane: &LaneName,
        change: impl FnOnce(&mut BTreeMap<LaneName, Pause>) -> bool,
    ) -> Result<bool> {
        let changed = PAUSES.change(self, |paused| match change(paused) {
            true => Ok(DocumentChange::Write(true)),
            false => Ok(DocumentChange::Keep(false)),
        })?;
        self.ring([lane]);
        Ok(changed)
    }

    pub(crate) fn lane_descriptions(&self) -> Result<Object> {
        DESCRIPTIONS.read(self).map(|board| section(&board))
    }

    pub(crate) fn change_lane_descriptions(
        &self,
        change: impl FnOnce(&mut Object) -> Result<()>,
    ) -> Result<()> {
        DESCRIPTIONS.change(self, |board| {
            let mut lanes = section(board);
            change(&mut lanes)?;
            board.insert(SECTION.to_string(), lanes.into());
            Ok(DocumentChange::Write(()))
        })
    }

    #[cfg(feature = "cli")]
    pub(crate) fn server_lanes(&self) -> BTreeMap<LaneName, String> {
        BTreeMap::new()
    }
}
