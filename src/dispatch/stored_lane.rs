//! Names of lanes in the files of runs: kept as they were written, because they were checked before.

use serde::{Deserialize as _, Deserializer};

use crate::model::LaneName;

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LaneName, D::Error> {
    String::deserialize(deserializer).map(LaneName::stored)
}
