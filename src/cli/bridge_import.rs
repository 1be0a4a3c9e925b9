//! `lanes bridge import`: translates the settings of artificer-dispatcher.

use std::path::{Path, PathBuf};

use clap::Args;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::inside_run;
use crate::bridge::import::{ImportedSettings, import_settings};
use crate::error::{Error, Result, printable};
use crate::model::task::object;
use crate::store::ForeignFile;

/// The mode of a file that does not exist yet; handoff.yaml always does.
const NEW_MODE: u32 = 0o644;

/// Translate the [tool.artificer-dispatcher] table of a pyproject.toml into settings for handoff.yaml.
///
/// Prints `bridges` and `dispatch` as YAML, and on standard error what could not be carried over.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lanes bridge import pyproject.toml\n  lanes bridge import pyproject.toml --write"
)]
pub(super) struct BridgeImportCommand {
    /// The pyproject.toml
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Append them to handoff.yaml, which must have neither `bridges` nor `dispatch` yet
    #[arg(long)]
    write: bool,
}

impl BridgeImportCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        if self.write {
            inside_run::refuse(context, "bridge import --write")?;
        }
        let path = context.base.real(&self.file)?;
        let file = ForeignFile::read(&path)?;
        let text = file.text().ok_or_else(|| Error::not_found(format!("{} does not exist", shown(&path))))?;
        let imported = import_settings(text, &path)?;
        let yaml = imported.yaml()?;
        let written = if self.write { Some(append(context, &yaml)?) } else { None };
        for note in &imported.notes {
            context.out.note(&format!("lanes: {note}"));
        }
        report(context, &imported, &yaml, written.as_deref())?;
        Ok(CommandExit::Done)
    }
}

fn report(
    context: &mut CommandContext,
    imported: &ImportedSettings,
    yaml: &str,
    written: Option<&Path>,
) -> Result<()> {
    if context.out.json {
        let status = if written.is_some() { "written" } else { "ok" };
        return context.out.object(&object([
            ("status", status.into()),
            ("path", written.map(|path| path.to_string_lossy().into_owned()).into()),
            ("yaml", yaml.into()),
            ("notes", imported.notes.clone().into()),
        ]));
    }
    match written {
        Some(path) => context.out.line(&format!("added bridges and dispatch to {}", shown(path))),
        None => context.out.line(yaml.trim_end()),
    }
}

/// Appends the settings to the configuration. Returns its path.
///
/// # Errors
/// `Refused` if it has such settings already, or does not end so that something can be appended.
fn append(context: &CommandContext, yaml: &str) -> Result<PathBuf> {
    let config = context.config()?;
    let path = config.path().ok_or_else(|| Error::invalid_here("there is no handoff.yaml to write to"))?;
    let by_hand = "run it without --write, and merge what it prints by hand";
    for (key, present) in [("bridges", config.bridges.is_some()), ("dispatch", config.dispatch.is_some())] {
        if present {
            return Err(Error::refused(format!("{} has `{key}` already", shown(path))).with_hint(by_hand));
        }
    }
    let file = ForeignFile::read(path)?;
    let old = file.text().unwrap_or_default();
    let gap = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
    let new = format!("{old}{gap}\n{yaml}");
    let keys = |text: &str| serde_yaml::from_str::<serde_yaml::Mapping>(text).map_or(0, |all| all.len());
    // In JSON, or after the end of a document, nothing can be appended.
    if keys(&new) != keys(old) + 2 {
        return Err(Error::refused(format!("nothing can be appended to {}", shown(path))).with_hint(by_hand));
    }
    file.replace(&new, NEW_MODE)?;
    Ok(path.to_path_buf())
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}
