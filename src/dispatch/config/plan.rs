//! The plan of a dispatcher: the options of the command line and the `dispatch:` section of the file, merged and
//! checked before anything is claimed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::DispatchConfig;
use super::allowed_directories::AllowedDirectories;
use super::load;
use super::options::{CommandLineRunner, DispatchOptions, Lifetime, ProcessContext};
use super::prices::Prices;
use super::route::Route;
use super::served_lane::{ServedLane, SettingSources};
use super::unknown_cost;
use super::vendor_match::{self, RunnerChoice};
use crate::error::{printable, shell_word};
use crate::model::duration::TimeLimit;
use crate::model::limits;
use crate::model::spending::Budgets;
use crate::model::{AgentChain, LaneName, Owner};
use crate::store::Store;
use crate::workspace::{Config, absolute};
use crate::workspace::{Override, most_similar};
use crate::{Error, Result};

/// Default length of a lease.
pub(super) const DEFAULT_LEASE: Duration = Duration::from_secs(900);
/// The lane that is served when none is named.
const DEFAULT_LANE: &str = "default";

/// The merged and checked settings of a dispatcher.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The served lanes, in order.
    pub served_lanes: Vec<Arc<ServedLane>>,
    /// The owner name in claims.
    pub owner: Owner,
    /// The length of a lease.
    pub lease: Duration,
    /// Maximum number of concurrent agents.
    pub max_concurrent: u32,
    /// The time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// How long a process may keep running silently after it has reported its result.
    pub linger: Duration,
    /// How long running agents may continue after the first request to stop; `None` is unlimited.
    pub drain: Option<Duration>,
    /// Prices of tokens, for vendors that do not report costs.
    pub prices: Prices,
    /// What may be spent in a day or a week.
    pub budgets: Budgets,
    /// The agents above this dispatcher.
    pub chain: AgentChain,
    /// The maximum nesting depth.
    pub max_depth: u32,
    /// How long it runs.
    pub lifetime: Lifetime,
    /// The directories in which tasks may let agents work.
    pub allowed_directories: AllowedDirectories,
    /// The configuration file, whose path agents get.
    pub config_path: Option<PathBuf>,
    /// The dispatcher's own process.
    pub process: ProcessContext,
    /// Warnings for the user, one line each.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Returns the maximum time that the event loop sleeps, at most `longest`. Some changes do not wake it and are
    /// found by polling: tasks from other implementations, vendors whose cooldown is over, changed settings and
    /// dispatchers that died.
    pub(crate) fn max_sleep(&self, longest: Duration) -> Duration {
        self.served_lanes.iter().map(|served| served.route.poll_interval).fold(longest, Duration::min)
    }

    /// Merges the file and the command line.
    ///
    /// # Errors
    /// `Config` for the file (with line and key), for a missing program, and if no lane would be served; `Invalid`
    /// for the command line; `Refused` when dispatchers are nested too deeply.
    pub(crate) fn new(
        workspace: &Config,
        store: &Store,
        options: DispatchOptions,
        process: ProcessContext,
    ) -> Result<Self> {
        let config = load::load(workspace, store, &process.consent)?;
        let chain = chain(&process, config.max_depth)?;
        let base = workspace.path().and_then(Path::parent).unwrap_or(&process.cwd);
        let named = worktree_roots(&config, &options, base)?;
        let allowed_directories = AllowedDirectories::new(workspace, named, &process);
        let mut warnings = unknown_lane_warnings(workspace, store, &config, &options);
        let mut served_lanes = Vec::new();
        let is_on_demand = options.lifetime.idle_exit().is_some();
        let is_all = options.lanes.is_empty() && config.lanes.is_empty() && !is_on_demand;
        let mut unconfigured: Option<Error> = None;
        let mut taken_over: Vec<String> = Vec::new();
        for lane in lane_names(workspace, &config, &options) {
            let route = apply_options(config.route(&lane), &options);
            let (route, is_from_command_line) = match vendor_match::choose_runner(&route, &options) {
                RunnerChoice::FromRoute => (route, false),
                RunnerChoice::FromCommandLine(CommandLineRunner { runner, args }) => {
                    if route.runner.as_ref().is_some_and(|default| *default != runner) {
                        taken_over.push(printable(lane.as_str()));
                    }
                    (route.with_runner(runner, args, &config.vendors), true)
                }
                RunnerChoice::OtherVendor(vendor) => {
                    if options.lanes.contains(&lane) {
                        let lane = printable(lane.as_str());
                        warnings.push(format!("lane {lane} is left to {vendor}, which its route names"));
                    }
                    continue;
                }
                RunnerChoice::Unconfigured => {
                    let lane = printable(lane.as_str());
                    let error = Error::config(format!("no vendor is configured for lane {lane}"))
                        .with_hint("give --vendor NAME, or `vendor:` under dispatch in handoff.yaml");
                    // The others are served nevertheless if nobody has named this one.
                    if !is_all && !is_on_demand {
                        return Err(error);
                    }
                    unconfigured.get_or_insert(error);
                    warnings.push(format!("lane {lane} is not served: no vendor is configured for it"));
                    continue;
                }
            };
            let sources = SettingSources {
                config_dir: base,
                is_runner_from_command_line: is_from_command_line,
                is_cwd_from_command_line: options.cwd.is_some(),
            };
            let served = ServedLane::new(route, &config, sources, &process)?;
            warnings.extend(vendor_match::check_settings(
                &config,
                &served.route,
                &served.vendor,
                is_from_command_line,
            )?);
            served_lanes.push(Arc::new(served));
        }
        let routes = served_lanes.iter().map(|served: &Arc<ServedLane>| served.route.clone());
        warnings.extend(unknown_cost::of_routes(&config, routes));
        if let (Some(default), false) = (&config.defaults.runner, taken_over.is_empty()) {
            let (default, lanes) = (printable(default.name()), taken_over.join(", "));
            warnings.push(format!(
                "{lanes}: served as given on the command line, not by {default}, the default of the file"
            ));
        }
        if served_lanes.is_empty() {
            return Err(nothing_to_serve(is_on_demand, unconfigured));
        }
        if is_all {
            warnings.extend(left_lane_warnings(store, &config, &served_lanes));
        }
        // The sort is stable: lanes of equal position keep their order.
        served_lanes.sort_by_key(|served| served.route.position);
        let max_concurrent = options.max_concurrent.unwrap_or(config.max_concurrent);
        if max_concurrent == 0 {
            return Err(Error::invalid("--max-concurrent must be at least 1"));
        }
        let lease = limits::check_lease(options.lease.or(config.lease).unwrap_or(DEFAULT_LEASE))?;
        let user = process.variable("USER").unwrap_or("worker");
        let owner = match options.owner.or(config.owner) {
            Some(owner) => owner,
            None => Owner::new(format!("{user}-{}-{}", served_lanes[0].vendor.name, process.pid))
                .map_err(|error| error.with_hint("the default contains USER; give --owner NAME"))?,
        };
        Ok(Self {
            served_lanes,
            owner,
            lease,
            max_concurrent,
            grace: options.grace.unwrap_or(config.grace),
            linger: config.linger,
            drain: options.drain.or(config.drain),
            prices: config.prices,
            budgets: config.budgets,
            chain,
            max_depth: config.max_depth,
            lifetime: options.lifetime,
            allowed_directories,
            config_path: workspace.path().map(Path::to_path_buf),
            process,
            warnings,
        })
    }

    /// Checks that programs and working directories exist: a task should not fail because the dispatcher was started
    /// without its agent.
    ///
    /// # Errors
    /// `Config`, naming what is missing and where it is set.
    pub(crate) fn check_ready(&self) -> Result<()> {
        self.served_lanes.iter().try_for_each(|served| served.check_ready())
    }

    /// Returns the names of the served lanes, in order.
    pub(crate) fn lanes(&self) -> Vec<LaneName> {
        self.served_lanes.iter().map(|served| served.route.lane.clone()).collect()
    }
}

