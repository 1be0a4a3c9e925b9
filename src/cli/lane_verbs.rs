//! `lanes pause` and `lanes resume`: whether a lane hands out tasks, and whether a vendor gets any.

use clap::Args;
use serde_json::Value;

use super::args::span;
use super::context::Context;
use super::exit::CommandExit;
use crate::dispatch::config::consent::Gate;
use crate::dispatch::config::load::load;
use crate::error::{Error, Result, printable};
use crate::model::cooldown::pause_end;
use crate::model::task::object;
use crate::model::{Parked, Time, limits};
use crate::store::Store;
use crate::workspace::check_lane;

/// What the names of programs without a vendor begin with.
const COMMAND_PREFIX: &str = "command:";

/// Stop handing out the tasks of a lane, or giving any to a vendor.
///
/// Submitting goes on, and claimed tasks can be answered. A paused vendor is left alone by all dispatchers;
/// with --model, one of its models is.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lanes pause deploy --reason 'code freeze'\n  lanes pause --vendor claude --model opus --for 2h"
)]
pub struct PauseCommand {
    /// The lane
    #[arg(value_name = "LANE", required_unless_present = "vendor")]
    lane: Option<String>,
    #[command(flatten)]
    vendor: VendorArgs,
    /// For how long, for a vendor: seconds, or 15m, 2h, 1d [until it is resumed]
    #[arg(long = "for", value_name = "SPAN", value_parser = span, requires = "vendor", conflicts_with = "until")]
    length: Option<f64>,
    /// Until when, for a vendor: RFC 3339
    #[arg(long, value_name = "TIME", requires = "vendor")]
    until: Option<String>,
    /// Why, for whoever asks
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Args, Debug)]
struct VendorArgs {
    /// A vendor instead of a lane: claude, codex, …, or command:PROGRAM
    #[arg(long, value_name = "VENDOR", conflicts_with = "lane")]
    vendor: Option<String>,
    /// One model of the vendor
    #[arg(long, value_name = "MODEL", requires = "vendor")]
    model: Option<String>,
}

impl VendorArgs {
    /// The lane that is meant, as no vendor is.
    fn lane<'l>(&self, lane: Option<&'l str>) -> Result<&'l str> {
        if self.model.is_some() {
            return Err(Error::invalid("--model goes with --vendor"));
        }
        let lane = lane.unwrap_or_default();
        check_lane(lane).map(|()| lane)
    }

    /// The model, if the names may be ones.
    fn model(&self) -> Result<Option<&str>> {
        limits::name(self.vendor.clone().unwrap_or_default())?;
        self.model.clone().map(limits::name).transpose()?;
        Ok(self.model.as_deref())
    }
}

impl PauseCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<CommandExit> {
        if let Some(vendor) = &self.vendor.vendor {
            return self.pause_vendor(context, vendor);
        }
        if self.length.is_some() || self.until.is_some() {
            return Err(Error::invalid(
                "--for and --until go with --vendor; a lane is paused until it is resumed",
            ));
        }
        let lane = self.vendor.lane(self.lane.as_deref())?;
        let store = context.store_to_change()?;
        let changed = store.pause(lane, self.reason.as_deref())?;
        // A name that was mistyped would leave the lane that was meant open.
        if store.lane_has_tasks(lane).is_ok_and(|used| !used) {
            context.out.note(&format!("lanes: nothing was ever submitted to lane {}", printable(lane)));
        }
        tell(context, "paused", lane, changed)
    }

    fn pause_vendor(&self, context: &mut Context, vendor: &str) -> Result<CommandExit> {
        let model = self.vendor.model()?;
        let until = self.until.as_deref().map(time).transpose()?;
        if let Some(reason) = &self.reason {
            limits::word("the reason", reason)?;
        }
        let store = context.store_to_change()?;
        let until = pause_end(store.now().wall, self.length, until)?;
        let pause = store.pause_vendor(vendor, model, until, self.reason.as_deref())?;
        // A name that was mistyped would leave the vendor that was meant at work.
        if let Some(known) = known_without(context, &store, vendor) {
            let vendor = printable(vendor);
            context.out.note(&format!("lanes: no vendor is called {vendor} here; known are {known}"));
        }
        if !context.out.json {
            context.out.line(&printable(&pause.words()))?;
            return Ok(CommandExit::Done);
        }
        tell_vendor(context, "paused", vendor, &[pause])
    }
}

/// Hand out the tasks of a paused lane again, or use a vendor again that is left alone.
///
/// Whatever keeps a vendor from working is forgotten: a pause, a usage limit, a refused account.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes resume deploy\n  lanes resume --vendor claude")]
pub struct ResumeCommand {
    /// The lane
    #[arg(value_name = "LANE", required_unless_present = "vendor")]
    lane: Option<String>,
    #[command(flatten)]
    vendor: VendorArgs,
}

impl ResumeCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<CommandExit> {
        if let Some(vendor) = &self.vendor.vendor {
            let ended = context.store_to_change()?.resume_vendor(vendor, self.vendor.model()?)?;
            if !context.out.json {
                let vendor = printable(vendor);
                match ended.is_empty() {
                    true => context.out.line(&format!("{vendor} was not left alone"))?,
                    false => ended.iter().try_for_each(|pause| {
                        context.out.line(&printable(&format!("{} resumed", pause.name())))
                    })?,
                }
                return Ok(CommandExit::Done);
            }
            return tell_vendor(context, "resumed", vendor, &ended);
        }
        let lane = self.vendor.lane(self.lane.as_deref())?;
        let changed = context.store_to_change()?.resume(lane)?;
        tell(context, "resumed", lane, changed)
    }
}

/// The vendors that are known here, when `vendor` is none of them. A program without a vendor has the name
/// `command:PROGRAM`; settings that cannot be read tell nothing.
fn known_without(context: &Context, store: &Store, vendor: &str) -> Option<String> {
    if vendor.starts_with(COMMAND_PREFIX) {
        return None;
    }
    let settings = load(&context.config().ok()?, store, &Gate::default().opened()).ok()?;
    let known: Vec<&str> = settings.vendors.names().collect();
    (!known.contains(&vendor)).then(|| known.join(", "))
}

fn time(text: &str) -> Result<Time> {
    Time::parse(text).map_err(|_| {
        Error::invalid(format!("--until is no RFC 3339 time: {}", printable(text)))
            .with_hint("write it as 2026-12-24T18:00:00Z, or with an offset such as +01:00 in place of Z")
    })
}

/// Says for programs what was done to a vendor's pauses.
fn tell_vendor(context: &mut Context, status: &str, vendor: &str, pauses: &[Parked]) -> Result<CommandExit> {
    let list: Vec<Value> = pauses.iter().map(|pause| Value::Object(pause.to_object())).collect();
    context.out.object(&object([
        ("status", status.into()),
        ("vendor", vendor.into()),
        ("changed", (!pauses.is_empty()).into()),
        ("pauses", list.into()),
    ]))?;
    Ok(CommandExit::Done)
}

fn tell(context: &mut Context, status: &str, lane: &str, changed: bool) -> Result<CommandExit> {
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
