//! Registers `lanes mcp` in the settings of clients.
//!
//! A client's own command is used where it has one that can write the whole entry, because it knows best how to change
//! its settings while it runs. Otherwise the settings file is edited as text (`json_text.rs`, `toml_text.rs`).

mod client_app;
mod client_program;
mod inspection;
mod json_text;
mod settings;
mod settings_format;
mod toml_text;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub(crate) use self::client_app::{ClientApp, ClientHomes, RegistrationScope, ServerEntry};
pub(crate) use self::inspection::{FoundRegistration, RegistrationFault, find_registrations};

use self::client_app::{SERVER_NAME, is_ours, started_words};
use self::settings::{EntryField, SettingsError};
use self::settings_format::holds;
use crate::error::{Error, Result, brief, printable};
use crate::store::ForeignFile;

/// The mode of a settings file of a user that does not exist yet.
const USER_FILE_MODE: u32 = 0o600;
/// The mode of a settings file of a project that does not exist yet.
const PROJECT_FILE_MODE: u32 = 0o644;

/// Where a registration is made.
#[derive(Clone, Debug)]
pub(crate) struct RegistrationPlace {
    /// The client.
    pub client: ClientApp,
    /// Where it counts.
    pub scope: RegistrationScope,
    /// The directories of the user's settings.
    pub homes: ClientHomes,
    /// The current directory, the project.
    pub directory: PathBuf,
    /// The directories in which a shell looks for programs (`PATH`).
    pub search_path: Option<OsString>,
}

/// The difference between the settings as they are and as they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegistrationChange {
    /// The entry is made.
    Added,
    /// An older entry of ours is changed.
    Updated,
    /// The entry is removed.
    Removed,
    /// Everything is as it should be.
    Unchanged,
}

impl RegistrationChange {
    /// Returns the name of the change, as `--json` prints it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Updated => "updated",
            Self::Removed => "removed",
            Self::Unchanged => "unchanged",
        }
    }
}

/// What is to be done for a registration; nothing is done yet.
#[derive(Debug)]
pub(crate) struct RegistrationPlan {
    place: RegistrationPlace,
    file: ForeignFile,
    /// The difference it makes.
    pub change: RegistrationChange,
    /// The command lines of the client's program, in order; without any, the file is edited.
    commands: Vec<Vec<String>>,
    program: Option<PathBuf>,
    /// The text of the settings file afterwards, if it is edited; or why it cannot be.
    edited: std::result::Result<String, SettingsError>,
    /// The entry as it would be in an empty settings file.
    entry_text: String,
    /// The fields that the entry must have afterwards; `None` for a removal.
    fields: Option<Vec<EntryField>>,
}

/// Plans to register the server as `entry`.
///
/// # Errors `Config` when the settings cannot be read or edited, `Refused` when another server has the name;
/// `Io`.
pub(crate) fn plan_install(place: RegistrationPlace, entry: &ServerEntry) -> Result<RegistrationPlan> {
    let (client, scope) = (place.client, place.scope);
    let (format, path) = (client.format(), client.entry_path());
    let file = ForeignFile::read(&client.settings_path(scope, &place.homes, &place.directory)?)?;
    let fields = client.fields(entry);
    let entry_text = format.set("", path, &fields).map_err(|error| unusable(&file, &error))?;
    let existing = existing_entry(&file, client, &entry.program)?;
    let change = match &existing {
        None => RegistrationChange::Added,
        Some(found) if holds(found, &fields) => RegistrationChange::Unchanged,
        Some(_) => RegistrationChange::Updated,
    };
    let program = client_program::find(client.as_str(), place.search_path.as_deref());
    let object = existing.as_ref().and_then(Value::as_object);
    let add = client.add_command(scope, entry, &json_text::one_line(&fields, object));
    let commands = match (change, add, client.remove_command(scope)) {
        (RegistrationChange::Unchanged, ..) | (_, None, _) => Vec::new(),
        (_, Some(_), _) if program.is_none() => Vec::new(),
        (RegistrationChange::Added, Some(add), _) => vec![add],
        // claude refuses to add an entry that exists; with gemini, fields that a person has added would be lost.
        (_, Some(add), Some(remove)) if client == ClientApp::Claude => vec![remove, add],
        _ => Vec::new(),
    };
    let edited = format.set(file.text().unwrap_or_default(), path, &fields);
    Ok(RegistrationPlan { place, file, change, commands, program, edited, entry_text, fields: Some(fields) })
}

