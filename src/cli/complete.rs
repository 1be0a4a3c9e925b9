//! Completion for shells. The completion scripts ask this program for candidates, so that they are the lanes and
//! task ids of the current queue.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;

use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;

use super::context::{CommandContext, GlobalArgs};
use super::env;
use super::exit::CommandExit;
use super::output::Output;
use super::table::shorten;
use crate::error::{Error, Result, printable};
use crate::model::LaneName;
use crate::store::Store;
use crate::workspace::{BaseDir, Config};

/// The maximum number of ids that are offered.
const MAX_CANDIDATES: usize = 200;

/// Returns the completion script for `shell`.
pub(super) fn script(shell: &str) -> Result<Vec<u8>> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = shells.completer(shell).ok_or_else(|| Error::invalid("unknown shell"))?;
    shell
        .write_registration(env::COMPLETE_VARIABLE, "lanes", "lanes", "lanes", &mut script)
        .map_err(|error| Error::io("write", "the completion script", error))?;
    Ok(script)
}

/// Prints the candidates that a completion script asks for; `args` are this process's own, from its name on.
pub(super) fn print_candidates(
    context: &mut CommandContext,
    command_line: clap::Command,
    shell: &OsStr,
    args: &[OsString],
) -> Result<CommandExit> {
    let words: Vec<OsString> = args.iter().skip_while(|arg| *arg != "--").skip(1).cloned().collect();
    let cwd = context.base.directory().ok().map(std::path::Path::to_path_buf);
    let mut reply = Vec::new();
    let shells = Shells::builtins();
    if let Some(shell) = shell.to_str().and_then(|name| shells.completer(name)) {
        shell
            .write_complete(&mut with_queue(command_line), words, cwd.as_deref(), &mut reply)
            .map_err(|error| Error::io("complete", "the command line", error))?;
    }
    context.out.raw(&reply)?;
    Ok(CommandExit::Done)
}

/// Makes every argument with the value name LANE or ID complete from the queue.
fn with_queue(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|command| {
        command.mut_args(|arg| match arg.get_value_names() {
            Some([name]) if name == "LANE" => arg.add(ArgValueCandidates::new(lanes)),
            Some([name]) if name == "ID" => arg.add(ArgValueCompleter::new(ids)),
            _ => arg,
        })
    })
}

/// Returns the queue of the current directory or the environment; `None` on any error, since completion must print
/// none and create no store.
fn queue() -> Option<(Config, Store)> {
    let context =
        CommandContext { global: GlobalArgs::default(), out: Output::quiet(), base: BaseDir::current() };
    let config = context.config().ok().filter(|config| config.store_root.is_dir())?;
    let store = Store::open_to_read(&config.store_root, context.store_options().ok()?).ok()?;
    Some((config, store))
}

/// Returns the lanes whose names are safe unquoted: bash inserts candidates as they are, and a lane may be named
/// `$(…)`.
fn lanes() -> Vec<CompletionCandidate> {
    let Some((config, store)) = queue() else { return Vec::new() };
    let mut lanes: BTreeSet<LaneName> = config.lanes.into_keys().collect();
    lanes.extend(store.recent_lanes());
    let plain = |c: char| c.is_alphanumeric() || "-_.,/@+=%".contains(c);
    lanes
        .into_iter()
        .filter(|name| name.as_str().chars().all(plain))
        .map(String::from)
        .map(CompletionCandidate::new)
        .collect()
}

/// Returns the ids that begin with the typed text, or whose last digits do, newest first. Searches the open tasks
/// and those that changed last, and all tasks only if none of these matches.
fn ids(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    let fits = |id: &String| {
        id.starts_with(&*typed) || id.rsplit('-').next().is_some_and(|end| end.starts_with(&*typed))
    };
    let Some((_, store)) = queue() else { return Vec::new() };
    let mut names = store.recent_task_ids();
    names.retain(fits);
    if names.is_empty() {
        names = store.task_names().unwrap_or_default();
        names.retain(fits);
        names.reverse();
    }
    let mut tasks = Vec::new();
    store.scan_names(&names, |task| task.to_task(), &mut |_, task| {
        tasks.extend(task);
        if tasks.len() < MAX_CANDIDATES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let offered = tasks.into_iter().enumerate();
    offered
        .map(|(place, task)| {
            let what = task.spec.name.as_deref().unwrap_or(&task.spec.prompt);
            let help = format!("{} in {}: {}", task.status.as_str(), task.spec.lane, shorten(what, 40));
            let help = printable(&help);
            CompletionCandidate::new(task.id.as_str()).help(Some(help.into())).display_order(Some(place))
        })
        .collect()
}
