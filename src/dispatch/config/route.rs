//! A route: how the tasks of a lane are run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_yaml::Value;

use super::exclusive_settings::{RouteKeys, read_exclusive};
use super::follow_ups::{FollowUpRules, read_follow_ups};
use super::permission_prompts::{PermissionPrompts, read_permission_prompts};
use super::verify_settings::{VerifySettings, read_verify};
use super::worktree_settings::{WorktreeSettings, read_worktree};
use crate::Result;
use crate::dispatch::agent::mcp_access::McpAccess;
use crate::dispatch::outcome::Interruption;
use crate::dispatch::output::Format;
use crate::dispatch::prompt;
use crate::dispatch::vendor::Vendors;
use crate::model::LaneName;
use crate::workspace::{Override, Section};

/// Placeholders of a prompt template.
pub(crate) const PLACEHOLDERS: [&str; 5] = ["task_id", "task_name", "task_url", "lane", "attempt"];

/// Keys of a route, which are also allowed directly under `dispatch:` as defaults.
pub(crate) const ROUTE_KEYS: [&str; 43] = [
    "vendor",
    "command",
    "args",
    "format",
    "priority",
    "timeout",
    "silence_timeout",
    "poll_interval",
    "max_retries",
    "retry_delay",
    "retry_delay_max",
    "resume_on",
    "dead_letter_lane",
    "prompt",
    "on_success",
    "on_failure",
    "on_outcome",
    "on_verdict",
    "max_hops",
    "in_progress",
    "concurrency",
    "env",
    "cwd",
    "worktree",
    "verify",
    "verify_timeout",
    "verify_rounds",
    "exclusive",
    "model",
    "effort",
    "permission_mode",
    "permission_prompts",
    "permission_expires",
    "setting_sources",
    "allowed_tools",
    "disallowed_tools",
    "max_budget_usd",
    "mcp_config",
    "add_dirs",
    "git_writable",
    "allow_cycles",
    "mcp",
    "wants_json",
];

/// Default timeout of a run: longer than any useful run of an agent, but short enough that an agent that hangs does
/// not occupy a slot for days.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(6 * 3600);
/// Default of the maximum time without output: well above the 10 minutes that the shell tools of agents let a
/// command run.
pub(crate) const DEFAULT_SILENCE: Duration = Duration::from_secs(30 * 60);

/// The program that serves the tasks of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runner {
    /// A vendor, by name.
    Vendor(String),
    /// A program of the user, looked up on PATH unless it contains a slash.
    Command {
        /// Name or path of the program.
        program: String,
        /// Format of its output.
        format: Format,
    },
}

impl Runner {
    /// Returns the name of the vendor or of the program.
    pub fn name(&self) -> &str {
        match self {
            Self::Vendor(name) | Self::Command { program: name, .. } => name,
        }
    }
}

/// The level at which a setting of a route is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingLevel {
    /// Directly under `dispatch:`.
    Default,
    /// In the route.
    Own,
}

/// Settings that do not apply, because they are specific to a vendor other than the one that serves the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedSettings {
    /// Vendor that the settings are for.
    pub vendor: String,
    /// Keys of the settings.
    pub keys: Vec<&'static str>,
}

/// Keys whose values are specific to a vendor.
const VENDOR_SPECIFIC_KEYS: [&str; 7] = [
    "args",
    "model",
    "permission_mode",
    "setting_sources",
    "allowed_tools",
    "disallowed_tools",
    "mcp_config",
];

