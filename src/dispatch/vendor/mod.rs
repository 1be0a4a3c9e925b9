//! Vendors as data: which program to run, with which arguments, and what its output means.
//!
//! The command lines of agents change within months, so they are kept in a YAML file (`profiles.yaml`, compiled
//! in), which `dispatch.vendors` in `handoff.yaml` overrides key by key. Adding a vendor requires no Rust code as
//! long as its output is in one of the known [`Format`]s.

pub(crate) mod argv;
mod environment;
pub(crate) mod messages;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use serde_yaml::{Mapping, Value};

pub(crate) use argv::{ArgumentValues, Argv};
pub(crate) use environment::agent_environment;
pub use messages::VendorMessages;
pub(crate) use messages::{MessageMatch, MessageMeaning, MessageSource, RefusedCall, ResetFormat};

use super::config::route::{Runner, setting_sources};
use super::output::Format;
use crate::workspace::{Section, SourceText, did_you_mean};
use crate::{Error, Result};

/// The name of the profile whose keys apply to all vendors.
pub(crate) const EVERY_VENDOR: &str = "every";

/// The built-in profiles.
const PROFILES: &str = include_str!("profiles.yaml");

/// The vendor name of runs whose route names a program instead of a vendor.
pub(crate) const COMMAND: &str = "command";

/// The keys of a profile other than those of [`messages`].
const PROFILE_KEYS: [&str; 17] = [
    "like",
    "command",
    "format",
    "session",
    "args",
    "resume_args",
    "version",
    "permission_mode",
    "setting_sources",
    "allowed_tools",
    "disallowed_tools",
    "model_classes",
    "env",
    "env_defaults",
    "session_env",
    "model",
    "effort",
];

/// How the session id of a conversation is determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionIds {
    /// The dispatcher chooses it before the start, so that a run that was killed can be resumed.
    Uuid,
    /// The program chooses it and prints it.
    Announced,
    /// The program has no conversations.
    None,
}

/// How to run one vendor's agent.
#[derive(Clone, Debug)]
pub struct Vendor {
    /// The name in routes and in `required_vendor`.
    pub name: String,
    /// The vendor whose flags and setting values it understands: its own name, or the one that it is `like`.
    pub dialect: String,
    /// The program, looked up on PATH unless it contains a slash.
    pub command: String,
    /// The format of its output.
    pub format: Format,
    /// How session ids are determined.
    pub session: SessionIds,
    /// Arguments of a fresh run.
    pub args: Argv,
    /// Arguments of a run that resumes a conversation, if the vendor supports that.
    pub resume_args: Option<Argv>,
    /// Arguments that make it print its version; empty if there are none.
    pub version: Vec<String>,
    /// Model to use when neither task nor route names one.
    pub model: Option<String>,
    /// Effort to use when neither task nor route names one.
    pub effort: Option<String>,
    /// Permission mode, as the vendor names it.
    pub permission_mode: Option<String>,
    /// Which settings the program loads (user, project, …), as the vendor names them; empty leaves it to the program.
    pub setting_sources: Vec<String>,
    /// Tools that run without asking.
    pub allowed_tools: Vec<String>,
    /// Tools that are refused.
    pub disallowed_tools: Vec<String>,
    /// The vendor's model for each `model_class` that a task may name.
    pub model_classes: BTreeMap<String, String>,
    /// How it reports failures that are not the task's fault.
    pub messages: Arc<VendorMessages>,
    /// Variables to set, or to remove where the value is `None`.
    pub env: BTreeMap<String, Option<String>>,
    /// Variables to set unless the dispatcher's environment has one of that name.
    pub env_defaults: BTreeMap<String, Option<String>>,
    /// Variables that its program sets for its child processes and that no agent may inherit; a final `*`
    /// matches any ending.
    pub session_env: Vec<String>,
}

impl Vendor {
    /// Returns the vendor for a program without a profile, which reads the prompt on standard input, prints the
    /// answer, and succeeds if it exits with 0.
    pub fn command(program: &str, args: &[String]) -> Self {
        Self {
            name: COMMAND.to_string(),
            dialect: COMMAND.to_string(),
            command: program.to_string(),
            format: Format::Text,
            session: SessionIds::None,
            args: Argv::literal(args),
            resume_args: None,
            version: Vec::new(),
            model: None,
            effort: None,
            permission_mode: None,
            setting_sources: Vec::new(),
            allowed_tools: Vec::new(),
            disallowed_tools: Vec::new(),
            model_classes: BTreeMap::new(),
            messages: Arc::default(),
            env: BTreeMap::new(),
            env_defaults: BTreeMap::new(),
            session_env: Vec::new(),
        }
    }

