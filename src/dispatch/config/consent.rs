//! Decides whether settings in discovered files may choose what runs.
//!
//! A dispatcher uses the handoff.yaml that it discovers. In a repository, this file, and a routes.json in a state
//! directory there, may come from anyone: they arrive with a clone and change with a pull. So their settings for
//! programs and permissions apply only after a person has agreed to them (`lanes trust`).

use std::path::Path;

use super::sensitive_settings::{FileChoices, choices};
use crate::error::{Error, Result, printable, shell_word};
use crate::model::Time;
use crate::model::json::{self, Object};
use crate::model::task::object;
use crate::store::{FileVersion, Store};
use crate::workspace::{Choices, Config, Standing, TrustRecords, is_in_repository};

/// Maximum number of settings in a refusal, and maximum number of characters of each.
const MOST_SHOWN: usize = 4;
const LONGEST_SHOWN: usize = 60;

/// Decides whether the settings of files may be used.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConsentPolicy {
    records: Option<TrustRecords>,
    is_open: bool,
}

impl ConsentPolicy {
    /// Creates a policy that applies the user's records. Without records, it refuses all settings that need consent.
    pub(crate) fn new(records: Option<TrustRecords>) -> Self {
        Self { records, is_open: false }
    }

    /// Returns a policy that allows everything.
    #[must_use]
    pub(crate) fn opened(self) -> Self {
        Self { is_open: true, ..self }
    }

    /// Refuses settings that need consent but do not have it.
    ///
    /// # Errors
    /// `Refused`, with the file, its settings, and the command to agree; `Corrupt` or `Io` when the records cannot
    /// be read.
    pub(crate) fn check(&self, files: &[FileChoices]) -> Result<()> {
        if self.is_open {
            return Ok(());
        }
        for file in files.iter().filter(|file| file.is_asked) {
            match self.standing(file)? {
                Standing::Trusted => {}
                Standing::Unknown => return Err(self.refusal(file, None)),
                Standing::Changed(keys) => return Err(self.refusal(file, Some(&keys))),
            }
        }
        Ok(())
    }

    /// Compares the settings of a file with those that the user has agreed to.
    ///
    /// # Errors
    /// `Corrupt` or `Io` when the records cannot be read.
    pub(crate) fn standing(&self, file: &FileChoices) -> Result<Standing> {
        let record = self.records.as_ref().map(|records| records.find(&file.path)).transpose()?.flatten();
        Ok(record.map_or(Standing::Unknown, |record| record.standing(&file.choices)))
    }

    /// Records consent to the current settings of `files`.
    ///
    /// # Errors
    /// `Config` when there is no directory for the records; `Io` when they cannot be written.
    pub(crate) fn agree(&self, files: &[FileChoices], now: Time) -> Result<()> {
        let Some(records) = &self.records else { return Err(no_place()) };
        files.iter().try_for_each(|file| records.trust(&file.path, &file.choices, now))
    }

    /// Records consent to a change of the routes in routes.json, at `path`, that a server makes for an authorized
    /// client. Does so only if the previous settings of all files either did not need consent or had it, so that
    /// settings from a clone do not gain consent with the change.
    ///
    /// # Errors
    /// As [`ConsentPolicy::agree`].
    pub(crate) fn carry_over(
        &self,
        workspace: &Config,
        path: &Path,
        (before, after): (&Object, &Object),
        now: Time,
    ) -> Result<()> {
        let Some(records) = &self.records else { return Err(no_place()) };
        let text = |routes: &Object| json::to_text(&object([("routes", routes.clone().into())]));
        for file in choices(workspace, Some((path, &text(before)))) {
            if is_in_repository(&file.path) && self.standing(&file)? != Standing::Trusted {
                return Ok(());
            }
        }
        let after = choices(workspace, Some((path, &text(after))));
        let after = after.iter().filter(|file| file.path == path && is_in_repository(path));
        after.into_iter().try_for_each(|file| records.trust_also(path, &file.choices, now))
    }

    /// Returns the file versions of the records that apply to `workspace`.
    pub(crate) fn stamps(&self, workspace: &Config, store: &Store) -> [Option<FileVersion>; 2] {
        let records = self.records.as_ref().filter(|_| workspace.found.is_some() && !self.is_open);
        let stamp = |path: &Path| records.and_then(|records| records.stamp(path));
        [workspace.path.as_deref().and_then(stamp), stamp(&store.routes_path())]
    }

    fn refusal(&self, file: &FileChoices, changed: Option<&[String]>) -> Error {
        let path = printable(&file.path.to_string_lossy());
        let message = match changed {
            None => {
                let keys: Vec<String> = file.choices.keys().cloned().collect();
                let shown = shown(&file.choices, &keys);
                format!(
                    "{path} is in a repository and chooses what runs, which you have not agreed to: {shown}"
                )
            }
            Some(keys) => {
                let shown = shown(&file.choices, keys);
                format!("{path} is in a repository and has changed what runs since you agreed to it: {shown}")
            }
        };
        let hint = match self.records {
            Some(_) => {
                format!(
                    "look at it, then agree with `lanes trust {}`",
                    shell_word(&file.config.to_string_lossy())
                )
            }
            None => no_place().to_string(),
        };
        Error::refused(message).with_hint(hint)
    }
}