/// Settings for the runs of a lane. All fields have their final values: defaults are merged in.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Name of the lane; empty in the defaults, which are for no lane.
    pub lane: LaneName,
    /// Program that serves the lane; `None` if neither the route nor the defaults set it.
    pub runner: Option<Runner>,
    /// Additional arguments of a vendor, or all arguments of a command.
    pub args: Vec<String>,
    /// Position among the routes (`priority` in the settings): lower values are served first, equal ones in the order of the file.
    pub position: i64,
    /// Timeout of a run; `None` means no limit.
    pub timeout: Option<Duration>,
    /// Maximum time without output; `Inherit` means the default of the format, see [`Route::effective_silence_timeout`].
    pub silence_timeout: Override<Duration>,
    /// Interval between polls of the lane without a wake-up.
    pub poll_interval: Duration,
    /// Maximum number of attempts after the first.
    pub max_retries: u32,
    /// Maximum delay before the first retry; it doubles with each further retry.
    pub retry_delay: Duration,
    /// Limit of that doubling.
    pub retry_delay_max: Duration,
    /// Interruptions after which the next attempt resumes the conversation of the last one.
    pub resume_on: Vec<Interruption>,
    /// Lane that receives a dead letter for each task that failed permanently.
    pub dead_letter_lane: Option<LaneName>,
    /// Template of the prompt; `None` means the task's own prompt.
    pub prompt: Option<String>,
    /// Which tasks follow its tasks.
    pub(crate) follow_ups: FollowUpRules,
    /// Name that boards show for the state of a running task.
    pub in_progress: Option<String>,
    /// Maximum number of concurrent runs of this route: 0 pauses it, `None` applies only the dispatcher's limit.
    pub concurrency: Option<u32>,
    /// Environment variables to set, or to remove if the value is `None`.
    pub env: BTreeMap<String, Option<String>>,
    /// Working directory instead of the task's worktree or workspace root.
    pub cwd: Option<String>,
    /// Worktree that each task gets.
    pub(crate) worktree: Option<WorktreeSettings>,
    /// How the work of its agents is checked.
    pub(crate) verify: VerifySettings,
    /// Exclusive keys that each task gets besides its own.
    pub(crate) exclusive: RouteKeys,
    /// Model for tasks without a model class.
    pub model: Option<String>,
    /// Effort for tasks without one.
    pub effort: Option<String>,
    /// Permission mode; `Inherit` means the vendor's default.
    pub permission_mode: Override<String>,
    /// What happens to calls of tools that it does not allow.
    pub(crate) permission_prompts: PermissionPrompts,
    /// Sources of the settings that the agent loads; `Inherit` means the vendor's default, `Off` that of the program.
    pub setting_sources: Override<Vec<String>>,
    /// Tools that run without asking for permission; `Inherit` means the vendor's default.
    pub allowed_tools: Override<Vec<String>>,
    /// Tools that are denied; `Inherit` means the vendor's default.
    pub disallowed_tools: Override<Vec<String>>,
    /// Maximum cost of a run, in US dollars.
    pub max_budget_usd: Option<f64>,
    /// MCP configuration: a file path or JSON text.
    pub mcp_config: Option<String>,
    /// Directories outside the working directory that the agent may use.
    pub add_dirs: Vec<String>,
    /// Whether an agent in a sandbox may write to the directories that a commit writes to, which include the hooks.
    pub git_writable: bool,
    /// Whether an agent may be given a task by an agent that works for it.
    pub allow_cycles: bool,
    /// Whether the agent is offered the queue as tools.
    pub(crate) mcp: McpAccess,
    /// Whether answers are parsed as JSON even if the task does not request it.
    pub wants_json: bool,
    /// The given keys, with their level.
    pub given: BTreeMap<&'static str, SettingLevel>,
    /// Settings that do not apply because they are for another vendor.
    pub dropped: Option<DroppedSettings>,
}

impl Route {
    /// Returns the same settings for `lane`, without lanes for following tasks and dead letters that are `lane` itself.
    pub fn for_lane(self, lane: &LaneName) -> Self {
        let is_other = |target: &LaneName| target != lane;
        Self {
            lane: lane.clone(),
            dead_letter_lane: self.dead_letter_lane.filter(is_other),
            follow_ups: self.follow_ups.without(lane),
            ..self
        }
    }

    /// Returns the defaults without any settings.
    pub fn defaults() -> Self {
        Self::with_defaults(LaneName::stored(""))
    }

    /// Returns whether these are the defaults and not the route of a lane.
    fn is_defaults(&self) -> bool {
        self.lane.as_str().is_empty()
    }

    /// Returns the route of a lane without any settings.
    pub fn with_defaults(lane: impl Into<LaneName>) -> Self {
        Self {
            lane: lane.into(),
            runner: None,
            args: Vec::new(),
            position: 0,
            timeout: Some(DEFAULT_TIMEOUT),
            silence_timeout: Override::Inherit,
            poll_interval: Duration::from_secs(2),
            max_retries: 0,
            retry_delay: Duration::from_secs(30),
            retry_delay_max: Duration::from_secs(3600),
            resume_on: Vec::new(),
            dead_letter_lane: None,
            prompt: None,
            follow_ups: FollowUpRules::default(),
            in_progress: None,
            concurrency: None,
            env: BTreeMap::new(),
            cwd: None,
            worktree: None,
            verify: VerifySettings::default(),
            exclusive: RouteKeys::default(),
            model: None,
            effort: None,
            permission_mode: Override::Inherit,
            permission_prompts: PermissionPrompts::default(),
            setting_sources: Override::Inherit,
            allowed_tools: Override::Inherit,
            disallowed_tools: Override::Inherit,
            max_budget_usd: None,
            mcp_config: None,
            add_dirs: Vec::new(),
            git_writable: true,
            allow_cycles: false,
            mcp: McpAccess::Off,
            wants_json: false,
            given: BTreeMap::new(),
            dropped: None,
        }
    }
}

