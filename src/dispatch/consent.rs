//! Whether settings that nobody named may choose what runs.
//!
//! A dispatcher follows a handoff.yaml that a search finds. In a repository that file, and a routes.json in
//! a state directory there, may be anybody's: they came by a clone and change with a pull. So what they say
//! about programs and rights counts only as far as a person has agreed to it (`lanes trust`).

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result, printable, shell_word};
use crate::model::Time;
use crate::store::{Stamp, Store};
use crate::workspace::{Choices, Config, Standing, TrustRecords, is_in_repository, real_path};

/// Settings that say when and in which order runs happen, or how many of them, but neither what runs, nor
/// with which rights, words or money. Everything else needs consent, whatever a later version adds.
const HARMLESS: [&str; 24] = [
    "priority",
    "timeout",
    "silence_timeout",
    "poll_interval",
    "max_retries",
    "retry_delay",
    "retry_delay_max",
    "resume_on",
    "dead_letter_lane",
    "on_success",
    "in_progress",
    "concurrency",
    "effort",
    "wants_json",
    "max_concurrent",
    "lease_seconds",
    "owner",
    "grace",
    "drain",
    "lanes",
    "linger",
    "prices",
    // Their content is looked at one by one.
    "routes",
    "vendors",
];

/// What is harmless below `on_success`.
const HARMLESS_ON_SUCCESS: [&str; 1] = ["move_to"];

/// How many settings a refusal shows, and how much of each.
const MOST_SHOWN: usize = 4;
const LONGEST_SHOWN: usize = 60;

/// What one file chooses.
#[derive(Clone, Debug, PartialEq)]
pub struct FileChoices {
    /// The file, resolved.
    pub path: PathBuf,
    /// Its settings that need consent.
    pub choices: Choices,
    /// Whether nothing is run before they are agreed to.
    pub is_asked: bool,
}

/// What the configuration and, if there is one, routes.json choose; files that choose nothing are left out.
pub fn choices(workspace: &Config, routes: Option<(&Path, &str)>) -> Vec<FileChoices> {
    let mut files = Vec::new();
    let is_found = workspace.found.is_some();
    if let Some(path) = &workspace.path {
        let mut choices = places_outside(workspace, path);
        let dispatch = workspace.dispatch.as_ref().map(to_json).unwrap_or_default();
        choices.extend(of_section(&dispatch, "dispatch"));
        files.push(FileChoices { path: path.clone(), choices, is_asked: is_found && is_in_repository(path) });
    }
    if let Some((path, text)) = routes {
        let mut choices = Choices::new();
        match serde_json::from_str(text).unwrap_or_default() {
            Value::Object(file) => {
                collect_routes(file.get("routes").unwrap_or(&Value::Null), "", &mut choices)
            }
            other => drop(choices.insert("routes.json".to_string(), other)),
        }
        let is_asked = is_found && !workspace.store_is_named && is_in_repository(path);
        files.push(FileChoices { path: path.to_path_buf(), choices, is_asked });
    }
    files.retain(|file| !file.choices.is_empty());
    files
}

/// Directories that a file names outside the directory that holds it: agents work there.
fn places_outside(workspace: &Config, path: &Path) -> Choices {
    let home = path.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let queue = workspace.queue_root.as_deref().map(real);
    let places = [
        ("workspace_root", Some(workspace.workspace_root.clone())),
        ("queue_root", queue),
        ("worktree_path", workspace.worktree_path.clone()),
    ];
    let outside = places.into_iter().filter_map(|(key, place)| {
        let place = place.filter(|place| !place.starts_with(home))?;
        Some((key.to_string(), place.to_string_lossy().into()))
    });
    outside.collect()
}

/// Where a path leads as far as it exists; what cannot be looked at stays as it is written, and is then
/// outside everything.
fn real(path: &Path) -> PathBuf {
    real_path(Path::new("/"), path).unwrap_or_else(|_| path.to_path_buf())
}

fn to_json(value: &serde_yaml::Value) -> Value {
    // What JSON has no words for is compared as text.
    serde_json::to_value(value)
        .unwrap_or_else(|_| Value::String(serde_yaml::to_string(value).unwrap_or_default()))
}

