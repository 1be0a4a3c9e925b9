//! `lanes pause`: stops claims of a lane's tasks, or claims of any task for a vendor.

use clap::{ArgGroup, Args};

use super::args::seconds;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::lane_or_vendor::{VendorArgs, print_lane, print_vendor};
use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::load::load;
use crate::error::{Error, Result, printable};
use crate::model::cooldown::pause_end;
use crate::model::{Time, limits};
use crate::store::Store;
use crate::workspace::did_you_mean;

/// The prefix of the account name of a program without a vendor.
const COMMAND_PREFIX: &str = "command:";

/// Pause a lane or a vendor: none of its tasks is claimed.
///
/// Tasks can still be submitted to a paused lane, and claimed tasks answered. No dispatcher uses a paused
/// vendor; with --model, only that model is paused.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").args(["lane", "vendor"]).required(true)))]
#[command(
    override_usage = "lanes pause [OPTIONS] <LANE>\n       lanes pause [OPTIONS] --vendor <VENDOR>",
    after_help = "Examples:\n  lanes pause deploy --reason 'code freeze'\n  lanes pause --vendor claude --model opus --for 2h"
)]
pub(super) struct PauseCommand {
    /// Lane to pause
    #[arg(value_name = "LANE")]
    lane: Option<String>,
    #[command(flatten)]
    vendor: VendorArgs,
    /// Length of a vendor's pause: seconds, or 15m, 2h, 1d [default: until it is resumed]
    #[arg(long = "for", value_name = "SPAN", value_parser = seconds, requires = "vendor", conflicts_with = "until")]
    length: Option<f64>,
    /// End of a vendor's pause, as an RFC 3339 time
    #[arg(long, value_name = "TIME", requires = "vendor")]
    until: Option<String>,
    /// Reason, for others to read
    #[arg(long)]
    reason: Option<String>,
}

impl PauseCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        if let Some(vendor) = &self.vendor.vendor {
            return self.pause_vendor(context, vendor);
        }
        if self.length.is_some() || self.until.is_some() {
            return Err(Error::invalid(
                "--for and --until need --vendor; a lane is paused until it is resumed",
            ));
        }
        let lane = self.vendor.lane(self.lane.as_deref())?;
        let store = context.store_for_settings()?;
        let misspelt = context.misspelt_lane(&store, &lane);
        let changed = store.pause(&lane, self.reason.as_deref())?;
        // After a typing error, the intended lane would stay open.
        if store.lane_has_tasks(&lane).is_ok_and(|used| !used) {
            let plain = || format!("nothing was ever submitted to lane {}", printable(lane.as_str()));
            context.out.note(&format!("lanes: {}", misspelt.unwrap_or_else(plain)));
        }
        print_lane(context, "paused", &lane, changed)
    }

    fn pause_vendor(&self, context: &mut CommandContext, vendor: &str) -> Result<CommandExit> {
        let model = self.vendor.model()?;
        let until = self.until.as_deref().map(parse_until).transpose()?;
        if let Some(reason) = &self.reason {
            limits::check_short_text("the reason", reason)?;
        }
        let store = context.store_for_settings()?;
        let until = pause_end(store.now().wall, self.length, until)?;
        let pause = store.pause_vendor(vendor, model, until, self.reason.as_deref())?;
        // After a typing error, the intended vendor would stay in use.
        if let Some(known) = known_vendors_without(context, &store, vendor) {
            let vendor = printable(vendor);
            context.out.note(&format!("lanes: unknown vendor {vendor}; known vendors are {known}"));
        }
        if !context.out.json {
            let line = context.out.sentence(&pause.describe());
            context.out.line(&printable(&line))?;
            return Ok(CommandExit::Done);
        }
        print_vendor(context, "paused", vendor, &[pause])
    }
}

/// Returns the names of the known vendors if `vendor` is not one of them. Returns `None` for a program without a
/// vendor, whose name is `command:PROGRAM`, and if the settings cannot be read.
fn known_vendors_without(context: &CommandContext, store: &Store, vendor: &str) -> Option<String> {
    if vendor.starts_with(COMMAND_PREFIX) {
        return None;
    }
    let settings = load(&context.config().ok()?, store, &ConsentPolicy::AllowAll).ok()?;
    let known: Vec<&str> = settings.vendors.names().collect();
    let similar = did_you_mean(vendor, &known).map_or(String::new(), |similar| format!("; {similar}"));
    (!known.contains(&vendor)).then(|| format!("{}{similar}", known.join(", ")))
}

/// Parses the value of `--until`.
fn parse_until(text: &str) -> Result<Time> {
    Time::parse(text).map_err(|_| {
        Error::invalid(format!("--until is not a valid RFC 3339 time: {}", printable(text)))
            .with_hint("write it as 2026-12-24T18:00:00Z, or with an offset such as +01:00 in place of Z")
    })
}
