//! `lanes pause` and `lanes resume`: whether a lane hands out tasks.

use clap::Args;

use super::context::Context;
use crate::error::{EXIT_OK, Result, printable};
use crate::model::task::object;
use crate::workspace::check_lane;

/// Stop handing out the tasks of a lane.
///
/// Submitting goes on, and claimed tasks can be answered.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes pause deploy --reason 'code freeze'")]
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
        let store = context.store_to_change()?;
        let changed = store.pause(&self.lane, self.reason.as_deref())?;
        // A name that was mistyped would leave the lane that was meant open.
        if store.lane_has_tasks(&self.lane).is_ok_and(|used| !used) {
            context.out.note(&format!("lanes: nothing was ever submitted to lane {}", printable(&self.lane)));
        }
        tell(context, "paused", &self.lane, changed)
    }
}

/// Hand out the tasks of a paused lane again.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes resume deploy")]
pub struct ResumeCommand {
    /// The lane
    #[arg(value_name = "LANE")]
    lane: String,
}

impl ResumeCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<u8> {
        check_lane(&self.lane)?;
        let changed = context.store_to_change()?.resume(&self.lane)?;
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
