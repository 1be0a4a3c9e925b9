//! Times in the files of runs: RFC 3339 text. Text that is not a time is read as `None` and does not make the rest of
//! the record unreadable; `None` is written as an empty text.

use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

use crate::model::Time;

pub(super) fn serialize<S: Serializer>(time: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
    time.as_ref().map(Time::to_string).unwrap_or_default().serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    Ok(Time::parse(&String::deserialize(deserializer)?).ok())
}