/// The choices of a `dispatch:` section.
fn of_section(section: &Value, prefix: &str) -> Choices {
    let mut choices = Choices::new();
    match section {
        Value::Null => {}
        Value::Object(settings) => {
            collect_settings(settings.iter(), prefix, &mut choices);
            if let Some(routes) = settings.get("routes") {
                collect_routes(routes, &format!("{prefix}."), &mut choices);
            }
            match settings.get("vendors") {
                Some(Value::Object(vendors)) => {
                    for (name, vendor) in vendors {
                        choices.insert(format!("{prefix}.vendors.{name}"), vendor.clone());
                    }
                }
                None | Some(Value::Null) => {}
                Some(other) => drop(choices.insert(format!("{prefix}.vendors"), other.clone())),
            }
        }
        other => drop(choices.insert(prefix.to_string(), other.clone())),
    }
    choices
}

fn collect_routes(routes: &Value, prefix: &str, choices: &mut Choices) {
    match routes {
        Value::Null => {}
        Value::Object(lanes) => {
            for (lane, route) in lanes {
                let place = format!("{prefix}routes.{lane}");
                match route {
                    Value::Object(settings) => collect_settings(settings.iter(), &place, choices),
                    // In routes.json it takes the file's route away.
                    other => drop(choices.insert(place, other.clone())),
                }
            }
        }
        other => drop(choices.insert(format!("{prefix}routes"), other.clone())),
    }
}

fn collect_settings<'a>(
    settings: impl Iterator<Item = (&'a String, &'a Value)>,
    prefix: &str,
    choices: &mut Choices,
) {
    for (key, value) in settings {
        let place = format!("{prefix}.{key}");
        match value {
            Value::Object(content) if key == "on_success" => {
                for (key, value) in content {
                    if !HARMLESS_ON_SUCCESS.contains(&key.as_str()) {
                        choices.insert(format!("{place}.{key}"), value.clone());
                    }
                }
            }
            _ if HARMLESS.contains(&key.as_str()) => {}
            value => drop(choices.insert(place, value.clone())),
        }
    }
}

/// Decides whether the settings of files may be used.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    records: Option<TrustRecords>,
    is_open: bool,
}

impl Gate {
    /// A gate that goes by the records of the user; without any, nothing that is asked for passes.
    pub fn new(records: Option<TrustRecords>) -> Self {
        Self { records, is_open: false }
    }

    /// The same gate, which lets everything pass.
    #[must_use]
    pub fn opened(self) -> Self {
        Self { is_open: true, ..self }
    }

    /// Refuses settings that need consent and have none.
    ///
    /// # Errors
    /// `Refused`, naming the file, what it chooses, and how to agree; `Corrupt` or `Io` when the records
    /// cannot be read.
    pub fn check(&self, files: &[FileChoices]) -> Result<()> {
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

    /// How a file stands to what was agreed to.
    ///
    /// # Errors
    /// `Corrupt` or `Io` when the records cannot be read.
    pub fn standing(&self, file: &FileChoices) -> Result<Standing> {
        let record = self.records.as_ref().map(|records| records.find(&file.path)).transpose()?.flatten();
        Ok(record.map_or(Standing::Unknown, |record| record.standing(&file.choices)))
    }

    /// Agrees to what `files` choose now.
    ///
    /// # Errors
    /// `Config` when there is no place for records; `Io`.
    pub fn agree(&self, files: &[FileChoices], now: Time) -> Result<()> {
        let Some(records) = &self.records else { return Err(no_place()) };
        files.iter().try_for_each(|file| records.trust(&file.path, &file.choices, now))
    }

    /// The versions of the records that `workspace` goes by.
    pub(super) fn stamps(&self, workspace: &Config, store: &Store) -> [Option<Stamp>; 2] {
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
                    shell_word(&file.path.to_string_lossy())
                )
            }
            None => no_place().to_string(),
        };
        Error::refused(message).with_hint(hint)
    }
}

/// There is nowhere to keep what a person agrees to.
pub fn no_place() -> Error {
    Error::config("there is no directory to keep in what you trust")
        .with_hint("set HOME or XDG_STATE_HOME, or name the file with --config")
}

/// Some settings with their values, on one line.
fn shown(choices: &Choices, keys: &[String]) -> String {
    let mut all: Vec<String> =
        keys.iter().take(MOST_SHOWN).map(|key| setting(choices, key, LONGEST_SHOWN)).collect();
    if keys.len() > MOST_SHOWN {
        all.push(format!("and {} more", keys.len() - MOST_SHOWN));
    }
    all.join(", ")
}

/// One setting with at most `most` characters of its value.
pub fn setting(choices: &Choices, key: &str, most: usize) -> String {
    let Some(value) = choices.get(key) else { return format!("{} is gone", printable(key)) };
    let text = printable(&value.to_string());
    let cut: String = text.chars().take(most).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{}: {cut}{more}", printable(key))
}

#[cfg(test)]
mod tests {
    use super::super::config::PROCESS_KEYS;
    use super::super::route::ROUTE_KEYS;
    use super::*;

