//! Connects to the board that the settings of a bridge name.

use super::board::{Board, BoardError, BoardErrorCode, BoardResult};
use super::settings::{AdapterSettings, BridgeSettings};

/// Connects to the board of a bridge.
///
/// # Errors
/// Those of the board.
pub(crate) fn connect(settings: &BridgeSettings) -> BoardResult<Box<dyn Board>> {
    let name = match &settings.adapter {
        AdapterSettings::Json { .. } => "json",
        AdapterSettings::Planka { .. } => "planka",
        AdapterSettings::Program { .. } => "a program",
    };
    Err(BoardError::new(BoardErrorCode::Unsupported, format!("this build has no adapter for {name}")))
}
