//! What a dispatcher will do: the wish of a command line and the `dispatch:` part of the file, checked
//! and brought together before anything is claimed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::DispatchConfig;
use super::allowed_directories::Workplaces;
use super::load;
use super::options::{Options, Surroundings};
use super::prices::Prices;
use super::reader::{Given, nearest};
use super::route::Route;
use super::served_lane::{Bases, Service};
use super::vendor_match::{self, Choice};
use crate::error::printable;
use crate::model::duration::Limit;
use crate::store::Store;
use crate::workspace::{Config, absolute};
use crate::{Error, Result};

/// Length of a lease unless the file or the command line says otherwise, in seconds.
const LEASE_SECONDS: f64 = 900.0;
/// Lane that is served when nothing names one.
const DEFAULT_LANE: &str = "default";
/// Variable that counts how deep dispatchers are nested.
pub const DEPTH: &str = "LANES_DEPTH";

/// All that a dispatcher needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The lanes in the order in which they are served.
    pub services: Vec<Arc<Service>>,
    /// Owner name in claims.
    pub owner: String,
    /// Length of a lease, in seconds.
    pub lease_seconds: f64,
    /// Most agents at once.
    pub max_concurrent: u32,
    /// Time between the polite and the final signal.
    pub grace: Duration,
    /// How long a process may stay once it has reported its result and fallen silent.
    pub linger: Duration,
    /// How long agents may go on after the first request to end; nothing means until they are done.
    pub drain: Option<Duration>,
    /// What tokens cost, for vendors that do not say it.
    pub prices: Prices,
    /// How deep this dispatcher's agents are nested.
    pub depth: u32,
    /// How deep they may be.
    pub max_depth: u32,
    /// End when the lanes are empty.
    pub once: bool,
    /// Where tasks may have their agents work.
    pub workplaces: Workplaces,
    /// The configuration file, for the agents.
    pub config_path: Option<PathBuf>,
    /// Where the dispatcher runs.
    pub surroundings: Surroundings,
    /// Lines worth telling the user.
    pub warnings: Vec<String>,
}

impl Plan {
    /// How long the loop sleeps at most, `longest` or less. What no wake-up tells is found by looking: tasks
    /// of other implementations, vendors whose pause is over, changed settings, dispatchers that died.
    pub fn longest_nap(&self, longest: Duration) -> Duration {
        self.services.iter().map(|service| service.route.poll_interval).fold(longest, Duration::min)
    }

    /// Brings file and command line together.
    ///
    /// # Errors
    /// `Config` for the file, naming line and key, for a missing program and when nothing would be
    /// served; `Invalid` for the command line; `Refused` when dispatchers are nested too deeply.
    pub fn make(
        workspace: &Config,
        store: &Store,
        options: Options,
        surroundings: Surroundings,
    ) -> Result<Self> {
        let config = load::load(workspace, store, &surroundings.gate)?;
        let depth = depth(&surroundings, config.max_depth)?;
        let base = workspace.path.as_ref().and_then(|path| path.parent()).unwrap_or(&surroundings.cwd);
        let named = worktree_roots(&config, &options, base)?;
        let workplaces = Workplaces::new(workspace, named, &surroundings);
        let mut warnings = strange_lanes(workspace, store, &config, &options);
        let mut services = Vec::new();
        let mut taken_over: Vec<String> = Vec::new();
        for lane in served_lanes(workspace, &config, &options) {
            let route = with_options(config.route(&lane), &options);
            let (route, is_asked) = match vendor_match::choose(&route, &options) {
                Choice::Route => (route, false),
                Choice::Asked(runner) => {
                    if route.runner.as_ref().is_some_and(|default| *default != runner) {
                        taken_over.push(printable(&lane));
                    }
                    let args = options.command.iter().skip(1);
                    let args = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
                    (route.served_by(runner, args, &config.vendors), true)
                }
                Choice::Another(vendor) => {
                    if options.lanes.contains(&lane) {
                        let lane = printable(&lane);
                        warnings.push(format!("lane {lane} is left to {vendor}, as its route says"));
                    }
                    continue;
                }
                Choice::Nobody => {
                    return Err(Error::config(format!(
                        "no vendor is configured for lane {}",
                        printable(&lane)
                    ))
                    .with_hint("give --vendor NAME, or `vendor:` under dispatch in handoff.yaml"));
                }
            };
            let names_program = is_asked && !options.command.is_empty();
            let bases = Bases {
                file: base,
                program: if names_program { &surroundings.cwd } else { base },
                asked: names_program,
                cwd_asked: options.cwd.is_some(),
            };
            let service = Service::new(route, &config, bases, &surroundings)?;
            warnings.extend(vendor_match::check(&config, &service.route, &service.vendor, is_asked)?);
            services.push(Arc::new(service));
        }
        if let (Some(default), false) = (&config.defaults.runner, taken_over.is_empty()) {
            let (default, lanes) = (printable(default.name()), taken_over.join(", "));
            warnings.push(format!(
                "{lanes}: served as the command line says, not by {default}, the default of the file"
            ));
        }
        if services.is_empty() {
            return Err(Error::config("no lane is left to serve")
                .with_hint("name one with --lane, or give it a route in handoff.yaml"));
        }
        // Stable: equal priorities keep their order.
        services.sort_by_key(|service| service.route.priority);
        let max_concurrent = options.max_concurrent.unwrap_or(config.max_concurrent);
        if max_concurrent == 0 {
            return Err(Error::invalid("--max-concurrent must be at least 1"));
        }
        let lease_seconds = options.lease_seconds.or(config.lease_seconds).unwrap_or(LEASE_SECONDS);
        crate::model::transition::check_lease(lease_seconds)?;
        let user = surroundings.variable("USER").unwrap_or("worker");
        let owner = options
            .owner
            .or(config.owner)
            .unwrap_or_else(|| format!("{user}-{}-{}", services[0].vendor.name, surroundings.pid));
        Ok(Self {
            services,
            owner,
            lease_seconds,
            max_concurrent,
            grace: options.grace.unwrap_or(config.grace),
            linger: config.linger,
            drain: options.drain.or(config.drain),
            prices: config.prices,
            depth,
            max_depth: config.max_depth,
            once: options.once,
            workplaces,
            config_path: workspace.path.clone(),
            surroundings,
            warnings,
        })
    }