    /// Every other setting, each for a reason: it names a program or its words, environment, place, rights,
    /// or the money that it may cost.
    const NEED_CONSENT: [&str; 18] = [
        "vendor",
        "command",
        "args",
        "format",
        "prompt",
        "env",
        "cwd",
        "model",
        "permission_mode",
        "allowed_tools",
        "disallowed_tools",
        "max_budget_usd",
        "mcp_config",
        "add_dirs",
        "max_depth",
        "worktree_roots",
        "setting_sources",
        "git_writable",
    ];

    #[test]
    fn every_setting_is_decided_about() {
        for key in PROCESS_KEYS.iter().chain(&ROUTE_KEYS) {
            let (harmless, needs) = (HARMLESS.contains(key), NEED_CONSENT.contains(key));
            assert!(
                harmless != needs,
                "{key}: decide whether it chooses what runs (NEED_CONSENT), or only when (HARMLESS)"
            );
        }
        for key in HARMLESS.iter().chain(&NEED_CONSENT) {
            assert!(PROCESS_KEYS.contains(key) || ROUTE_KEYS.contains(key), "{key} is no setting any more");
        }
    }

    fn keys(choices: &Choices) -> Vec<&str> {
        choices.keys().map(String::as_str).collect()
    }

    #[test]
    fn what_chooses_what_runs_is_found_wherever_it_stands() {
        let text = "\
max_concurrent: 2
env: {A: 1}
unheard_of: x
routes:
  build: {command: ./x, timeout: 5, on_success: {move_to: a, run: b}}
  plain: {priority: 1}
  none:
vendors: {claude: {args: [a]}}
";
        let section: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
        assert_eq!(
            keys(&of_section(&to_json(&section), "dispatch")),
            [
                "dispatch.env",
                "dispatch.routes.build.command",
                "dispatch.routes.build.on_success.run",
                "dispatch.routes.none",
                "dispatch.unheard_of",
                "dispatch.vendors.claude",
            ]
        );
        assert!(of_section(&Value::Null, "dispatch").is_empty());
        for odd in ["5", "[a]", "{routes: 5}", "{vendors: 5}"] {
            let odd: serde_yaml::Value = serde_yaml::from_str(odd).unwrap();
            assert_eq!(of_section(&to_json(&odd), "dispatch").len(), 1, "{odd:?}");
        }
    }

    /// A workspace whose file was found in a repository.
    fn found(dir: &Path, text: &str) -> Config {
        let holder = dir.canonicalize().unwrap();
        std::fs::create_dir_all(holder.join(".git")).unwrap();
        std::fs::create_dir_all(holder.join("handoff")).unwrap();
        let file = holder.join("handoff/handoff.yaml");
        std::fs::write(&file, format!("workspace_id: w\n{text}")).unwrap();
        let identity = crate::workspace::Identity::of_process(None);
        Config::load_found(crate::workspace::Found { holder, file, identity }, None).unwrap()
    }

    #[test]
    fn places_outside_the_project_are_a_choice() {
        let dir = tempfile::tempdir().unwrap();
        let inside = found(dir.path(), "workspace_root: ../src\nworktree_path: ../wt\n");
        assert!(choices(&inside, None).is_empty());
        let outside = found(dir.path(), "workspace_root: /\nqueue_root: ../../q\nworktree_path: /tmp\n");
        let files = choices(&outside, None);
        assert_eq!(keys(&files[0].choices), ["queue_root", "workspace_root", "worktree_path"]);
        assert!(files[0].is_asked);
    }

    #[test]
    fn consent_is_asked_for_once_and_again_for_a_change() {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let gate = Gate::new(Some(TrustRecords::below(home.path())));
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
        // Timing is nobody's business.
        let files = choices(&found(dir.path(), "dispatch: {env: {B: 1}, command: ./x, timeout: 5}\n"), None);
        gate.check(&files).unwrap();
        let long = "y".repeat(100);
        let files = choices(&found(dir.path(), &format!("dispatch: {{command: {long}}}\n")), None);
        let error = gate.check(&files).unwrap_err().to_string();
        assert!(error.contains("since you agreed to it: dispatch.command: \"yyy"), "{error}");
        assert!(error.contains("…, dispatch.env is gone; look"), "{error}");
        // Without a place for records nothing passes, and the error says what to do.
        let error = Gate::default().check(&files).unwrap_err().to_string();
        assert!(error.contains("set HOME or XDG_STATE_HOME"), "{error}");
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
            keys(&choices(&config, Some((&routes, text)))[1].choices),
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
