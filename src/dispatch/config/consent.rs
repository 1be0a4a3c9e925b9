//! Decides whether settings in discovered files may choose what runs.
//!
//! A dispatcher uses the handoff.yaml that it discovers. In a repository, anyone may have written this file, or a
//! routes.json in a state directory there: they arrive with a clone and change with a pull. So their settings for
//! programs and permissions apply only after a person has agreed to them (`lanes trust`).

use std::path::Path;

use super::sensitive_settings::{SensitiveFile, sensitive_files};
use super::settings_files::SettingsFiles;
use crate::error::{Error, Result, printable, shell_word};
use crate::model::Time;
use crate::store::{FileVersion, Store};
use crate::workspace::{Config, SensitiveSettings, TrustRecords, TrustState, is_in_repository};

/// Maximum number of settings in a refusal, and maximum number of characters of each.
const MAX_SETTINGS_SHOWN: usize = 4;
const MAX_VALUE_CHARS: usize = 60;

/// Decides whether the settings of files may be used.
#[derive(Clone, Debug, Default)]
pub(crate) enum ConsentPolicy {
    /// Refuses all settings that need consent: the user has no directory for records.
    #[default]
    NoRecords,
    /// Applies the user's records.
    Records(TrustRecords),
    /// Allows all settings, for commands that show or check them and run nothing.
    AllowAll,
}

impl ConsentPolicy {
    /// Creates the policy that applies the user's records, if there are any.
    pub(crate) fn new(records: Option<TrustRecords>) -> Self {
        records.map_or(Self::NoRecords, Self::Records)
    }

    /// Returns the user's records.
    fn records(&self) -> Option<&TrustRecords> {
        match self {
            Self::Records(records) => Some(records),
            Self::NoRecords | Self::AllowAll => None,
        }
    }
    /// Refuses settings that need consent but do not have it.
    ///
    /// # Errors
    /// `Refused`, with the file, its settings, and the command to agree; `Corrupt` or `Io` when the records cannot
    /// be read.
    pub(crate) fn check(&self, files: &[SensitiveFile]) -> Result<()> {
        if matches!(self, Self::AllowAll) {
            return Ok(());
        }
        for file in files.iter().filter(|file| file.needs_consent) {
            match self.trust_state(file)? {
                TrustState::Trusted => {}
                TrustState::Unknown => return Err(self.refusal(file, None)),
                TrustState::Changed(keys) => return Err(self.refusal(file, Some(&keys))),
            }
        }
        Ok(())
    }

    /// Compares the settings of a file with those that the user has agreed to.
    ///
    /// # Errors
    /// `Corrupt` or `Io` when the records cannot be read.
    pub(crate) fn trust_state(&self, file: &SensitiveFile) -> Result<TrustState> {
        let record = self.records().map(|records| records.find(&file.path)).transpose()?.flatten();
        Ok(record.map_or(TrustState::Unknown, |record| record.compare(&file.settings)))
    }

    /// Records consent to the current settings of `files`.
    ///
    /// # Errors
    /// `Config` when there is no directory for the records; `Io` when they cannot be written.
    pub(crate) fn agree(&self, files: &[SensitiveFile], now: Time) -> Result<()> {
        let records = self.records().ok_or_else(no_records_directory)?;
        files.iter().try_for_each(|file| records.trust(&file.path, &file.settings, now))
    }

    /// Records consent to a change of a file in the store, at `path`, that a server makes for an authorized client, or
    /// a command for a person. Does so only if the previous settings of all files either did not need consent or had
    /// it, so that settings from a clone do not gain consent with the change.
    ///
    /// # Errors
    /// As [`ConsentPolicy::agree`].
    pub(crate) fn trust_stored_change(
        &self,
        workspace: &Config,
        path: &Path,
        (before, after): (&SettingsFiles, &SettingsFiles),
        now: Time,
    ) -> Result<()> {
        let records = self.records().ok_or_else(no_records_directory)?;
        for file in sensitive_files(workspace, before) {
            if is_in_repository(&file.path) && self.trust_state(&file)? != TrustState::Trusted {
                return Ok(());
            }
        }
        let after = sensitive_files(workspace, after);
        let after = after.iter().filter(|file| file.path == path && is_in_repository(path));
        after.into_iter().try_for_each(|file| records.add_trust(path, &file.settings, now))
    }

