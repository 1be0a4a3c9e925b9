//! The `dispatch:` section of `handoff.yaml`: which vendor serves which lane, and how.
//!
//! ```yaml
//! dispatch:
//!   vendor: claude            # defaults, for every route
//!   timeout: 30m
//!   routes:
//!     review:                 # a lane
//!       priority: 1           # lower is served first
//!       vendor: codex
//!       timeout: null         # switches the default off
//! ```

pub(crate) mod agent_edit;
pub(crate) mod agent_inspection;
mod agent_rights;
pub(crate) mod agent_sections;
pub(crate) mod allowed_directories;
mod budgets;
pub(crate) mod consent;
pub(crate) mod default_values;
pub(crate) mod exclusive_settings;
pub(crate) mod follow_ups;
pub(crate) mod load;
pub(crate) mod options;
pub(crate) mod permission_prompts;
pub(crate) mod plan;
pub(crate) mod prices;
pub(crate) mod reload;
pub(crate) mod route;
pub(crate) mod route_change;
mod route_set;
pub(crate) mod sensitive_settings;
pub(crate) mod served_lane;
pub(crate) mod settings_files;
pub(crate) mod unknown_cost;
pub(crate) mod unready_lanes;
pub(crate) mod vendor_match;
pub(crate) mod verify_settings;
pub(crate) mod worktree_settings;

use std::time::Duration;

use serde_yaml::Value;

use self::budgets::read_budgets;
use self::prices::Prices;
use self::route::{ROUTE_KEYS, Route, SettingLevel, read_route};
use self::route_set::{ConfigSource, RouteSections, RouteSet};
use super::vendor::Vendors;
#[cfg(feature = "mcp")]
use crate::model::RecursionLimits;
use crate::model::spending::Budgets;
use crate::model::{LaneName, Owner};
use crate::workspace::Config;
use crate::workspace::{Section, SourceText};
use crate::{Error, Result};

/// Keys that apply to the whole dispatcher, not to a route.
pub(super) const PROCESS_KEYS: [&str; 13] = [
    "max_concurrent",
    "max_depth",
    "lease_seconds",
    "owner",
    "grace",
    "drain",
    "lanes",
    "linger",
    "worktree_roots",
    "vendors",
    "prices",
    "budget",
    "routes",
];

/// The `dispatch:` section.
#[derive(Clone, Debug)]
pub struct DispatchConfig {
    /// Maximum number of concurrent agents.
    pub max_concurrent: u32,
    /// Maximum depth of dispatched agents that dispatch further agents.
    pub max_depth: u32,
    /// Duration of a lease.
    pub lease: Option<Duration>,
    /// Owner name in claims.
    pub owner: Option<Owner>,
    /// Lanes to serve if the command line does not name any; empty for all lanes in the file.
    pub lanes: Vec<LaneName>,
    /// Maximum time that agents may keep running after the first request to stop; `None` means until they finish.
    pub drain: Option<Duration>,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Maximum time without output after an agent has reported its result.
    pub linger: Duration,
    /// Directories outside the workspace below which tasks may set a working directory, as written in the file.
    pub worktree_roots: Vec<String>,
    /// Known vendors.
    pub vendors: Vendors,
    /// Prices of tokens, for vendors that do not report the cost.
    pub prices: Prices,
    /// What may be spent in a day or a week.
    pub(crate) budgets: Budgets,
    /// The defaults as a route, for lanes without their own.
    pub defaults: Route,
    routes: RouteSet,
    config_source: ConfigSource,
}

impl DispatchConfig {
    /// Reads the settings of a configuration alone, of which `source` is the file.
    ///
    /// # Errors
    /// `Config`, with file, line and key.
    pub fn of_file(workspace: &Config, source: SourceText<'_>) -> Result<Self> {
        let agents = vec![Section::new(source, &["agents"], workspace.agents.as_ref())?];
        Self::read(workspace.dispatch.as_ref(), source, &RouteSections { stored_routes: None, agents })
    }

