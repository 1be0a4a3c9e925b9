//! Connects to the board that the settings of a bridge name.

use std::path::Path;
use std::sync::Arc;

use super::adapter::{AdapterProgram, ProgramBoard};
use super::board::{Board, BoardError, BoardErrorCode, BoardResult};
use super::engine::BridgeContext;
#[cfg(feature = "planka")]
use super::event::{BridgeEvent, BridgeEventKind};
use super::json_board::JsonBoard;
#[cfg(feature = "planka")]
use super::planka::PlankaBoard;
use super::settings::AdapterSettings;
#[cfg(feature = "planka")]
use crate::workspace::Secrets;

/// Connects to the board of a bridge.
///
/// # Errors
/// Those of the board.
pub(crate) fn connect(context: &BridgeContext<'_>) -> BoardResult<Box<dyn Board>> {
    match &context.settings.adapter {
        AdapterSettings::Json { path } => Ok(Box::new(JsonBoard::open(path.clone())?)),
        AdapterSettings::Planka { url, env_file, ca_file } => {
            connect_to_planka(context, url, env_file.as_deref(), ca_file.as_deref())
        }
        AdapterSettings::Program { argv, directory, env_file, secrets, config, call_timeout } => {
            let program = AdapterProgram {
                argv: argv.clone(),
                directory: directory.clone(),
                env_file: env_file.clone(),
                secrets: secrets.clone(),
                config: config.clone(),
                call_timeout: *call_timeout,
                environment: context.environment.to_vec(),
                log: Arc::clone(context.adapter_log),
                stop: Arc::clone(context.stop),
            };
            Ok(Box::new(ProgramBoard::connect(program)?))
        }
    }
}

#[cfg(feature = "planka")]
fn connect_to_planka(
    context: &BridgeContext<'_>,
    url: &str,
    env_file: Option<&Path>,
    ca_file: Option<&Path>,
) -> BoardResult<Box<dyn Board>> {
    let secrets = Secrets::read(env_file, context.environment.to_vec())
        .map_err(|error| BoardError::new(BoardErrorCode::Invalid, error.to_string()))?;
    if let Some(warning) = secrets.warning() {
        (context.observe)(BridgeEvent::new(BridgeEventKind::Warning, warning));
    }
    let rate = context.settings.requests_per_second;
    Ok(Box::new(PlankaBoard::connect(url, &secrets, ca_file, rate, context.stop)?))
}

#[cfg(not(feature = "planka"))]
fn connect_to_planka(
    _: &BridgeContext<'_>,
    _: &str,
    _: Option<&Path>,
    _: Option<&Path>,
) -> BoardResult<Box<dyn Board>> {
    let message = "this build of lanes cannot reach Planka; build it with the feature planka";
    Err(BoardError::new(BoardErrorCode::Unsupported, message))
}
