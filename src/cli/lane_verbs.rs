//! `lanes pause` and `lanes resume`: whether a lane hands out tasks.

use clap::Args;

use super::context::Context;
use crate::error::{EXIT_OK, Result};
use crate::model::task::object;
use crate::workspace::check_lane;

/// Stop handing out the tasks of a lane.
///
/// Submitting goes on, and claimed tasks can be answered.
#[derive(Args, Debug)]
pub struct PauseCommand {
    /// The lane
    #[arg(value_name = "LANE")]
    lane: String,
    /// Why, for whoever asks
    #[arg(long)]
    reason: Option<String>,
}

impl PauseCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<u8> {
        check_lane(&self.lane)?;
        let changed = context.store()?.pause(&self.lane, self.reason.as_deref())?;
        tell(context, "paused", &self.lane, changed)
    }
}

/// Hand out the tasks of a paused lane again.
#[derive(Args, Debug)]
pub struct ResumeCommand {
    /// The lane
    #[arg(value_name = "LANE")]
    lane: String,
}

impl ResumeCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<u8> {
        check_lane(&self.lane)?;
        let changed = context.store()?.resume(&self.lane)?;
        tell(context, "resumed", &self.lane, changed)
    }
}

fn tell(context: &mut Context, status: &str, lane: &str, changed: bool) -> Result<u8> {
    if context.out.json {
        context.out.object(&object([
            ("status", status.into()),
            ("lane", lane.into()),
            ("changed", changed.into()),
        ]))?;
    } else if changed {
        context.out.line(&format!("{lane} {status}"))?;
    } else {
        context.out.line(&format!("{lane} was {status} already"))?;
    }
    Ok(EXIT_OK)
}
