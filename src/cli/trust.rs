//! `lanes trust`: records consent to the settings with which a configuration in a repository chooses what runs.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
use super::inside_run;
use super::table::Table;
use crate::dispatch::config::consent::{ConsentPolicy, format_setting, no_records_directory};
use crate::dispatch::config::load::current_sensitive_files;
use crate::dispatch::config::sensitive_settings::SensitiveFile;
use crate::error::{Error, Result, printable, shell_word};
use crate::model::json::Object;
use crate::model::task::object;
use crate::store::Store;
use crate::workspace::{Config, FoundConfig, TrustRecord, TrustRecords, find_in, settings_hash};

/// Maximum number of characters of a value that is shown before a person agrees to it.
const MAX_VALUE_CHARS: usize = 1000;

/// Let a configuration in a repository choose what runs.
///
/// A handoff.yaml that came with a clone, or changed with a pull, may name programs, their arguments,
/// environment and permissions, and boards to which your keys are sent. `dispatch` and `bridge` use these settings
/// only after you have agreed to them, and ask again when they change. On a terminal, the settings are shown before you agree; without a terminal, naming
/// PATH is the agreement. Agreements are recorded below $XDG_STATE_HOME/lanes or ~/.local/state/lanes.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lanes trust\n  lanes trust ~/src/project --yes\n  lanes trust --list\n  lanes trust --revoke ~/src/project"
)]
pub(super) struct TrustCommand {
    /// The handoff.yaml, or the directory that holds `handoff/` [default: the one that `dispatch` would find]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Agree without a question
    #[arg(long, short, conflicts_with_all = ["list", "revoke"])]
    yes: bool,
    /// List what has been agreed to
    #[arg(long, conflicts_with_all = ["path", "revoke"])]
    list: bool,
    /// Withdraw the agreement
    #[arg(long)]
    revoke: bool,
}

impl TrustCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let records = env::trust_records().ok_or_else(no_records_directory)?;
        if self.list {
            return list(context, &records);
        }
        inside_run::refuse(context, "trust")?;
        if self.revoke {
            return self.revoke(context, &records);
        }
        let is_interactive = !self.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        let config = self.config(context)?;
        if self.path.is_none() && !self.yes && !is_interactive {
            return Err(no_terminal(&config));
        }
        let files = files_to_trust(context, &config)?;
        if is_interactive && !files.is_empty() && !ask_for_consent(context, &files)? {
            return Err(Error::refused("nothing was agreed to"));
        }
        ConsentPolicy::new(Some(records)).agree(&files, context.store_options()?.clock.now().wall)?;
        report(context, &config, &files)
    }

    /// Returns the configuration at PATH, checked like one that was discovered; without PATH, the one that
    /// `dispatch` would use.
    fn config(&self, context: &CommandContext) -> Result<Config> {
        let Some(path) = &self.path else { return context.config() };
        let path = context.base.real(path)?;
        let file = if path.is_dir() { find_in(&path)? } else { path };
        let holder = file.parent().and_then(Path::parent).unwrap_or(Path::new("/")).to_path_buf();
        Config::load_found(FoundConfig { holder, file, identity: env::identity() }, None)
    }

    fn revoke(&self, context: &mut CommandContext, records: &TrustRecords) -> Result<CommandExit> {
        let path = match &self.path {
            None => match context.config()?.path() {
                Some(path) => path.to_path_buf(),
                None => return Err(Error::invalid("name the file")),
            },
            // The file may be gone.
            Some(path) => {
                let path = context.base.real(path)?;
                if path.is_dir() { find_in(&path)? } else { path }
            }
        };
        let mut revoked = records.revoke(&path)?;
        if let Ok(config) = Config::load(&path, None) {
            for file in files_to_trust(context, &config)?.iter().filter(|file| file.path != path) {
                revoked |= records.revoke(&file.path)?;
            }
        }
        let shown = path.to_string_lossy();
        if !revoked {
            return Err(Error::not_found(format!("{} is not trusted", printable(&shown)))
                .with_hint("`lanes trust --list` shows what is"));
        }
        if context.out.json {
            context.out.object(&object([("status", "revoked".into()), ("path", shown.into())]))?;
        } else {
            context.out.line(&format!("no longer trusted: {}", printable(&shown)))?;
        }
        Ok(CommandExit::Done)
    }
}