/// Plans to remove the registration of `program`.
///
/// # Errors
/// As [`plan_install`].
pub(crate) fn plan_removal(place: RegistrationPlace, program: &str) -> Result<RegistrationPlan> {
    let (client, scope) = (place.client, place.scope);
    let file = ForeignFile::read(&client.settings_path(scope, &place.homes, &place.directory)?)?;
    let change = match existing_entry(&file, client, program)? {
        None => RegistrationChange::Unchanged,
        Some(_) => RegistrationChange::Removed,
    };
    let found = client_program::find(client.as_str(), place.search_path.as_deref());
    let remove = client.remove_command(scope).filter(|_| found.is_some());
    let commands = match change {
        RegistrationChange::Removed => remove.into_iter().collect(),
        _ => Vec::new(),
    };
    let edited = client.format().remove(file.text().unwrap_or_default(), client.entry_path());
    let entry_text = String::new();
    Ok(RegistrationPlan { place, file, change, commands, program: found, edited, entry_text, fields: None })
}

impl RegistrationPlan {
    /// Returns the settings file.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the file that is edited in place of the settings file, which is a link to it.
    pub(crate) fn link_target(&self) -> Option<&Path> {
        self.file.link_target().filter(|_| self.commands.is_empty())
    }

    /// Returns the command lines for the client's program, quoted for a shell.
    pub(crate) fn shell_lines(&self) -> Vec<String> {
        let name = self.place.client.as_str();
        self.commands.iter().map(|arguments| client_program::shell_line(name, arguments)).collect()
    }

    /// Returns the entry as it would be in an empty settings file.
    pub(crate) fn entry_text(&self) -> &str {
        &self.entry_text
    }

    /// Makes the change.
    ///
    /// # Errors
    /// `Refused` when the file is read-only, or the client's program fails or does something else; `Io`.
    pub(crate) fn apply(&self) -> Result<()> {
        if self.change == RegistrationChange::Unchanged {
            return Ok(());
        }
        if self.commands.is_empty() {
            let new_mode = match self.place.scope {
                RegistrationScope::User => USER_FILE_MODE,
                RegistrationScope::Project => PROJECT_FILE_MODE,
            };
            let text = self.edited.as_ref().map_err(|error| unusable(&self.file, error))?;
            return self.file.replace(text, new_mode);
        }
        let Some(program) = &self.program else { return Ok(()) };
        for arguments in &self.commands {
            client_program::run(program, arguments, &self.place.directory)?;
        }
        self.check_result()
    }

    /// Checks that the client's program has made the requested change.
    fn check_result(&self) -> Result<()> {
        let client = self.place.client;
        let file = ForeignFile::read(self.file.path())?;
        let text = file.text().unwrap_or_default();
        let found =
            client.format().entry(text, client.entry_path()).map_err(|error| unusable(&file, &error))?;
        let is_done = match (&self.fields, &found) {
            (Some(fields), Some(entry)) => holds(entry, fields),
            (None, found) => found.is_none(),
            (Some(_), None) => false,
        };
        if is_done {
            return Ok(());
        }
        let lines = self.shell_lines().join("; ");
        Err(Error::refused(format!(
            "`{}` reports success, but the entry in {} is not as it should be",
            lines,
            show(self.file.path())
        ))
        .with_hint("without the client's program on PATH, the file is edited"))
    }
}

/// Returns the entry that has our name, if there is one.
///
/// # Errors
/// `Config` when the file is not valid; `Refused` when the entry starts another program.
fn existing_entry(file: &ForeignFile, client: ClientApp, program: &str) -> Result<Option<Value>> {
    let text = file.text().unwrap_or_default();
    let found = client.format().entry(text, client.entry_path()).map_err(|error| unusable(file, &error))?;
    match found {
        Some(entry) if !is_ours(&entry, program) => {
            let words = started_words(&entry).join(" ");
            let what = if words.is_empty() {
                "is not `lanes mcp`".to_string()
            } else {
                format!("starts `{}`", brief(&words))
            };
            Err(Error::refused(format!("the entry {SERVER_NAME} in {} {what}", show(file.path())))
                .with_hint("rename or remove it first"))
        }
        found => Ok(found),
    }
}

fn unusable(file: &ForeignFile, error: &SettingsError) -> Error {
    let hint = match error {
        SettingsError::Syntax { .. } => "correct the file; it was not touched",
        SettingsError::Shape(_) | SettingsError::Layout => "add the lines by hand: --print shows them",
    };
    Error::config(format!("{}: {}", show(file.path()), printable(&error.to_string()))).with_hint(hint)
}

fn show(path: &Path) -> String {
    printable(&path.to_string_lossy())
}
