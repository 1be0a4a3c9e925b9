//! `lanes resume`: allows claims of a lane's tasks, or claims for a vendor, again.

use clap::{ArgGroup, Args};

use super::context::CommandContext;
use super::exit::CommandExit;
use super::lane_or_vendor::{VendorArgs, print_lane, print_vendor};
use crate::error::{Result, printable};

/// Resume a lane that is paused, or a vendor that is not used.
///
/// For a vendor, every cooldown is cleared: a pause, a usage limit, a refused account.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").args(["lane", "vendor"]).required(true)))]
#[command(
    override_usage = "lanes resume [OPTIONS] <LANE>\n       lanes resume [OPTIONS] --vendor <VENDOR>",
    after_help = "Examples:\n  lanes resume deploy\n  lanes resume --vendor claude"
)]
pub(super) struct ResumeCommand {
    /// Lane to resume
    #[arg(value_name = "LANE")]
    lane: Option<String>,
    #[command(flatten)]
    vendor: VendorArgs,
}

impl ResumeCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        if let Some(vendor) = &self.vendor.vendor {
            let ended = context.store_for_settings()?.resume_vendor(vendor, self.vendor.model()?)?;
            if !context.out.json {
                let vendor = printable(vendor);
                match ended.is_empty() {
                    true => context.out.line(&format!("{vendor} was not paused"))?,
                    false => ended.iter().try_for_each(|pause| {
                        context.out.line(&printable(&format!("{} resumed", pause.name())))
                    })?,
                }
                return Ok(CommandExit::Done);
            }
            return print_vendor(context, "resumed", vendor, &ended);
        }
        let lane = self.vendor.lane(self.lane.as_deref())?;
        let store = context.store_for_settings()?;
        let changed = store.resume(&lane)?;
        if !changed {
            context.note_misspelt_lane(&store, Some(lane.as_str()));
        }
        print_lane(context, "resumed", &lane, changed)
    }
}