    /// Returns the versions of the records for the configuration file and the files beside it.
    pub(crate) fn record_versions(&self, workspace: &Config, store: &Store) -> [Option<FileVersion>; 4] {
        let records = self.records().filter(|_| workspace.is_found());
        let version = |path: &Path| records.and_then(|records| records.version_of(path));
        let imported = workspace.agents_from.as_deref().and_then(|path| path.canonicalize().ok());
        [
            workspace.path().and_then(version),
            version(&store.routes_path()),
            version(&store.agents_path()),
            imported.as_deref().and_then(version),
        ]
    }

    fn refusal(&self, file: &SensitiveFile, changed: Option<&[String]>) -> Error {
        let path = printable(&file.path.to_string_lossy());
        let message = match changed {
            None => {
                let keys: Vec<String> = file.settings.keys().cloned().collect();
                let shown = format_settings(&file.settings, &keys);
                format!(
                    "{path} is in a repository and chooses what runs, which you have not agreed to: {shown}"
                )
            }
            Some(keys) => {
                let shown = format_settings(&file.settings, keys);
                format!("{path} is in a repository and has changed what runs since you agreed to it: {shown}")
            }
        };
        let hint = match self.records() {
            Some(_) => {
                format!(
                    "review it, then agree with `lanes trust {}`",
                    shell_word(&file.config.to_string_lossy())
                )
            }
            None => no_records_directory().to_string(),
        };
        Error::refused(message).with_hint(hint)
    }
}

/// Creates the error for a missing directory for consent records.
pub(crate) fn no_records_directory() -> Error {
    Error::config("there is no directory for the records of what you trust")
        .with_hint("set HOME or XDG_STATE_HOME, or name the file with --config")
}

/// Formats some settings with their values on one line.
fn format_settings(settings: &SensitiveSettings, keys: &[String]) -> String {
    let mut all: Vec<String> = keys
        .iter()
        .take(MAX_SETTINGS_SHOWN)
        .map(|key| format_setting(settings, key, MAX_VALUE_CHARS))
        .collect();
    if keys.len() > MAX_SETTINGS_SHOWN {
        all.push(format!("and {} more", keys.len() - MAX_SETTINGS_SHOWN));
    }
    all.join(", ")
}