    /// Returns the default variables that `parent` does not set.
    pub fn unset_defaults(&self, parent: &[(OsString, OsString)]) -> BTreeMap<String, Option<String>> {
        let is_free = |name: &String| !parent.iter().any(|(taken, _)| taken == name.as_str());
        self.env_defaults
            .iter()
            .filter(|(name, _)| is_free(name))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect()
    }

    /// Returns whether its command lines have a placeholder for a setting of a route.
    pub fn supports(&self, setting: &str) -> bool {
        let name = if setting == "args" { "extra_args" } else { setting };
        let singular = name.trim_end_matches('s');
        let takes = |argv: &Argv| argv.has_placeholder(name) || argv.has_placeholder(singular);
        let is_supported = takes(&self.args) && self.resume_args.as_ref().is_none_or(takes);
        is_supported || (setting == "max_budget_usd" && self.format.tells_usage_as_it_goes())
    }

    /// Returns whether its program ends a run itself that has cost as much as it may.
    pub(crate) fn limits_cost(&self) -> bool {
        self.args.has_placeholder("max_budget_usd")
    }

    /// Returns whether its agents get messages while they work.
    pub fn takes_messages_in_run(&self) -> bool {
        self.supports("message_hook")
    }

    /// Returns whether it has a flag for the effort; otherwise the prompt states it.
    pub fn supports_effort(&self) -> bool {
        self.args.has_placeholder("effort")
    }

    /// Returns the model for `class`; `None` for `any`.
    ///
    /// # Errors
    /// A message that lists the known classes.
    pub fn model_for_class(&self, class: &str) -> std::result::Result<Option<String>, String> {
        if class == "any" {
            return Ok(None);
        }
        match self.model_classes.get(class) {
            Some(model) => Ok(Some(model.clone())),
            None => {
                let known: Vec<&str> = self.model_classes.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
                let class = crate::error::printable(class);
                Err(format!(
                    "model class {class} is unknown to {}; its default model is used (known classes: {known})",
                    self.name
                ))
            }
        }
    }
}

/// The vendors that a dispatcher knows: the built-in ones and those of `handoff.yaml`.
#[derive(Clone, Debug)]
pub struct Vendors {
    by_name: BTreeMap<String, Vendor>,
    session_env: Vec<String>,
    /// Messages that apply to all vendors and to programs without a profile.
    common_messages: Arc<VendorMessages>,
}

impl Vendors {
    /// Returns the built-in vendors.
    ///
    /// # Errors
    /// `Config` when the built-in profiles cannot be read, which a test rules out.
    pub fn built_in() -> Result<Self> {
        let source = SourceText { file: "handoff.yaml", text: "" };
        Self::with_overrides(&Section::new(source, &["dispatch", "vendors"], None)?)
    }

    /// Returns the built-in vendors, overridden and extended by the `vendors:` mapping of the file, whose `every`
    /// entry applies to all of them.
    ///
    /// # Errors
    /// `Config`, naming file, line and key.
    pub fn with_overrides(overrides: &Section<'_>) -> Result<Self> {
        let mut built_in = profiles()?;
        let every = mapping_of(&built_in, EVERY_VENDOR).unwrap_or_default();
        built_in.remove(EVERY_VENDOR);
        let overriding_every = overrides.section(EVERY_VENDOR)?;
        overriding_every.refuse_unknown_keys(&messages::MESSAGE_KEYS)?;
        let every = merge(every, overriding_every.mapping());
        let mut names: Vec<String> =
            built_in.keys().filter_map(|name| name.as_str()).map(str::to_string).collect();
        for name in overrides.keys()? {
            if !names.contains(&name) && name != EVERY_VENDOR {
                names.push(name);
            }
        }
        let mut vendors = BTreeMap::new();
        for name in names {
            let overriding = overrides.section(&name)?;
            overriding.refuse_unknown_keys(&[&PROFILE_KEYS[..], &messages::MESSAGE_KEYS].concat())?;
            let base = match overriding.text("like")?.value() {
                Some(like) => mapping_of(&built_in, &like)
                    .ok_or_else(|| overriding.error("like", "no built-in vendor has this name"))?,
                None => mapping_of(&built_in, &name).unwrap_or_default(),
            };
            let merged = merge(merge(every.clone(), &base), overriding.mapping());
            let vendor = read_vendor(&name, &overriding.with_mapping(merged))?;
            vendors.insert(name, vendor);
        }
        let session_env = vendors.values().flat_map(|vendor| vendor.session_env.clone()).collect();
        let common_messages = Arc::new(VendorMessages::read(&overriding_every.with_mapping(every))?);
        Ok(Self { by_name: vendors, session_env, common_messages })
    }