impl Route {
    /// Returns whether the route itself, not a default, sets the program that serves it.
    pub fn names_runner(&self) -> bool {
        let is_own = |key| self.given.get(key) == Some(&SettingLevel::Own);
        self.runner.is_some() && (is_own("vendor") || is_own("command"))
    }

    /// Returns the maximum time without output for a run with this output format; `None` means no limit. A program
    /// whose output is its answer may print nothing before the end, so it has a limit only if one is set.
    pub fn effective_silence_timeout(&self, format: Format) -> Option<Duration> {
        let default = format.has_result_object().then_some(DEFAULT_SILENCE);
        self.silence_timeout.clone().or_inherit(default)
    }

    /// Returns the same route served by `runner`. Settings that are specific to another vendor are dropped: its
    /// arguments, models, permissions and tools do not apply to this one.
    pub fn with_runner(self, runner: Runner, args: Vec<String>, vendors: &Vendors) -> Self {
        let before = match &self.runner {
            None => None,
            Some(before) if vendors.are_compatible(before, &runner) => None,
            Some(before) => Some(before.name().to_string()),
        };
        let Some(vendor) = before else {
            let args = if args.is_empty() { self.args } else { args };
            return Self { runner: Some(runner), args, ..self };
        };
        let plain = Self::with_defaults(&self.lane);
        let keys = VENDOR_SPECIFIC_KEYS.into_iter().filter(|key| self.has_value(key)).collect();
        Self {
            runner: Some(runner),
            args,
            model: plain.model,
            permission_mode: plain.permission_mode,
            setting_sources: plain.setting_sources,
            allowed_tools: plain.allowed_tools,
            disallowed_tools: plain.disallowed_tools,
            mcp_config: plain.mcp_config,
            dropped: Some(DroppedSettings { vendor, keys }),
            ..self
        }
    }

    /// Returns whether a setting that a vendor may not support has a value.
    pub fn has_value(&self, key: &str) -> bool {
        let lists = |list: &Override<Vec<String>>| matches!(list, Override::Value(_));
        match key {
            "args" => !self.args.is_empty(),
            "model" => self.model.is_some(),
            "permission_prompts" => self.permission_prompts.asks,
            "permission_mode" => matches!(self.permission_mode, Override::Value(_)),
            "setting_sources" => lists(&self.setting_sources),
            "allowed_tools" => lists(&self.allowed_tools),
            "disallowed_tools" => lists(&self.disallowed_tools),
            "mcp_config" => self.mcp_config.is_some(),
            "max_budget_usd" => self.max_budget_usd.is_some(),
            "add_dirs" => !self.add_dirs.is_empty(),
            _ => false,
        }
    }
}