/// Creates the error for a missing directory for consent records.
pub(crate) fn no_place() -> Error {
    Error::config("there is no directory for the records of what you trust")
        .with_hint("set HOME or XDG_STATE_HOME, or name the file with --config")
}

/// Formats some settings with their values on one line.
fn shown(choices: &Choices, keys: &[String]) -> String {
    let mut all: Vec<String> =
        keys.iter().take(MOST_SHOWN).map(|key| setting(choices, key, LONGEST_SHOWN)).collect();
    if keys.len() > MOST_SHOWN {
        all.push(format!("and {} more", keys.len() - MOST_SHOWN));
    }
    all.join(", ")
}

/// Formats a setting with at most `most` characters of its value.
pub(crate) fn setting(choices: &Choices, key: &str, most: usize) -> String {
    let Some(value) = choices.get(key) else { return format!("{} is gone", printable(key)) };
    let text = printable(&value.to_string());
    let cut: String = text.chars().take(most).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{}: {cut}{more}", printable(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::testing::found_in_repository as found;

    #[test]
    fn consent_is_asked_for_once_and_again_for_a_change() {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let gate = ConsentPolicy::new(Some(TrustRecords::below(home.path())));
        let now = Time::from_micros(0);
        let files = choices(&found(dir.path(), "dispatch: {command: ./x, env: {B: 1}}\n"), None);
        let error = gate.check(&files).unwrap_err().to_string();
        assert!(
            error.contains(
                "which you have not agreed to: dispatch.command: \"./x\", dispatch.env: {\"B\":1}; look"
            ),
            "{error}"
        );
        assert!(error.contains("handoff/handoff.yaml`"), "{error}");
        gate.clone().opened().check(&files).unwrap();
        gate.agree(&files, now).unwrap();
        gate.check(&files).unwrap();
        // Timing does not need consent.
        let files = choices(&found(dir.path(), "dispatch: {env: {B: 1}, command: ./x, timeout: 5}\n"), None);
        gate.check(&files).unwrap();
        let long = "y".repeat(100);
        let files = choices(&found(dir.path(), &format!("dispatch: {{command: {long}}}\n")), None);
        let error = gate.check(&files).unwrap_err().to_string();
        assert!(error.contains("since you agreed to it: dispatch.command: \"yyy"), "{error}");
        assert!(error.contains("…, dispatch.env is gone; look"), "{error}");
        // Without a directory for records, everything is refused, and the error has a hint.
        let error = ConsentPolicy::default().check(&files).unwrap_err().to_string();
        assert!(error.contains("set HOME or XDG_STATE_HOME"), "{error}");
    }

    #[test]
    fn a_server_agrees_to_its_own_changes_and_to_nothing_else() {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let gate = ConsentPolicy::new(Some(TrustRecords::below(home.path())));
        let config = found(dir.path(), "dispatch: {timeout: 5}\n");
        let path = dir.path().canonicalize().unwrap().join("handoff/state/routes.json");
        let routes = |text: &str| json::parse_object(text.as_bytes()).unwrap();
        let check = |routes: &Object| {
            let text = json::to_text(&object([("routes", routes.clone().into())]));
            gate.check(&choices(&config, Some((&path, &text))))
        };
        let carry = |config: &Config, before: &Object, after: &Object| {
            gate.carry_over(config, &path, (before, after), Time::from_micros(0)).unwrap();
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
        let text = json::to_text(&object([("routes", copied.into())]));
        gate.check(&choices(&config, Some((&path, &text)))[1..]).unwrap_err();
    }

    #[test]
    fn what_was_named_or_is_ones_own_is_not_asked_about() {
        let dir = tempfile::tempdir().unwrap();
        let config = found(dir.path(), "dispatch: {command: ./x}\n");
        let routes = dir.path().canonicalize().unwrap().join("handoff/state/routes.json");
        let text = r#"{"routes": {"a": {"command": "x", "priority": 1}, "b": null}}"#;
        let asked = |config: &Config| -> Vec<bool> {
            choices(config, Some((&routes, text))).iter().map(|file| file.is_asked).collect()
        };
        assert_eq!(asked(&config), [true, true]);
        assert_eq!(
            choices(&config, Some((&routes, text)))[1].choices.keys().collect::<Vec<_>>(),
            ["routes.a.command", "routes.b"]
        );
        assert_eq!(asked(&Config { store_is_named: true, ..config.clone() }), [true, false]);
        assert_eq!(asked(&Config { found: None, ..config.clone() }), [false, false]);
        std::fs::remove_dir(dir.path().join(".git")).unwrap();
        if !is_in_repository(&routes) {
            assert_eq!(asked(&config), [false, false], "a pool's file, edited by its owner");
        }
    }
}
