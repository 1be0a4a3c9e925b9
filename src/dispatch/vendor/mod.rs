//! Vendors as data: which program to run, with which arguments, and what it prints.
//!
//! The command lines of agents change within months, so they live in a YAML file
//! (`profiles.yaml`, built in) that `dispatch.vendors` of `handoff.yaml` overrides key by key.
//! Adding a vendor needs no Rust as long as its output is one of the known [`Format`]s.

mod argv;
mod environment;
mod notices;
mod version;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use serde_yaml::{Mapping, Value};

pub use argv::{Argv, Slots, guard};
pub use environment::agent_environment;
pub use notices::{Cause, Follows, Heard, Notices, Refusal, Speaker};
pub use version::Versions;

use super::config::reader::{Section, Source};
use super::config::route::{Runner, setting_sources};
use super::output::Format;
use crate::{Error, Result};

/// The profile that holds what is the same for all vendors.
const EVERY: &str = "every";

const PROFILES: &str = include_str!("profiles.yaml");

/// The vendor name of runs whose program the route itself names.
pub const COMMAND: &str = "command";

const KEYS: [&str; 17] = [
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

/// Who chooses the id of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionIds {
    /// We do, before the start: a run that was killed can be resumed.
    Uuid,
    /// The program does, and says so in its output.
    Announced,
    /// There are no conversations.
    None,
}

/// How to run one vendor's agent.
#[derive(Clone, Debug)]
pub struct Vendor {
    /// Name in routes and in `required_vendor`.
    pub name: String,
    /// The vendor whose words it understands: its own name, or the one that it is `like`.
    pub dialect: String,
    /// Program, found on PATH unless it contains a slash.
    pub command: String,
    /// What it prints.
    pub format: Format,
    /// Who chooses conversation ids.
    pub session: SessionIds,
    /// Arguments of a fresh run.
    pub args: Argv,
    /// Arguments of a run that goes on with a conversation, if the vendor can.
    pub resume_args: Option<Argv>,
    /// Arguments that print the version; empty when there are none.
    pub version: Vec<String>,
    /// Model to use when neither task nor route names one.
    pub model: Option<String>,
    /// Effort to use when neither task nor route names one.
    pub effort: Option<String>,
    /// Permission mode in the vendor's own words.
    pub permission_mode: Option<String>,
    /// Whose settings the program loads, in the vendor's own words; empty leaves it to the program.
    pub setting_sources: Vec<String>,
    /// Tools that run without asking.
    pub allowed_tools: Vec<String>,
    /// Tools that are refused.
    pub disallowed_tools: Vec<String>,
    /// What a task's `model_class` means to this vendor.
    pub model_classes: BTreeMap<String, String>,
    /// What it says when the task is not to blame.
    pub notices: Arc<Notices>,
    /// Variables to set, or to remove where the value is missing.
    pub env: BTreeMap<String, Option<String>>,
    /// Variables to set where the dispatcher's environment has none of that name.
    pub env_defaults: BTreeMap<String, Option<String>>,
    /// Variables that its program sets for what it starts, and that no agent may inherit; a final `*`
    /// matches any ending.
    pub session_env: Vec<String>,
}

impl Vendor {
    /// Any program that reads the prompt on standard input and prints its answer: the exit code
    /// decides about success.
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
            notices: Arc::default(),
            env: BTreeMap::new(),
            env_defaults: BTreeMap::new(),
            session_env: Vec::new(),
        }
    }

    /// The defaults among its variables that hold beside this environment.
    pub fn defaults_beside(&self, parent: &[(OsString, OsString)]) -> BTreeMap<String, Option<String>> {
        let is_free = |name: &String| !parent.iter().any(|(taken, _)| taken == name.as_str());
        self.env_defaults
            .iter()
            .filter(|(name, _)| is_free(name))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect()
    }

    /// Whether a setting of a route has a place on its command lines.
    pub fn takes(&self, setting: &str) -> bool {
        let name = if setting == "args" { "extra_args" } else { setting };
        let singular = name.trim_end_matches('s');
        let takes = |argv: &Argv| argv.mentions(name) || argv.mentions(singular);
        takes(&self.args) && self.resume_args.as_ref().is_none_or(takes)
    }

    /// Whether the effort a task asks for has a flag; otherwise it goes into the prompt.
    pub fn takes_effort(&self) -> bool {
        self.args.mentions("effort")
    }

    /// The model that `class` means: nothing for `any`, or an error that says which classes exist.
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
                    "model class {class} means nothing to {}; its default model is used (known classes: {known})",
                    self.name
                ))
            }
        }
    }
}

/// The vendors a dispatcher knows: the built-in ones and those of `handoff.yaml`.
#[derive(Clone, Debug)]
pub struct Vendors {
    by_name: BTreeMap<String, Vendor>,
    session_env: Vec<String>,
    /// What is the same for all, programs without a vendor included.
    every: Arc<Notices>,
}