    /// Parses the value of the `dispatch` key; without it, the defaults apply.
    ///
    /// # Errors
    /// `Config`, with file, line and key.
    fn read(dispatch: Option<&Value>, source: SourceText<'_>, sections: &RouteSections<'_>) -> Result<Self> {
        let section = Section::new(source, &["dispatch"], dispatch)?;
        let known: Vec<&str> = PROCESS_KEYS.into_iter().chain(ROUTE_KEYS).collect();
        section.refuse_unknown_keys(&known)?;
        let vendors = Vendors::with_overrides(&section.section("vendors")?)?;
        let defaults = read_route(Route::defaults(), &section, &vendors)?;
        let routes = RouteSet::read(&section, sections, &defaults, &vendors)?;
        let lease = section.duration("lease_seconds")?.value();
        if lease.is_some_and(|lease| lease < Duration::from_secs(10)) {
            return Err(
                section.error("lease_seconds", "must be at least 10 seconds, or renewing cannot keep up")
            );
        }
        let max_concurrent = section.count("max_concurrent")?.or(3);
        if max_concurrent == 0 {
            return Err(section.error("max_concurrent", "must be at least 1; `lanes pause` pauses a lane"));
        }
        let lanes =
            section.list("lanes")?.or(Vec::new()).into_iter().map(LaneName::new).collect::<Result<_>>();
        let lanes = lanes.map_err(|error| section.error("lanes", error.message()))?;
        let owner = section.text("owner")?.value().map(Owner::new).transpose();
        let owner = owner.map_err(|error| section.error("owner", error.message()))?;
        let budgets = read_budgets(&section.section("budget")?, &vendors, (&routes.routes, &defaults))?;
        Ok(Self {
            max_concurrent,
            max_depth: section.count("max_depth")?.or(3),
            lease,
            owner,
            lanes,
            drain: section.duration("drain")?.value(),
            grace: section.duration("grace")?.or(Duration::from_secs(5)),
            linger: section.duration("linger")?.or(Duration::from_secs(30)),
            worktree_roots: section.list("worktree_roots")?.or(Vec::new()),
            vendors,
            prices: Prices::read(&section.section("prices")?)?,
            budgets,
            defaults,
            routes,
            config_source: ConfigSource::of(source),
        })
    }

    /// Returns the routes, in the order in which they are served.
    pub fn routes(&self) -> &[Route] {
        &self.routes.routes
    }

    /// Creates an error about a key of a lane's route, with the file and line that set it.
    pub fn error(&self, route: &Route, key: &str, reason: &str) -> Error {
        Error::config(format!("{}: {reason}", self.location(route, key)))
    }

    /// Returns the file, line and key that set `key` of a lane's route.
    pub fn location(&self, route: &Route, key: &str) -> String {
        let is_own = route.given.get(key) == Some(&SettingLevel::Own);
        let own = is_own.then(|| self.routes.location(&route.lane, key)).flatten();
        own.unwrap_or_else(|| self.config_source.location(&["dispatch", key]))
    }

    /// Creates an error about a key that applies to the whole dispatcher, with its file and line.
    pub fn process_key_error(&self, key: &str, reason: &str) -> Error {
        Error::config(format!("{}: {reason}", self.config_source.location(&["dispatch", key])))
    }

    /// Returns the route of `lane`, or the defaults for a lane without one.
    pub fn route(&self, lane: &LaneName) -> Route {
        let own = self.routes().iter().find(|route| route.lane == *lane);
        own.cloned().unwrap_or_else(|| self.defaults.clone().for_lane(lane))
    }

    /// Returns what is allowed to agents that submit tasks to `lane`.
    #[cfg(feature = "mcp")]
    pub(crate) fn recursion_limits(&self, lane: &LaneName) -> RecursionLimits {
        RecursionLimits { max_depth: self.max_depth, allows_cycles: self.route(lane).allow_cycles }
    }
}

#[cfg(test)]
mod tests {
    use super::route::Runner;
    use super::*;
    use crate::dispatch::output::Format;
    use crate::workspace::Override;

    fn read(text: &str) -> Result<DispatchConfig> {
        let value: Value = serde_yaml::from_str(text).expect("valid YAML");
        let source = SourceText { file: "handoff.yaml", text };
        DispatchConfig::read(value.get("dispatch"), source, &RouteSections::default())
    }

    fn message(text: &str) -> String {
        read(text).expect_err("a mistake").to_string()
    }