    /// Returns the messages that apply to all vendors and to programs without a profile.
    pub fn common_messages(&self) -> Arc<VendorMessages> {
        self.common_messages.clone()
    }

    /// Returns the vendor called `name`.
    ///
    /// # Errors
    /// `Config`, with the names of the known vendors.
    pub fn get(&self, name: &str) -> Result<&Vendor> {
        self.by_name.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
            let similar = did_you_mean(name, &known).map_or(String::new(), |similar| format!("{similar} "));
            Error::config(format!("unknown vendor {}", crate::error::printable(name))).with_hint(format!(
                "{similar}known vendors are {}; add others under dispatch.vendors in handoff.yaml",
                known.join(", ")
            ))
        })
    }

    /// Returns whether settings written for one runner are valid for the other.
    pub fn are_compatible(&self, one: &Runner, other: &Runner) -> bool {
        let dialect = |runner: &Runner| match runner {
            Runner::Vendor(name) => self.by_name.get(name).map(|vendor| vendor.dialect.clone()),
            Runner::Command { .. } => None,
        };
        one == other || dialect(one).is_some_and(|own| Some(own) == dialect(other))
    }

    /// Returns the session variables of all vendors: an agent of one vendor may start a dispatcher that runs agents
    /// of another.
    pub fn session_env(&self) -> &[String] {
        &self.session_env
    }

    /// Returns the names of the vendors in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

fn profiles() -> Result<Mapping> {
    serde_yaml::from_str(PROFILES)
        .map_err(|error| Error::config(format!("built-in vendor profiles: {error}")))
}

fn mapping_of(profiles: &Mapping, name: &str) -> Option<Mapping> {
    profiles.get(name).and_then(Value::as_mapping).cloned()
}

/// Returns `base` overridden by the keys of `overriding`; nested mappings are merged key by key.
fn merge(mut base: Mapping, overriding: &Mapping) -> Mapping {
    for (key, value) in overriding {
        let merged = match (base.get(key), value) {
            (Some(Value::Mapping(below)), Value::Mapping(above)) => {
                Value::Mapping(merge(below.clone(), above))
            }
            _ => value.clone(),
        };
        base.insert(key.clone(), merged);
    }
    base
}