/// Returns `base` with the settings of `section` applied.
///
/// # Errors
/// `Config`, with file, line and key.
pub(crate) fn read_route(base: Route, section: &Section<'_>, vendors: &Vendors) -> Result<Route> {
    let base = match read_runner(base.runner.clone(), section, vendors)? {
        Some(runner) => base.with_runner(runner, Vec::new(), vendors),
        None => Route { runner: None, ..base },
    };
    let level = if base.is_defaults() { SettingLevel::Default } else { SettingLevel::Own };
    let mut given = base.given;
    given.extend(ROUTE_KEYS.iter().filter(|key| section.has(key)).map(|key| (*key, level)));
    let mut dropped = base.dropped;
    if let Some(dropped) = &mut dropped {
        // The route's own settings are meant for its own vendor.
        dropped.keys.retain(|key| !section.has(key));
    }
    let runner = base.runner;
    let mut env = base.env;
    env.extend(section.variables("env")?);
    let prompt = section.text("prompt")?;
    if let Override::Value(template) = &prompt {
        let values = PLACEHOLDERS.map(|name| (name, ""));
        if let Err(error) = prompt::fill_template(template, &values) {
            return Err(section.error("prompt", &error.to_string()));
        }
    }
    let dead_letter_lane = section.text("dead_letter_lane")?;
    let target = |key, own: Override<String>, inherited: Option<LaneName>| -> Result<Option<LaneName>> {
        let target = match own {
            Override::Value(name) => {
                Some(LaneName::new(name).map_err(|error| section.error(key, error.message()))?)
            }
            Override::Off => None,
            Override::Inherit => inherited,
        };
        // A default may name a lane that has a route; it would be a loop only in the route of that lane.
        let is_own = section.has(key);
        if is_own && level == SettingLevel::Own && target.as_ref() == Some(&base.lane) {
            return Err(section.error(key, "a lane cannot pass its tasks on to itself"));
        }
        Ok(target.filter(|target| *target != base.lane))
    };
    let follow_ups = read_follow_ups(section, base.follow_ups, (&base.lane, level == SettingLevel::Own))?;
    let dead_letter_lane = target("dead_letter_lane", dead_letter_lane, base.dead_letter_lane)?;
    let position = section.integer("priority")?.or(base.position);
    let retry_delay = section.duration("retry_delay")?.or(base.retry_delay);
    Ok(Route {
        runner,
        args: section.list("args")?.or_inherit(Some(base.args)).unwrap_or_default(),
        position,
        timeout: section.limit("timeout")?.or_inherit(base.timeout),
        silence_timeout: inherit(section.limit("silence_timeout")?, base.silence_timeout),
        poll_interval: section.duration("poll_interval")?.or(base.poll_interval).max(Duration::from_secs(1)),
        max_retries: section.count("max_retries")?.or_inherit(Some(base.max_retries)).unwrap_or(0),
        retry_delay,
        retry_delay_max: section.duration("retry_delay_max")?.or(base.retry_delay_max).max(retry_delay),
        resume_on: section
            .read("resume_on", Interruption::list_from_yaml)?
            .or_inherit(Some(base.resume_on))
            .unwrap_or_default(),
        dead_letter_lane,
        prompt: prompt.or_inherit(base.prompt),
        follow_ups,
        in_progress: section.text("in_progress")?.or_inherit(base.in_progress),
        concurrency: section.count("concurrency")?.or_inherit(base.concurrency),
        env,
        cwd: section.argument("cwd")?.or_inherit(base.cwd),
        worktree: read_worktree(section, base.worktree)?,
        verify: read_verify(section, base.verify)?,
        exclusive: read_exclusive(section, base.exclusive)?,
        model: section.argument("model")?.or_inherit(base.model),
        effort: section.argument("effort")?.or_inherit(base.effort),
        permission_mode: inherit(section.argument("permission_mode")?, base.permission_mode),
        permission_prompts: read_permission_prompts(section, base.permission_prompts)?,
        setting_sources: inherit(setting_sources(section)?, base.setting_sources),
        allowed_tools: inherit(section.list("allowed_tools")?, base.allowed_tools),
        disallowed_tools: inherit(section.list("disallowed_tools")?, base.disallowed_tools),
        max_budget_usd: section.positive_number("max_budget_usd")?.or_inherit(base.max_budget_usd),
        mcp_config: section.argument("mcp_config")?.or_inherit(base.mcp_config),
        add_dirs: section.list("add_dirs")?.or_inherit(Some(base.add_dirs)).unwrap_or_default(),
        git_writable: section.boolean("git_writable")?.or(base.git_writable),
        allow_cycles: section.boolean("allow_cycles")?.or(base.allow_cycles),
        mcp: section.read("mcp", mcp_access)?.or(base.mcp),
        wants_json: section.boolean("wants_json")?.or(base.wants_json),
        given,
        dropped,
        lane: base.lane,
    })
}

/// Parses `mcp`.
///
/// # Errors
/// The words that are expected.
fn mcp_access(value: &Value) -> std::result::Result<McpAccess, String> {
    value.as_str().and_then(McpAccess::parse).ok_or_else(|| "expected off or inherit".to_string())
}

fn read_runner(base: Option<Runner>, section: &Section<'_>, vendors: &Vendors) -> Result<Option<Runner>> {
    let vendor = section.text("vendor")?;
    let command = section.text("command")?;
    let format = section.read("format", Format::from_yaml)?;
    match (vendor, command) {
        (Override::Value(_), Override::Value(_)) => {
            Err(section.error("command", "give either a vendor or a command, not both"))
        }
        (Override::Value(name), _) => match vendors.get(&name) {
            Ok(_) => Ok(Some(Runner::Vendor(name))),
            Err(error) => Err(section.error("vendor", &error.to_string())),
        },
        (_, Override::Value(program)) => {
            Ok(Some(Runner::Command { program, format: format.or(Format::Text) }))
        }
        (Override::Off, _) | (_, Override::Off) => Ok(None),
        (Override::Inherit, Override::Inherit) => match format {
            Override::Value(_) => {
                Err(section.error("format", "only a command has a format; a vendor has its own"))
            }
            _ => Ok(base),
        },
    }
}

/// Parses `setting_sources`. Rejects an empty list, which would become an empty argument.
///
/// # Errors
/// `Config`, with file, line and key.
pub(crate) fn setting_sources(section: &Section<'_>) -> Result<Override<Vec<String>>> {
    let list = section.list("setting_sources")?;
    match &list {
        Override::Value(sources) if sources.is_empty() => Err(section.error(
            "setting_sources",
            "name at least one source; `null` leaves the choice to the agent's program",
        )),
        _ => Ok(list),
    }
}

/// Returns the effective value of a setting that is `own` in a route and `inherited` from the defaults.
fn inherit<T>(own: Override<T>, inherited: Override<T>) -> Override<T> {
    match own {
        Override::Inherit => inherited,
        own => own,
    }
}