    const FULL: &str = "\
dispatch:
  vendor: claude
  max_concurrent: 5
  timeout: 30m
  max_retries: 2
  dead_letter_lane: attic
  permission_mode: acceptEdits
  env: {A: 1, B: 2}
  routes:
    build:
      priority: 5
      timeout: null
      max_retries: null
      permission_mode: null
      allowed_tools: []
      on_success: {move_to: review}
      env: {A: null}
    review:
      vendor: codex
      timeout: 2h
      args: [--x]
      concurrency: 1
    attic:
      command: ./notify.sh
      args: [-v, '{literal}']
      dead_letter_lane: null
";

    #[test]
    fn numbers_that_are_meant_as_text_stay_as_they_are_written() {
        let config = read(
            "dispatch:\n  env: {A: 0x1F}\n  routes:\n    w:\n      command: x\n      args: [-v, 1.10, 6e2, 0o17]\n      \
             env: {V: 1.10, N: 7, T: true}\n",
        )
        .expect("valid");
        let route = config.route(&LaneName::stored("w"));
        assert_eq!(route.args, ["-v", "1.10", "6e2", "0o17"]);
        for (name, value) in [("A", "0x1F"), ("V", "1.10"), ("N", "7"), ("T", "true")] {
            assert_eq!(route.env[name].as_deref(), Some(value), "{name}");
        }
        let refused = message("dispatch:\n  vendor: claude\n  model: 4.10\n");
        assert!(refused.contains("line 3: dispatch.model: expected text; put it in quotes"), "{refused}");
    }

    #[test]
    fn routes_override_defaults_and_null_switches_them_off() {
        let config = read(FULL).expect("valid");
        assert_eq!(config.max_concurrent, 5);
        let lanes: Vec<&str> = config.routes().iter().map(|route| route.lane.as_str()).collect();
        assert_eq!(lanes, ["review", "attic", "build"]);
        let build = config.route(&LaneName::stored("build"));
        assert_eq!(build.runner, Some(Runner::Vendor("claude".to_string())));
        assert_eq!(build.timeout, None);
        assert_eq!(build.max_retries, 0);
        assert_eq!(build.permission_mode, Override::Off);
        assert_eq!(build.allowed_tools, Override::Value(Vec::new()));
        assert_eq!(build.follow_ups.on_success.as_ref().map(|rule| rule.lane.as_str()), Some("review"));
        assert_eq!(build.dead_letter_lane.as_ref().map(LaneName::as_str), Some("attic"));
        assert_eq!(build.env["A"], None);
        assert_eq!(build.env["B"].as_deref(), Some("2"));
        let review = config.route(&LaneName::stored("review"));
        assert_eq!(review.runner, Some(Runner::Vendor("codex".to_string())));
        assert_eq!(review.timeout, Some(Duration::from_secs(7200)));
        assert_eq!(review.permission_mode, Override::Inherit, "a setting for another vendor");
        assert_eq!(review.max_retries, 2);
        let attic = config.route(&LaneName::stored("attic"));
        assert!(matches!(attic.runner, Some(Runner::Command { .. })));
        assert_eq!(attic.dead_letter_lane, None);
        let other = config.route(&LaneName::stored("other"));
        assert_eq!(other.timeout, Some(Duration::from_secs(1800)));
        assert_eq!(other.lane, "other");
    }

    #[test]
    fn a_run_has_limits_unless_they_are_switched_off() {
        let limits = |text: &str, lane: &str| {
            let route = read(text).expect("valid").route(&LaneName::stored(lane));
            let minutes = |limit: Option<Duration>| limit.map(|limit| limit.as_secs() / 60);
            let stream = route.effective_silence_timeout(Format::ClaudeStream);
            (minutes(route.timeout), minutes(stream), minutes(route.effective_silence_timeout(Format::Text)))
        };
        assert_eq!(limits("dispatch: {}", "a"), (Some(360), Some(30), None));
        for none in ["none", "0", "null", "0s"] {
            let text = format!("dispatch: {{timeout: {none}, silence_timeout: {none}}}");
            assert_eq!(limits(&text, "a"), (None, None, None), "{none}");
        }
        let levels =
            "dispatch: {silence_timeout: 1h, routes: {a: {silence_timeout: none}, b: {timeout: 2h}}}";
        assert_eq!(limits(levels, "a"), (Some(360), None, None));
        assert_eq!(limits(levels, "b"), (Some(120), Some(60), Some(60)));
        assert!(message("dispatch:\n  silence_timeout: soon\n").contains("line 2: dispatch.silence_timeout"));
    }