/// Formats a setting with at most `max_chars` characters of its value.
pub(crate) fn format_setting(settings: &SensitiveSettings, key: &str, max_chars: usize) -> String {
    let Some(value) = settings.get(key) else { return format!("{} is gone", printable(key)) };
    let text = printable(&value.to_string());
    let cut: String = text.chars().take(max_chars).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{}: {cut}{more}", printable(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::config::settings_files::SettingsFile;
    use crate::dispatch::testing::found_in_repository as found;
    use crate::model::json::{self, Object};
    use crate::model::task::object;
    use crate::workspace::{ConfigFile, ConfigOrigin};

    #[test]
    fn consent_is_required_once_and_again_for_a_change() {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let policy = ConsentPolicy::new(Some(TrustRecords::in_state_home(home.path())));
        let now = Time::from_micros(0);
        let files = sensitive_files(
            &found(dir.path(), "dispatch: {command: ./x, env: {B: 1}}\n"),
            &SettingsFiles::default(),
        );
        let error = policy.check(&files).unwrap_err().to_string();
        assert!(
            error.contains(
                "which you have not agreed to: dispatch.command: \"./x\", dispatch.env: {\"B\":1}; review"
            ),
            "{error}"
        );
        assert!(error.contains("handoff/handoff.yaml`"), "{error}");
        ConsentPolicy::AllowAll.check(&files).unwrap();
        policy.agree(&files, now).unwrap();
        policy.check(&files).unwrap();
        // Timing does not need consent.
        let files = sensitive_files(
            &found(dir.path(), "dispatch: {env: {B: 1}, command: ./x, timeout: 5}\n"),
            &SettingsFiles::default(),
        );
        policy.check(&files).unwrap();
        let long = "y".repeat(100);
        let files = sensitive_files(
            &found(dir.path(), &format!("dispatch: {{command: {long}}}\n")),
            &SettingsFiles::default(),
        );
        let error = policy.check(&files).unwrap_err().to_string();
        assert!(error.contains("since you agreed to it: dispatch.command: \"yyy"), "{error}");
        assert!(error.contains("…, dispatch.env is gone; review"), "{error}");
        // Without a directory for records, everything is refused, and the error has a hint.
        let error = ConsentPolicy::default().check(&files).unwrap_err().to_string();
        assert!(error.contains("set HOME or XDG_STATE_HOME"), "{error}");
    }

    #[test]
    fn a_server_agrees_to_its_own_changes_and_to_nothing_else() {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let policy = ConsentPolicy::new(Some(TrustRecords::in_state_home(home.path())));
        let config = found(dir.path(), "dispatch: {timeout: 5}\n");
        let path = dir.path().canonicalize().unwrap().join("handoff/state/routes.json");
        let routes = |text: &str| json::parse_object(text.as_bytes()).unwrap();
        let with_routes = |routes: &Object| {
            let text = json::to_text(&object([("routes", routes.clone().into())]));
            SettingsFiles { routes: Some(SettingsFile { path: path.clone(), text }), ..Default::default() }
        };
        let check = |routes: &Object| policy.check(&sensitive_files(&config, &with_routes(routes)));
        let carry = |config: &Config, before: &Object, after: &Object| {
            let change = (&with_routes(before), &with_routes(after));
            policy.trust_stored_change(config, &path, change, Time::from_micros(0)).unwrap();
        };
        let (none, first) = (routes("{}"), routes(r#"{"a": {"command": "x"}}"#));
        let second = routes(r#"{"a": {"command": "x"}, "b": {"vendor": "claude"}}"#);
        check(&first).unwrap_err();
        carry(&config, &none, &first);
        carry(&config, &first, &second);
        check(&second).unwrap();
        check(&first).unwrap();
        // Settings from a clone do not gain consent.
        let (theirs, more) =
            (routes(r#"{"c": {"command": "y"}}"#), routes(r#"{"c": {"command": "y", "args": []}}"#));
        carry(&config, &theirs, &more);
        check(&more).unwrap_err();
        // A route set over HTTP is a copy of the file's.
        let config = found(dir.path(), "dispatch: {routes: {d: {command: z}}}\n");
        let copied = routes(r#"{"d": {"command": "z"}}"#);
        carry(&config, &none, &copied);
        policy.check(&sensitive_files(&config, &with_routes(&copied))[1..]).unwrap_err();
    }

    #[test]
    fn a_named_file_and_a_file_outside_a_repository_need_no_consent() {
        let dir = tempfile::tempdir().unwrap();
        let config = found(dir.path(), "dispatch: {command: ./x}\n");
        let routes = dir.path().canonicalize().unwrap().join("handoff/state/routes.json");
        let text = r#"{"routes": {"a": {"command": "x", "priority": 1}, "b": null}}"#.to_string();
        let routes_file = SettingsFile { path: routes.clone(), text };
        let files = SettingsFiles { routes: Some(routes_file), ..Default::default() };
        let needs_consent = |config: &Config| -> Vec<bool> {
            sensitive_files(config, &files).iter().map(|file| file.needs_consent).collect()
        };
        assert_eq!(needs_consent(&config), [true, true]);
        assert_eq!(
            sensitive_files(&config, &files)[1].settings.keys().collect::<Vec<_>>(),
            ["routes.a.command", "routes.b"]
        );
        let ConfigOrigin::FoundFile(file, search) = &config.origin else { panic!("{config:?}") };
        let named_store = ConfigFile { store_is_named: true, ..file.clone() };
        let origin = ConfigOrigin::FoundFile(named_store, search.clone());
        assert_eq!(needs_consent(&Config { origin, ..config.clone() }), [true, false]);
        let origin = ConfigOrigin::NamedFile(file.clone());
        assert_eq!(needs_consent(&Config { origin, ..config.clone() }), [false, false]);
        std::fs::remove_dir(dir.path().join(".git")).unwrap();
        if !is_in_repository(&routes) {
            assert_eq!(needs_consent(&config), [false, false], "a pool's file, edited by its owner");
        }
    }
}