/// Returns the error of a dispatcher that would serve no lane.
fn nothing_to_serve(is_on_demand: bool, unconfigured: Option<Error>) -> Error {
    match unconfigured {
        _ if is_on_demand => Error::config("no agent to serve")
            .with_hint("give the lane agent/NAME a route with a vendor in handoff.yaml"),
        Some(error) => error,
        None => Error::config("no lane to serve")
            .with_hint("name one with --lane, or give it a route in handoff.yaml"),
    }
}

/// Returns the worktree roots of the file, relative to its directory, and of the command line.
fn worktree_roots(config: &DispatchConfig, options: &DispatchOptions, base: &Path) -> Result<Vec<PathBuf>> {
    let of_file = config.worktree_roots.iter().map(|root| {
        absolute(base, Path::new(root))
            .map_err(|error| config.process_key_error("worktree_roots", &error.to_string()))
    });
    of_file.chain(options.worktree_roots.iter().cloned().map(Ok)).collect()
}

/// Returns the agents above this process, which must not be too many.
fn chain(process: &ProcessContext, max_depth: u32) -> Result<AgentChain> {
    let chain =
        AgentChain::above_process(|name| process.variable(name).map(str::to_string))?.unwrap_or_default();
    if chain.depth() >= max_depth {
        let depth = chain.depth().saturating_add(1);
        return Err(Error::refused(format!(
            "this dispatcher would run agents {depth} levels deep; the maximum is {max_depth}"
        ))
        .with_hint("an agent started it; if this is intended, raise dispatch.max_depth in handoff.yaml"));
    }
    Ok(chain)
}

