//! `lanes config`: shows, checks and edits the configuration.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::agents_diagnoses;
use super::config_values::{ConfigValue, config_values};
use super::context::{CommandContext, GlobalArgs};
use super::editor::{self, EditedText};
use super::exit::CommandExit;
use super::inside_run;
use super::output::Output;
use crate::bridge::config::bridges;
use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::load::load_files;
use crate::dispatch::config::unknown_cost;
use crate::error::{Error, Result, printable};
use crate::model::json::Object;
use crate::model::task::object;
use crate::store::{ForeignFile, Store};
use crate::workspace::BaseDir;

/// The largest configuration file that is accepted, in bytes.
const MAX_FILE: usize = 1024 * 1024;

/// Show, check or edit the configuration.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes config show\n  lanes config check\n  lanes config edit")]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    action: ConfigAction,
}

/// What is done with the configuration.
#[derive(Subcommand, Debug)]
enum ConfigAction {
    #[command(name = "show")]
    Show(ConfigShowCommand),
    #[command(name = "check")]
    Check(ConfigCheckCommand),
    #[command(name = "edit")]
    Edit(ConfigEditCommand),
}

/// Show every setting that is in effect, and where it comes from: a file and its line, a flag, a variable, or the default.
///
/// Values of environments, and those whose names say that they are secret, are not shown.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes config show\n  lanes config show --json")]
struct ConfigShowCommand {}

/// Check the configuration as `doctor` does, and print a line for each fault.
///
/// Exits with code 1 if there is one.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes config check\n  lanes config check --config handoff/handoff.yaml")]
struct ConfigCheckCommand {}

/// Open the configuration in $VISUAL or $EDITOR, and check it before it is saved.
///
/// With a fault, it is not saved: on a terminal you may go on editing, and otherwise the edited text stays in a file
/// that is named.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes config edit")]
struct ConfigEditCommand {}

/// A fault of the configuration, and what to do about it.
struct ConfigFault {
    message: String,
    remedy: Option<String>,
}

impl ConfigCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        match &self.action {
            ConfigAction::Show(_) => show(context),
            ConfigAction::Check(_) => check(context),
            ConfigAction::Edit(_) => edit(context),
        }
    }
}

fn show(context: &mut CommandContext) -> Result<CommandExit> {
    let config = context.config()?;
    check_named_store(context)?;
    let values = config_values(context, &config)?;
    if context.out.json {
        let values: Vec<Value> = values.iter().map(|value| Value::Object(value.to_object())).collect();
        let reply = [("status", "ok".into()), ("count", values.len().into()), ("settings", values.into())];
        context.out.object(&object(reply))?;
        return Ok(CommandExit::Done);
    }
    for ConfigValue { key, value, origin } in &values {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        context.out.line(&printable(&format!("{key} = {value}  # {}", origin.describe())))?;
    }
    Ok(CommandExit::Done)
}

/// Refuses a state directory that is named and does not exist: it is probably misspelt.
fn check_named_store(context: &CommandContext) -> Result<()> {
    match context.explicit_paths().1 {
        Some(_) => context.store().map(drop),
        None => Ok(()),
    }
}

fn check(context: &mut CommandContext) -> Result<CommandExit> {
    check_named_store(context)?;
    let (path, faults) = faults(context)?;
    let shown = path.as_deref().map(Path::to_string_lossy);
    if context.out.json {
        let found: Vec<Value> = faults.iter().map(|fault| Value::Object(fault.to_object())).collect();
        let mut reply = object([
            ("status", if faults.is_empty() { "ok" } else { "faulty" }.into()),
            ("count", found.len().into()),
            ("faults", found.into()),
        ]);
        reply.insert("path".into(), shown.into());
        context.out.object(&reply)?;
    } else if faults.is_empty() {
        let what = shown.map_or("the configuration".into(), |path| printable(&path));
        context.out.line(&format!("{what} has no faults"))?;
    } else {
        for fault in &faults {
            context.out.line(&fault.line())?;
        }
    }
    Ok(if faults.is_empty() { CommandExit::Done } else { CommandExit::Problems })
}