    #[test]
    fn the_example_is_valid() {
        let config = read(include_str!("../../../examples/pool/handoff.yaml")).expect("valid");
        assert_eq!(
            config
                .route(&LaneName::stored("build"))
                .follow_ups
                .on_success
                .as_ref()
                .map(|rule| rule.lane.as_str()),
            Some("review")
        );
        assert_eq!(config.route(&LaneName::stored("questions")).max_retries, 0);
        assert_eq!(
            config.route(&LaneName::stored("review")).runner,
            Some(Runner::Vendor("codex".to_string()))
        );
        assert!(config.vendors.get("claude-proxy").is_ok());
    }

    #[test]
    fn the_template_shows_every_key_of_a_route() {
        let template = include_str!("../../../templates/handoff.yaml");
        let (_, commented) = template.split_once("\n#\n").expect("a commented section");
        let text = commented
            .lines()
            .fold(String::new(), |text, line| text + line.strip_prefix("# ").unwrap_or(line) + "\n");
        let config = read(&text).expect("valid");
        let shown: Vec<&str> = config.routes().iter().flat_map(|route| route.given.keys().copied()).collect();
        for key in ROUTE_KEYS {
            assert!(shown.contains(&key), "{key}");
        }
    }

    #[test]
    fn an_empty_file_is_a_valid_configuration() {
        let config = read("workspace_id: x\n").expect("valid");
        assert_eq!((config.max_concurrent, config.max_depth), (3, 3));
        assert!(config.routes().is_empty());
        assert_eq!(config.route(&LaneName::stored("default")).runner, None);
        assert_eq!(config.grace, Duration::from_secs(5));
    }

    #[test]
    fn errors_name_the_line_and_the_key() {
        let routes = |body: &str| message(&format!("dispatch:\n  routes:\n    a:\n{body}"));
        assert!(
            routes("      vendor: clod\n")
                .starts_with("handoff.yaml line 4: dispatch.routes.a.vendor: unknown vendor clod")
        );
        assert_eq!(
            routes("      timeuot: 5\n"),
            "handoff.yaml line 4: dispatch.routes.a.timeuot: unknown key; did you mean timeout?"
        );
        assert!(routes("      max_concurrent: 5\n").contains("unknown key"));
        for value in ["permission_mode: 7", "cwd: 3", "model: true", "command: false"] {
            let key = value.split(':').next().expect("a key");
            assert_eq!(
                routes(&format!("      {value}\n")),
                format!("handoff.yaml line 4: dispatch.routes.a.{key}: expected text; put it in quotes")
            );
        }
        assert!(message("dispatch:\n  max_concurrent: 0\n").contains("line 2: dispatch.max_concurrent"));
        for (owner, reason) in [("''", "is empty"), ("' '", "is empty"), (r#""a\u202eb""#, "has invisible")] {
            let message = message(&format!("dispatch:\n  grace: 5\n  owner: {owner}\n"));
            let start = format!("handoff.yaml line 3: dispatch.owner: the owner {reason}");
            assert!(message.starts_with(&start), "{message}");
        }
        assert!(
            routes("      prompt: 'x {tsk}'\n")
                .contains("line 4: dispatch.routes.a.prompt: unknown placeholder {tsk}")
        );
        assert!(routes("      on_success: {move_to: a}\n").contains("to itself"));
        assert!(routes("      vendor: claude\n      command: x\n").contains("line 5"));
        assert!(routes("      max_retries: -1\n").contains("whole number from 0 up"));
        assert!(routes("      max_budget_usd: 0\n").contains("above 0"));
        assert!(routes("      - 5\n").contains("line 3: dispatch.routes.a: expected keys with values"));
        assert!(message("dispatch:\n  lease_seconds: 2\n").contains("line 2: dispatch.lease_seconds"));
        assert!(message("dispatch: 5\n").contains("line 1: dispatch: expected keys"));
    }
}
