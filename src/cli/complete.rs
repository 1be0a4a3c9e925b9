//! Completion for shells. The completion scripts ask this program for candidates, so that they are the lanes and
//! task ids of the current queue.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;

use clap::ValueEnum;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;

use super::context::{CommandContext, GlobalArgs};
use super::env;
use super::exit::CommandExit;
use super::list::StateArg;
use super::output::Output;
use super::task_fields::known_fields;
use super::text_format::shorten;
use crate::dispatch::vendor::{EVERY_VENDOR, Vendors};
use crate::error::{Error, Result, printable};
#[cfg(feature = "mcp")]
use crate::mcp::ToolSet;
use crate::model::task::Availability;
use crate::model::{AgentName, FailureClass, LaneName, Now, Status, Task, TaskText};
use crate::store::Store;
use crate::workspace::{BaseDir, Config, agents};

/// The maximum number of ids that are offered.
const MAX_CANDIDATES: usize = 200;

/// The end of clap's script for zsh, which is right for a script that is sourced.
const REGISTERED: &str = "\ncompdef _clap_dynamic_completer_lanes lanes\n";

/// The end that is also right for a file `_lanes` in a directory of fpath. The whole file is then the body of the function
/// that completes, and one that only registered another one would complete nothing the first time.
const REGISTERED_OR_CALLED: &str = r#"
if [[ $funcstack[1] == _lanes ]]; then
    _clap_dynamic_completer_lanes "$@"
else
    compdef _clap_dynamic_completer_lanes lanes
fi
"#;

/// The line of clap's script for bash after which the words of the command line are known.
const WORDS_KNOWN: &str = "        words[COMP_CWORD]=\"$2\"\n    fi\n";

/// Undoes that bash splits `--flag=value` into three words at the equals sign, which it then expects no candidate to repeat:
/// the words are those of `--flag value`.
const JOIN_AT_EQUALS_SIGN: &str = r#"    local _lanes_words=() _lanes_at
    for _lanes_at in "${!words[@]}"; do
        if [[ "${words[_lanes_at]}" == = && $_lanes_at -gt 0 && "${words[_lanes_at-1]}" == --*             && $_lanes_at -lt $COMP_CWORD ]]; then
            _CLAP_COMPLETE_INDEX=$((_CLAP_COMPLETE_INDEX - 1))
        else
            _lanes_words+=("${words[_lanes_at]}")
        fi
    done
    words=("${_lanes_words[@]}")
"#;

/// Returns the completion script for `shell`.
pub(super) fn script(shell: &str) -> Result<Vec<u8>> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = shells.completer(shell).ok_or_else(|| Error::invalid("unknown shell"))?;
    shell
        .write_registration(env::COMPLETE_VARIABLE, "lanes", "lanes", "lanes", &mut script)
        .map_err(|error| Error::io("write", "the completion script", error))?;
    let text = String::from_utf8_lossy(&script);
    let text = text.replacen(WORDS_KNOWN, &[WORDS_KNOWN, JOIN_AT_EQUALS_SIGN].concat(), 1);
    Ok(match text.strip_suffix(REGISTERED) {
        Some(rest) => [rest, REGISTERED_OR_CALLED].concat().into_bytes(),
        None => text.into_bytes(),
    })
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
        let by_beginning = shell.name() == "zsh";
        shell
            .write_complete(&mut with_queue(command_line, by_beginning), words, cwd.as_deref(), &mut reply)
            .map_err(|error| Error::io("complete", "the command line", error))?;
    }
    context.out.raw(&reply)?;
    Ok(CommandExit::Done)
}