    /// Makes sure that everything is there that runs need: a task should not fail because the
    /// dispatcher was started without its agent.
    ///
    /// # Errors
    /// `Config`, naming what is missing and where it is set.
    pub fn check_ready(&self) -> Result<()> {
        self.services.iter().try_for_each(|service| service.check_ready())
    }

    /// The lanes that are served, in order.
    pub fn lanes(&self) -> Vec<String> {
        self.services.iter().map(|service| service.route.lane.clone()).collect()
    }
}

/// The directories of file and command line; those of the file count from its directory.
fn worktree_roots(config: &DispatchConfig, options: &Options, base: &Path) -> Result<Vec<PathBuf>> {
    let of_file = config.worktree_roots.iter().map(|root| {
        absolute(base, Path::new(root)).map_err(|error| config.error_of("worktree_roots", &error.to_string()))
    });
    of_file.chain(options.worktree_roots.iter().cloned().map(Ok)).collect()
}

/// How deep the agents of a dispatcher in these surroundings are nested.
fn depth(surroundings: &Surroundings, most: u32) -> Result<u32> {
    let around = surroundings.variable(DEPTH).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let depth = around.saturating_add(1);
    if depth > most {
        return Err(Error::refused(format!(
            "this dispatcher would run agents {depth} levels deep, at most {most} are allowed"
        ))
        .with_hint("an agent started it; raise dispatch.max_depth in handoff.yaml if that is meant"));
    }
    Ok(depth)
}

/// The lanes to look at, each once: those of the command line, or of `dispatch.lanes`, or all that the
/// file knows. Lanes that only collect what failed are left alone unless they have a route.
fn served_lanes(workspace: &Config, config: &DispatchConfig, options: &Options) -> Vec<String> {
    let named = [&options.lanes, &config.lanes].into_iter().find(|lanes| !lanes.is_empty());
    let mut lanes: Vec<String> = Vec::new();
    let mut add = |lane: &String| {
        if !lanes.contains(lane) {
            lanes.push(lane.clone());
        }
    };
    match named {
        Some(named) => named.iter().for_each(&mut add),
        None => {
            config.routes.iter().for_each(|route| add(&route.lane));
            let routes = config.routes.iter().chain([&config.defaults]);
            let dead: Vec<&String> = routes.filter_map(|route| route.dead_letter_lane.as_ref()).collect();
            workspace.lanes.keys().filter(|lane| !dead.contains(lane)).for_each(&mut add);
        }
    }
    if lanes.is_empty() {
        lanes.push(DEFAULT_LANE.to_string());
    }
    lanes
}

/// Lanes of the command line that stand in no file and have no task: most likely a slip of the pen.
/// They are served all the same, as their first task may be on its way.
fn strange_lanes(
    workspace: &Config,
    store: &Store,
    config: &DispatchConfig,
    options: &Options,
) -> Vec<String> {
    let routes = config.routes.iter().chain([&config.defaults]);
    let named = routes.flat_map(|route| {
        [Some(&route.lane), route.move_to.as_ref(), route.dead_letter_lane.as_ref()].into_iter().flatten()
    });
    let known: Vec<&str> =
        named.chain(&config.lanes).chain(workspace.lanes.keys()).map(String::as_str).collect();
    let is_strange =
        |lane: &&String| !known.contains(&lane.as_str()) && store.lane_has_tasks(lane).is_ok_and(|has| !has);
    let strange = options.lanes.iter().filter(is_strange);
    strange
        .map(|lane| {
            let near = nearest(lane, &known).map(|near| format!("; did you mean {}?", printable(near)));
            format!(
                "lane {} is not in handoff.yaml, and nothing was ever submitted to it{}",
                printable(lane),
                near.unwrap_or_default()
            )
        })
        .collect()
}

fn with_options(mut route: Route, options: &Options) -> Route {
    if let Some(Limit(timeout)) = options.timeout {
        route.timeout = timeout;
    }
    if let Some(Limit(silence)) = options.silence_timeout {
        route.silence_timeout = silence.map_or(Given::Off, Given::Value);
    }
    if let Some(retries) = options.max_retries {
        route.max_retries = retries;
    }
    if let Some(cwd) = &options.cwd {
        route.cwd = Some(cwd.to_string_lossy().into_owned());
    }
    route
}