/// Returns the names of the lanes to serve: those of the command line, of `dispatch.lanes`, or all lanes in the file.
/// Lanes that only collect dead letters are not served unless they have a route. A dispatcher that is started on demand
/// serves the lanes of all agents.
fn lane_names(workspace: &Config, config: &DispatchConfig, options: &DispatchOptions) -> Vec<LaneName> {
    let is_on_demand = options.lifetime.idle_exit().is_some();
    let named = [&options.lanes, &config.lanes].into_iter().find(|lanes| !lanes.is_empty() && !is_on_demand);
    let mut lanes: Vec<LaneName> = Vec::new();
    let mut add = |lane: &LaneName| {
        if !lanes.contains(lane) {
            lanes.push(lane.clone());
        }
    };
    match named {
        Some(named) => named.iter().for_each(&mut add),
        None => {
            config.routes().iter().for_each(|route| add(&route.lane));
            let routes = config.routes().iter().chain([&config.defaults]);
            let dead: Vec<&LaneName> = routes.filter_map(|route| route.dead_letter_lane.as_ref()).collect();
            workspace.lanes.keys().filter(|lane| !dead.contains(lane)).for_each(&mut add);
        }
    }
    if is_on_demand {
        lanes.retain(|lane| lane.agent().is_some());
    } else if lanes.is_empty() {
        lanes.push(LaneName::stored(DEFAULT_LANE));
    }
    lanes
}

/// Returns warnings about lanes of the command line that are not in the file and have never had a task, and about those of
/// `dispatch.lanes` that also resemble another one: they are probably typing errors. They are served nevertheless: their
/// first task may be submitted later.
fn unknown_lane_warnings(
    workspace: &Config,
    store: &Store,
    config: &DispatchConfig,
    options: &DispatchOptions,
) -> Vec<String> {
    let routes = config.routes().iter().chain([&config.defaults]);
    let named = routes.flat_map(|route| {
        let own = [Some(&route.lane), route.dead_letter_lane.as_ref()].into_iter().flatten();
        own.chain(route.follow_ups.lanes())
    });
    let known: Vec<&str> = named.chain(workspace.lanes.keys()).map(LaneName::as_str).collect();
    let is_unknown = |lane: &&LaneName| {
        !known.contains(&lane.as_str()) && store.lane_has_tasks(lane).is_ok_and(|has| !has)
    };
    let of_options = options.lanes.iter().filter(|lane| !config.lanes.contains(lane));
    // A lane may be described by being served, so that only one that looks wrong is worth a word.
    let of_file = config.lanes.iter().filter(|lane| most_similar(lane.as_str(), &known).is_some());
    of_options
        .chain(of_file)
        .filter(is_unknown)
        .map(|lane| {
            let similar = most_similar(lane.as_str(), &known)
                .map(|similar| format!("; did you mean {}?", printable(similar)));
            format!(
                "lane {} is not in handoff.yaml and has never had a task{}",
                printable(lane.as_str()),
                similar.unwrap_or_default()
            )
        })
        .collect()
}

/// Returns warnings about lanes with waiting tasks that nobody serves, neither this dispatcher, which was not told which
/// lanes to serve.
fn left_lane_warnings(store: &Store, config: &DispatchConfig, served: &[Arc<ServedLane>]) -> Vec<String> {
    let routes = config.routes().iter().chain([&config.defaults]);
    let dead: Vec<&LaneName> = routes.filter_map(|route| route.dead_letter_lane.as_ref()).collect();
    let is_left = |lane: &LaneName| {
        !served.iter().any(|served| served.route.lane == *lane)
            && !dead.contains(&lane)
            // Agents are started on demand, and servers work on what they coordinate.
            && lane.agent().is_none()
            && !lane.as_str().starts_with("lanes/")
            && store.lane_is_served(lane).is_ok_and(|is_served| !is_served)
    };
    let ready = store.lanes_with_ready_tasks().unwrap_or_default();
    let left = ready.iter().filter(|(lane, tasks)| tasks.count > 0 && is_left(lane));
    left.map(|(lane, tasks)| {
        let waiting = match tasks.count {
            1 => "1 task is".to_string(),
            count => format!("{count} tasks are"),
        };
        let (shown, word) = (printable(lane.as_str()), shell_word(lane.as_str()));
        format!("{waiting} waiting in lane {shown}, which nobody serves; name it with --lane {word}")
    })
    .collect()
}

/// Returns `route` with the settings of the command line.
fn apply_options(mut route: Route, options: &DispatchOptions) -> Route {
    if let Some(TimeLimit(timeout)) = options.timeout {
        route.timeout = timeout;
    }
    if let Some(TimeLimit(silence)) = options.silence_timeout {
        route.silence_timeout = silence.map_or(Override::Off, Override::Value);
    }
    if let Some(retries) = options.max_retries {
        route.max_retries = retries;
    }
    if let Some(cwd) = &options.cwd {
        route.cwd = Some(cwd.to_string_lossy().into_owned());
    }
    route
}