/// Makes every argument complete whose values are known: those with the value names LANE, GROUP and ID, and `--vendor`, from the
/// queue and its configuration, the names of agents and bridges from the latter, and others from the lists of this program.
/// `by_beginning` means that the shell drops candidates that do not begin with what was typed.
fn with_queue(command: clap::Command, by_beginning: bool) -> clap::Command {
    let outer = command.get_name().to_string();
    command.mut_subcommands(|command| {
        let is_wanted = wanted_by(command.get_name());
        let names: Option<fn() -> Vec<CompletionCandidate>> = match (outer.as_str(), command.get_name()) {
            ("agents", "show" | "describe" | "set" | "remove") => Some(agent_names),
            ("lanes", "bridge") | ("bridge", "check") => Some(bridge_names),
            _ => None,
        };
        let has_parts = command.get_name() == "show";
        let command = command.mut_args(|arg| match arg.get_value_names() {
            Some([name]) if name == "LANE" => arg.add(ArgValueCandidates::new(lanes)),
            Some([name]) if name == "ID" => {
                arg.add(ArgValueCompleter::new(move |typed: &OsStr| ids(typed, is_wanted, by_beginning)))
            }
            Some([name]) if name == "GROUP" => arg.add(ArgValueCandidates::new(groups)),
            Some([name]) if name == "STATE[,STATE...]" => arg.add(ArgValueCandidates::new(states)),
            Some([name]) if name == "FIELD[,FIELD...]" => {
                arg.add(ArgValueCandidates::new(move || plain(known_fields(has_parts))))
            }
            #[cfg(feature = "mcp")]
            Some([name]) if name == "SETS" => arg.add(ArgValueCandidates::new(|| {
                plain(ToolSet::ALL.into_iter().chain([ToolSet::Compat]).map(ToolSet::as_str))
            })),
            _ if arg.get_id() == "vendor" => arg.add(ArgValueCandidates::new(vendors)),
            _ if arg.get_id() == "name" && arg.is_positional() => match names {
                Some(names) => arg.add(ArgValueCandidates::new(names)),
                None => arg,
            },
            _ => arg,
        });
        if command.has_subcommands() { with_queue(command, by_beginning) } else { command }
    })
}

/// Returns for which tasks a command can do something.
fn wanted_by(command: &str) -> fn(&Task, &Now) -> bool {
    match command {
        "claim" => |task, now| {
            !matches!(task.status, Status::Blocked { .. }) && task.availability(now) == Availability::Ready
        },
        "cancel" | "tell" | "respond" => |task, _| !task.status.is_terminal(),
        "renew" | "release" | "ask" => |task, _| matches!(task.status, Status::Claimed(_)),
        "answer" => |task, now| task.open_questions(now.wall).next().is_some(),
        "move" | "edit" => |task, _| !task.status.is_terminal() && !matches!(task.status, Status::Claimed(_)),
        "retry" => |task, _| matches!(task.status, Status::Failed { .. }) && task.retried_as.is_none(),
        "redrive" => |task, _| {
            let is_dead =
                matches!(&task.status, Status::Failed { class, .. } if *class == FailureClass::Dead);
            is_dead && task.retried_as.is_none()
        },
        _ => |_, _| true,
    }
}

/// Returns the queue of the current directory or the environment; `None` on any error, since completion must print
/// none and create no store.
fn queue() -> Option<(Config, Store)> {
    let config = queue_config().filter(|config| config.store_root.is_dir())?;
    let store = Store::open_to_read(&config.store_root, context().store_options().ok()?).ok()?;
    Some((config, store))
}

/// Returns the configuration of the current directory or the environment; `None` on any error.
fn queue_config() -> Option<Config> {
    context().config().ok()
}

fn context() -> CommandContext {
    CommandContext {
        global: GlobalArgs::default(),
        out: Output::quiet(),
        base: BaseDir::current(),
        reaches_servers: false,
    }
}

/// Returns the lanes whose names are safe unquoted: bash inserts candidates as they are, and a lane may be named
/// `$(…)`.
fn lanes() -> Vec<CompletionCandidate> {
    let Some((config, store)) = queue() else { return Vec::new() };
    let mut lanes: BTreeSet<LaneName> = config.lanes.into_keys().collect();
    lanes.extend(store.recent_lanes());
    plain(lanes)
}