/// Returns the refusal to agree to a configuration that was not named, where nobody can be asked.
fn no_terminal(config: &Config) -> Error {
    let path = config.path().map(|path| shell_word(&path.to_string_lossy()));
    let example = path.map_or(String::new(), |path| format!(": `lanes trust {path}`"));
    Error::invalid_here("there is no terminal to ask on")
        .with_hint(format!("name the file, or give --yes, to agree to what it chooses{example}"))
}

/// Returns the settings of the configuration, and of routes.json if its store exists, that need consent.
pub(super) fn files_to_trust(context: &CommandContext, config: &Config) -> Result<Vec<SensitiveFile>> {
    let store = match config.store_root.is_dir() {
        true => Store::open_existing(&config.store_root, context.store_options()?).ok(),
        false => None,
    };
    current_sensitive_files(config, store.as_ref())
}

/// Shows the settings and asks whether to trust them. Any answer other than `y` or `yes` means no.
fn ask_for_consent(context: &mut CommandContext, files: &[SensitiveFile]) -> Result<bool> {
    for file in files {
        context.out.prompt(&format!("{} chooses:\n", printable(&file.path.to_string_lossy())));
        for key in file.settings.keys() {
            context.out.prompt(&format!("  {}\n", format_setting(&file.settings, key, MAX_VALUE_CHARS)));
        }
    }
    context.out.prompt("Let `lanes dispatch` and `lanes bridge` use this? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| Error::io("read", "the answer", error))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn report(context: &mut CommandContext, config: &Config, files: &[SensitiveFile]) -> Result<CommandExit> {
    let path = config.path().map(Path::to_string_lossy).unwrap_or_default();
    if context.out.json {
        let status = if files.is_empty() { "nothing_to_trust" } else { "trusted" };
        let files: Vec<Value> = files.iter().map(file_object).collect();
        context.out.object(&object([
            ("status", status.into()),
            ("path", path.into()),
            ("files", files.into()),
        ]))?;
        return Ok(CommandExit::Done);
    }
    if files.is_empty() {
        context.out.line(&format!("nothing to trust: {} chooses nothing that runs", printable(&path)))?;
    }
    for file in files {
        let keys: Vec<&str> = file.settings.keys().map(String::as_str).collect();
        let path = file.path.to_string_lossy();
        context.out.line(&printable(&format!("trusted: {path}: {}", keys.join(", "))))?;
    }
    Ok(CommandExit::Done)
}

fn file_object(file: &SensitiveFile) -> Value {
    let settings: Object = file.settings.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    Value::Object(object([
        ("path", file.path.to_string_lossy().into()),
        ("sha256", settings_hash(&file.settings).into()),
        ("settings", settings.into()),
    ]))
}

fn list(context: &mut CommandContext, records: &TrustRecords) -> Result<CommandExit> {
    let all = records.all()?;
    if context.out.json {
        let records: Vec<Value> = all.iter().map(record_object).collect();
        context.out.object(&object([
            ("status", "ok".into()),
            ("count", all.len().into()),
            ("trusted", records.into()),
        ]))?;
        return Ok(CommandExit::Done);
    }
    if all.is_empty() {
        context.out.note("lanes: nothing is trusted");
        return Ok(CommandExit::Done);
    }
    let mut table = Table::new(&["TRUSTED AT", "SHA256", "FILE"]);
    for record in all {
        let newest: String =
            record.sha256.last().map(|sha256| sha256.chars().take(12).collect()).unwrap_or_default();
        table.row(vec![record.trusted_at, newest, record.path]);
    }
    table.print(&mut context.out)?;
    Ok(CommandExit::Done)
}

fn record_object(record: &TrustRecord) -> Value {
    Value::Object(object([
        ("path", record.path.clone().into()),
        ("sha256", record.sha256.clone().into()),
        ("trusted_at", record.trusted_at.clone().into()),
    ]))
}

/// Records consent to the settings of a configuration that this program has just created. Prints a warning if
/// that fails.
pub(super) fn trust_created_config(context: &CommandContext, holder: &Path, file: &Path) {
    let found =
        FoundConfig { holder: holder.to_path_buf(), file: file.to_path_buf(), identity: env::identity() };
    let agreed = Config::load_found(found, None)
        .and_then(|config| current_sensitive_files(&config, None))
        .and_then(|files| match files.is_empty() {
            true => Ok(()),
            false => ConsentPolicy::new(env::trust_records())
                .agree(&files, context.store_options()?.clock.now().wall)
                .map_err(|error| {
                    let file = shell_word(&file.to_string_lossy());
                    error.with_hint(format!("run `lanes trust {file}` before `lanes dispatch`"))
                }),
        });
    if let Err(error) = agreed {
        context.out.warn(&error.to_string());
    }
}