impl Vendors {
    /// The built-in vendors.
    pub fn built_in() -> Result<Self> {
        let source = Source { file: "handoff.yaml", text: "" };
        Self::with_overrides(&Section::new(source, &["dispatch", "vendors"], None)?)
    }

    /// The built-in vendors, overridden and extended by the `vendors:` mapping of the file; what it says
    /// of `every` vendor holds for all of them.
    pub fn with_overrides(overrides: &Section<'_>) -> Result<Self> {
        let mut built_in = profiles()?;
        let every = mapping_of(&built_in, EVERY).unwrap_or_default();
        built_in.remove(EVERY);
        let over_every = overrides.section(EVERY)?;
        over_every.only(&notices::KEYS)?;
        let every = merge(every, over_every.mapping());
        let mut names: Vec<String> =
            built_in.keys().filter_map(|name| name.as_str()).map(str::to_string).collect();
        for name in overrides.keys()? {
            if !names.contains(&name) && name != EVERY {
                names.push(name);
            }
        }
        let mut vendors = BTreeMap::new();
        for name in names {
            let over = overrides.section(&name)?;
            over.only(&[&KEYS[..], &notices::KEYS].concat())?;
            let base = match over.text("like")?.value() {
                Some(like) => mapping_of(&built_in, &like)
                    .ok_or_else(|| over.error("like", "no built-in vendor has this name"))?,
                None => mapping_of(&built_in, &name).unwrap_or_default(),
            };
            let merged = merge(merge(every.clone(), &base), over.mapping());
            let vendor = read_vendor(&name, &over.with_mapping(merged))?;
            vendors.insert(name, vendor);
        }
        let session_env = vendors.values().flat_map(|vendor| vendor.session_env.clone()).collect();
        let every = Arc::new(Notices::read(&over_every.with_mapping(every))?);
        Ok(Self { by_name: vendors, session_env, every })
    }

    /// What is the same for all vendors, and holds for programs without one.
    pub fn every(&self) -> Arc<Notices> {
        self.every.clone()
    }

    /// The vendor called `name`.
    pub fn get(&self, name: &str) -> Result<&Vendor> {
        self.by_name.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
            Error::config(format!("unknown vendor {}", crate::error::printable(name))).with_hint(format!(
                "known vendors are {}; add others under dispatch.vendors in handoff.yaml",
                known.join(", ")
            ))
        })
    }

    /// Whether what is said in the words of one is understood by the other.
    pub fn speak_alike(&self, one: &Runner, other: &Runner) -> bool {
        let dialect = |runner: &Runner| match runner {
            Runner::Vendor(name) => self.by_name.get(name).map(|vendor| vendor.dialect.clone()),
            Runner::Command { .. } => None,
        };
        one == other || dialect(one).is_some_and(|own| Some(own) == dialect(other))
    }

    /// What the programs of all of them set for what they start: an agent of one may have been started
    /// by one of another.
    pub fn session_env(&self) -> &[String] {
        &self.session_env
    }

    /// Their names, in alphabetical order.
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

/// `base` with the keys of `over` put in its place; mappings are merged key by key.
fn merge(mut base: Mapping, over: &Mapping) -> Mapping {
    for (key, value) in over {
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
        notices: Arc::new(Notices::read(section)?),
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
        let source = Source { file: "handoff.yaml", text };
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
        assert!(claude.takes_effort());
        assert!(!vendors.get("gemini").expect("gemini").takes_effort());
    }

    #[test]
    fn a_default_variable_gives_way_to_one_that_a_person_set() {
        let vendors = vendors("vendors: {mine: {command: x, env_defaults: {A: 1}}}\n").expect("readable");
        let mine = vendors.get("mine").expect("mine");
        assert_eq!(mine.defaults_beside(&[("B".into(), "2".into())])["A"].as_deref(), Some("1"));
        assert!(mine.defaults_beside(&[("A".into(), "2".into())]).is_empty());
        let ceiling = "CLAUDE_CODE_PRINT_BG_WAIT_CEILING_MS";
        let claude = vendors.get("claude").expect("claude");
        assert_eq!(claude.defaults_beside(&[])[ceiling].as_deref(), Some("0"));
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
    fn mistakes_are_named_with_their_line() {
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
    fn unknown_classes_say_what_is_known() {
        let vendors = Vendors::built_in().expect("built-in profiles");
        let claude = vendors.get("claude").expect("claude");
        assert_eq!(claude.model_for_class("any"), Ok(None));
        assert_eq!(claude.model_for_class("opus"), Ok(Some("opus".to_string())));
        let warning = claude.model_for_class("gpt").expect_err("unknown");
        assert!(warning.contains("haiku, opus, sonnet"), "{warning}");
        assert!(vendors.get("nobody").expect_err("unknown").to_string().contains("claude, codex"));
    }
}