fn read_vendor(name: &str, section: &Section<'_>) -> Result<Vendor> {
    let command = section
        .text("command")?
        .value()
        .ok_or_else(|| section.error_here("a vendor needs a command (or `like`, to take it from another)"))?;
    let format = section.read("format", Format::from_yaml)?;
    let session = section.read("session", |value| match value.as_str() {
        Some("uuid") => Ok(SessionIds::Uuid),
        Some("announced") => Ok(SessionIds::Announced),
        Some("none") => Ok(SessionIds::None),
        _ => Err("expected uuid, announced or none".to_string()),
    })?;
    let mut model_classes = BTreeMap::new();
    for (class, model) in section.variables("model_classes")? {
        if let Some(model) = model {
            model_classes.insert(class, model);
        }
    }
    Ok(Vendor {
        name: name.to_string(),
        dialect: section.text("like")?.or(name.to_string()),
        command,
        format: format.or(Format::Text),
        session: session.or(SessionIds::None),
        args: section.read("args", Argv::from_yaml)?.or(Argv::literal(&[])),
        resume_args: section.read("resume_args", Argv::from_yaml)?.value(),
        version: section.list("version")?.or(Vec::new()),
        model: section.text("model")?.value(),
        effort: section.text("effort")?.value(),
        permission_mode: section.text("permission_mode")?.value(),
        setting_sources: setting_sources(section)?.or(Vec::new()),
        allowed_tools: section.list("allowed_tools")?.or(Vec::new()),
        disallowed_tools: section.list("disallowed_tools")?.or(Vec::new()),
        model_classes,
        messages: Arc::new(VendorMessages::read(section)?),
        env: section.variables("env")?,
        env_defaults: section.variables("env_defaults")?,
        session_env: section.list("session_env")?.or(Vec::new()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vendors(text: &str) -> Result<Vendors> {
        let value: Value = serde_yaml::from_str(text).expect("valid YAML");
        let source = SourceText { file: "handoff.yaml", text };
        Vendors::with_overrides(&Section::new(source, &["vendors"], value.get("vendors"))?)
    }

    #[test]
    fn the_built_in_profiles_can_be_read() {
        let vendors = Vendors::built_in().expect("built-in profiles");
        let names: Vec<&str> = vendors.names().collect();
        assert_eq!(names, ["claude", "codex", "gemini", "opencode"]);
        let claude = vendors.get("claude").expect("claude");
        assert_eq!(claude.format, Format::ClaudeStream);
        assert_eq!(claude.session, SessionIds::Uuid);
        assert!(claude.supports_effort());
        assert!(!vendors.get("gemini").expect("gemini").supports_effort());
    }

    #[test]
    fn a_default_variable_gives_way_to_one_that_a_person_set() {
        let vendors = vendors("vendors: {mine: {command: x, env_defaults: {A: 1}}}\n").expect("readable");
        let mine = vendors.get("mine").expect("mine");
        assert_eq!(mine.unset_defaults(&[("B".into(), "2".into())])["A"].as_deref(), Some("1"));
        assert!(mine.unset_defaults(&[("A".into(), "2".into())]).is_empty());
        let ceiling = "CLAUDE_CODE_PRINT_BG_WAIT_CEILING_MS";
        let claude = vendors.get("claude").expect("claude");
        assert_eq!(claude.unset_defaults(&[])[ceiling].as_deref(), Some("0"));
    }

    #[test]
    fn the_file_overrides_key_by_key_and_adds_vendors() {
        let vendors = vendors(
            "vendors:\n  claude:\n    permission_mode: null\n    env: {DISABLE_AUTOUPDATER: null, A: 1}\n  \
             night: {like: codex, model: m1}\n  mine: {command: ./mine.sh, args: [--go]}\n",
        )
        .expect("readable");
        let claude = vendors.get("claude").expect("claude");
        assert_eq!(claude.permission_mode, None);
        assert_eq!(claude.command, "claude");
        assert_eq!(claude.env["DISABLE_AUTOUPDATER"], None);
        assert_eq!(claude.env["A"].as_deref(), Some("1"));
        let night = vendors.get("night").expect("night");
        assert_eq!(night.command, "codex");
        assert_eq!(night.model.as_deref(), Some("m1"));
        assert_eq!(vendors.get("mine").expect("mine").format, Format::Text);
    }

    #[test]
    fn errors_name_their_line() {
        let message = |text: &str| vendors(text).expect_err("a mistake").to_string();
        assert_eq!(
            message("vendors:\n  x:\n    args: []\n"),
            "handoff.yaml line 2: vendors.x: a vendor needs a command (or `like`, to take it from another)"
        );
        assert!(message("vendors:\n  claude:\n    format: xml\n").starts_with("handoff.yaml line 3: "));
        assert!(message("vendors:\n  claude:\n    args: ['{sesion_id}']\n").contains("unknown placeholder"));
        assert!(message("vendors:\n  x:\n    like: nobody\n").contains("no built-in vendor"));
    }

    #[test]
    fn the_warning_about_an_unknown_class_lists_the_known_ones() {
        let vendors = Vendors::built_in().expect("built-in profiles");
        let claude = vendors.get("claude").expect("claude");
        assert_eq!(claude.model_for_class("any"), Ok(None));
        assert_eq!(claude.model_for_class("opus"), Ok(Some("opus".to_string())));
        let warning = claude.model_for_class("gpt").expect_err("unknown");
        assert!(warning.contains("haiku, opus, sonnet"), "{warning}");
        assert!(vendors.get("nobody").expect_err("unknown").to_string().contains("claude, codex"));
    }
}