/// Offers words as they are.
fn plain<T: Into<String>>(words: impl IntoIterator<Item = T>) -> Vec<CompletionCandidate> {
    words.into_iter().map(Into::into).filter(|word| is_plain(word)).map(CompletionCandidate::new).collect()
}

/// Returns the groups of the open tasks and of those that changed last.
fn groups() -> Vec<CompletionCandidate> {
    let Some((_, store)) = queue() else { return Vec::new() };
    let mut groups = BTreeSet::new();
    let group_of = |task: &TaskText<'_>| task.spec.group.map(|group| group.decode().into_owned());
    store.scan_names(&store.recent_task_ids(), group_of, &mut |_, group| {
        groups.extend(group.ok().flatten());
        ControlFlow::Continue(())
    });
    plain(groups)
}

/// Returns the states that `--state` selects, `done` among them, which is another word for completed.
fn states() -> Vec<CompletionCandidate> {
    let listed = StateArg::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    plain(listed.map(|value| value.get_name().to_string()).chain(["done".to_string()]))
}

/// Returns the agents of the configuration and of the store.
fn agent_names() -> Vec<CompletionCandidate> {
    let Some(config) = queue_config() else { return Vec::new() };
    let store = queue().map(|(_, store)| store);
    let known = agents(&config, store.as_ref()).unwrap_or_default();
    plain(known.keys().map(AgentName::as_str))
}

/// Returns the bridges of the configuration.
fn bridge_names() -> Vec<CompletionCandidate> {
    let config = queue_config();
    let bridges = config.as_ref().and_then(|config| config.bridges.as_ref()?.as_mapping());
    plain(bridges.into_iter().flat_map(|bridges| bridges.keys().filter_map(|name| name.as_str())))
}

/// Returns the vendors: those that are built in, and those of the configuration.
fn vendors() -> Vec<CompletionCandidate> {
    let built_in = Vendors::built_in();
    let mut names: BTreeSet<String> =
        built_in.iter().flat_map(|vendors| vendors.names().map(str::to_string)).collect();
    let config = queue_config();
    let own = config.as_ref().and_then(|config| config.dispatch.as_ref()?.get("vendors")?.as_mapping());
    let own = own.into_iter().flat_map(|own| own.keys().filter_map(|name| name.as_str()));
    names.extend(own.filter(|name| *name != EVERY_VENDOR).map(str::to_string));
    plain(names)
}

/// Returns whether bash can insert a word as it is.
fn is_plain(word: &str) -> bool {
    word.chars().all(|c| c.is_alphanumeric() || "-_.,/@+=%".contains(c))
}

/// Returns the ids that begin with the typed text, or whose last digits do, newest first. Searches the open tasks
/// and those that changed last, and all tasks only if none of these matches. With `by_beginning`, the last digits of an
/// id take its place if they are what was typed.
fn ids(current: &OsStr, is_wanted: fn(&Task, &Now) -> bool, by_beginning: bool) -> Vec<CompletionCandidate> {
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
    let (now, shown) = (store.now(), store.shown_states());
    store.scan_names(&names, |task| shown.shown(task.to_task()), &mut |_, task| {
        tasks.extend(task.ok().filter(|task| is_wanted(task, &now)));
        if tasks.len() < MAX_CANDIDATES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let offered = tasks.into_iter().enumerate();
    offered
        .map(|(place, task)| {
            let what = task.spec.name.as_deref().unwrap_or(&task.spec.prompt);
            let help = format!("{} in {}: {}", task.status.as_str(), task.spec.lane, shorten(what, 40));
            let help = printable(&help);
            let id = task.id.as_str();
            let is_end = by_beginning && !id.starts_with(&*typed);
            let word = id.rsplit('-').next().filter(|_| is_end).unwrap_or(id);
            CompletionCandidate::new(word).help(Some(help.into())).display_order(Some(place))
        })
        .collect()
}
