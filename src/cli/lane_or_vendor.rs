//! The lane or vendor that `pause` and `resume` name, and their replies.

use clap::Args;
use serde_json::Value;

use super::context::CommandContext;
use super::exit::CommandExit;
use crate::error::{Error, Result};
use crate::model::task::object;
use crate::model::{Cooldown, LaneName, limits};

/// The vendor that `pause` and `resume` may name instead of a lane.
#[derive(Args, Debug)]
pub(super) struct VendorArgs {
    /// A vendor instead of a lane: claude, codex, …, or command:PROGRAM
    #[arg(long, value_name = "VENDOR")]
    pub vendor: Option<String>,
    /// Model of the vendor [default: all]
    #[arg(long, value_name = "MODEL", requires = "vendor")]
    model: Option<String>,
}

impl VendorArgs {
    /// Returns the lane that is named if no vendor is.
    ///
    /// # Errors
    /// `Invalid` for a model without a vendor, or a malformed lane name.
    pub(super) fn lane(&self, lane: Option<&str>) -> Result<LaneName> {
        if self.model.is_some() {
            return Err(Error::invalid("--model needs --vendor"));
        }
        LaneName::new(lane.unwrap_or_default())
    }

    /// Returns the model that is named, if any.
    ///
    /// # Errors
    /// `Invalid` for a malformed name of a vendor or a model.
    pub(super) fn model(&self) -> Result<Option<&str>> {
        limits::check_name(self.vendor.clone().unwrap_or_default())?;
        self.model.clone().map(limits::check_name).transpose()?;
        Ok(self.model.as_deref())
    }
}

/// Prints the cooldowns of a vendor that were changed, as JSON.
pub(super) fn print_vendor(
    context: &mut CommandContext,
    status: &str,
    vendor: &str,
    changed: &[Cooldown],
) -> Result<CommandExit> {
    let list: Vec<Value> = changed.iter().map(|cooldown| Value::Object(cooldown.to_object())).collect();
    context.out.object(&object([
        ("status", status.into()),
        ("vendor", vendor.into()),
        ("changed", (!changed.is_empty()).into()),
        ("pauses", list.into()),
    ]))?;
    Ok(CommandExit::Done)
}

/// Prints whether the status of a lane was changed.
pub(super) fn print_lane(
    context: &mut CommandContext,
    status: &str,
    lane: &LaneName,
    changed: bool,
) -> Result<CommandExit> {
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
    Ok(CommandExit::Done)
}