/// Returns the file, and its faults.
///
/// # Errors
/// As [`CommandContext::config`] if there is no configuration at all.
fn faults(context: &CommandContext) -> Result<(Option<PathBuf>, Vec<ConfigFault>)> {
    let config = match context.config() {
        Ok(config) => config,
        // The file that is meant is known: what it says is the fault.
        Err(error) if context.explicit_paths().0.is_some() || context.found_config().is_some() => {
            let path = context.explicit_paths().0.or_else(|| context.found_config());
            return Ok((path, vec![ConfigFault::of(&error)]));
        }
        Err(error) => return Err(error),
    };
    let mut faults: Vec<ConfigFault> = config
        .warnings
        .iter()
        .map(|warning| ConfigFault { message: warning.clone(), remedy: None })
        .collect();
    let store = Some(&config.store_root).filter(|root| root.is_dir());
    let store = store.and_then(|root| Store::open_to_read(root, context.store_options().ok()?).ok());
    let loaded = load_files(&config, store.as_ref(), &ConsentPolicy::AllowAll);
    match loaded {
        Ok(dispatch) => {
            let warnings = unknown_cost::of_configuration(&config, &dispatch);
            faults.extend(warnings.into_iter().map(|message| ConfigFault { message, remedy: None }));
        }
        Err(error) => faults.push(ConfigFault::of(&error)),
    }
    faults.extend(bridges(&config).err().map(|error| ConfigFault::of(&error)));
    let of_agents = agents_diagnoses::diagnoses(context);
    let of_agents =
        of_agents.into_iter().filter(|found| ["agent-problem", "agent-roots"].contains(&found.code));
    faults.extend(of_agents.map(|found| ConfigFault { message: found.message, remedy: found.remedy }));
    Ok((config.path().map(Path::to_path_buf), faults))
}

impl ConfigFault {
    fn of(error: &Error) -> Self {
        Self { message: error.message().to_string(), remedy: error.hint().map(str::to_string) }
    }

    fn line(&self) -> String {
        let remedy = self.remedy.as_ref().map_or(String::new(), |remedy| format!("; {remedy}"));
        printable(&format!("{}{remedy}", self.message))
    }

    fn to_object(&self) -> Object {
        let mut fault = object([("message", self.message.clone().into())]);
        fault.insert("remedy".into(), self.remedy.clone().into());
        fault
    }
}

fn edit(context: &mut CommandContext) -> Result<CommandExit> {
    inside_run::refuse(context, "config edit")?;
    let named = context.explicit_paths().0.map(|path| context.base.absolute(&path)).transpose()?;
    let Some(path) = named.or_else(|| context.found_config()) else {
        return Err(Error::config("there is no handoff.yaml to edit").with_hint("`lanes init` writes one"));
    };
    let file = ForeignFile::read(&path)?;
    let shown = printable(&path.to_string_lossy());
    let Some(before) = file.text() else {
        return Err(Error::config(format!("{shown} does not exist")).with_hint("`lanes init` writes one"));
    };
    // In the same directory, since its paths are relative to that.
    let directory = file.link_target().unwrap_or(&path).parent().unwrap_or(Path::new("/"));
    let name = format!(".handoff-edit-{}.yaml", std::process::id());
    editor::check_terminal()?;
    let draft = EditedText::at(directory.join(name), before)?;
    let text = loop {
        draft.open()?;
        let text = draft.finish_unless(draft.read(&context.out, MAX_FILE))?;
        if text == before {
            draft.finish(Ok(()))?;
            context.out.note(&format!("lanes config edit: {shown} was not changed"));
            return Ok(CommandExit::Done);
        }
        let (_, faults) = draft.finish_unless(faults(&at_draft(context, draft.path())))?;
        if faults.is_empty() {
            break text;
        }
        let draft_path = draft.path().to_string_lossy().into_owned();
        for fault in &faults {
            context.out.warn(&fault.line().replace(&printable(&draft_path), &shown));
        }
        if !(std::io::stdin().is_terminal() && wants_to_go_on(context)?) {
            return draft.finish(Err(Error::config(format!(
                "{shown} was not changed, since the edited text has faults"
            ))));
        }
    };
    draft.finish(file.replace(&text, 0o644))?;
    if context.out.json {
        context.out.object(&object([("status", "saved".into()), ("path", path.to_string_lossy().into())]))?;
    } else {
        context.out.line(&format!("saved {shown}"))?;
    }
    Ok(CommandExit::Done)
}

/// Returns the context of a command that names the edited text as its configuration.
fn at_draft(context: &CommandContext, draft: &Path) -> CommandContext {
    let global = GlobalArgs { config: Some(draft.to_path_buf()), ..context.global.clone() };
    CommandContext { global, out: Output::quiet(), base: BaseDir::current(), reaches_servers: false }
}

/// Asks whether the person wants to correct the text. Any answer other than `n` or `no` means yes.
fn wants_to_go_on(context: &CommandContext) -> Result<bool> {
    context.out.prompt("Go on editing? [Y/n] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| Error::io("read", "the answer", error))?;
    Ok(!answer.is_empty() && !matches!(answer.trim().to_lowercase().as_str(), "n" | "no"))
}
