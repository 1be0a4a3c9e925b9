//! What a dispatcher will do: the wish of a command line and the `dispatch:` part of the file, checked
//! and brought together before anything is claimed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::config::DispatchConfig;
use super::route::{Route, Runner};
use super::settings;
use super::stream::Format;
use super::vendor::{COMMAND, Vendor, agent_environment};
use crate::error::printable;
use crate::model::Filter;
use crate::store::Store;
use crate::workspace::{Config, check_lane};
use crate::{Error, Result};

/// Length of a lease unless the file or the command line says otherwise, in seconds.
const LEASE_SECONDS: f64 = 900.0;
/// Lane that is served when nothing names one.
const DEFAULT_LANE: &str = "default";
/// Variable that counts how deep dispatchers are nested.
pub const DEPTH: &str = "LANES_DEPTH";

/// What the command line asks for; it wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only these lanes.
    pub lanes: Vec<String>,
    /// Vendor for lanes whose route names none.
    pub vendor: Option<String>,
    /// Program and arguments for lanes whose route names no vendor.
    pub command: Vec<OsString>,
    /// Most agents at once.
    pub max_concurrent: Option<u32>,
    /// Owner name in claims.
    pub owner: Option<String>,
    /// Length of a lease, in seconds.
    pub lease_seconds: Option<f64>,
    /// How long one run may take.
    pub timeout: Option<Duration>,
    /// How many more attempts follow the first.
    pub max_retries: Option<u32>,
    /// Working directory of the agents.
    pub cwd: Option<PathBuf>,
    /// Time between the polite and the final signal.
    pub grace: Option<Duration>,
    /// How long agents may go on after the first request to end.
    pub drain: Option<Duration>,
    /// End when the lanes are empty.
    pub once: bool,
}

/// Where the dispatcher itself runs.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Its current directory.
    pub cwd: PathBuf,
    /// Its process number.
    pub pid: u32,
}

impl Surroundings {
    /// A variable's text; nothing when it is unset, empty or no text.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let value = self.environment.iter().find(|(key, _)| key == name)?.1.to_str()?;
        (!value.is_empty()).then_some(value)
    }
}

/// One lane and what serves it.
#[derive(Clone, Debug)]
pub struct Service {
    /// The lane's route.
    pub route: Route,
    /// How to run the agent.
    pub vendor: Vendor,
    /// The program, as it will be started.
    pub program: PathBuf,
    /// Under which name a usage limit is remembered.
    pub account: String,
    /// Which tasks it takes.
    pub filter: Filter,
}

/// All that a dispatcher needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The lanes in the order in which they are served.
    pub services: Vec<Service>,
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
    /// How deep this dispatcher's agents are nested.
    pub depth: u32,
    /// How deep they may be.
    pub max_depth: u32,
    /// End when the lanes are empty.
    pub once: bool,
    /// The configuration file, for the agents.
    pub config_path: Option<PathBuf>,
    /// Where the dispatcher runs.
    pub surroundings: Surroundings,
    /// Lines worth telling the user.
    pub warnings: Vec<String>,
}

impl Plan {
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
        let config = settings::load(workspace, store)?;
        let depth = depth(&surroundings, config.max_depth)?;
        let base = workspace.path.as_ref().and_then(|path| path.parent()).unwrap_or(&surroundings.cwd);
        let mut warnings = Vec::new();
        let mut services = Vec::new();
        for lane in served_lanes(workspace, &config, &options) {
            let route = with_options(config.route(&lane), &options);
            for target in [&route.move_to, &route.dead_letter_lane].into_iter().flatten() {
                check_lane(target)?;
            }
            let own = config.routes.iter().any(|own| own.lane == lane && own.names_runner);
            match choose_runner(&route, own, &options) {
                Choice::Asked(runner) => {
                    let args = options.command.iter().skip(1);
                    let args = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
                    let route = route.served_by(runner, args);
                    services.push(service(route, &config, &surroundings.cwd, &surroundings)?);
                }
                Choice::Route => services.push(service(route, &config, base, &surroundings)?),
                Choice::Another(vendor) if options.lanes.contains(&lane) => {
                    warnings
                        .push(format!("lane {} is left to {vendor}, as its route says", printable(&lane)));
                }
                Choice::Another(_) => {}
                Choice::Nobody => {
                    return Err(Error::config(format!("nothing says who serves lane {}", printable(&lane)))
                        .with_hint("give --vendor NAME, or `vendor:` under dispatch in handoff.yaml"));
                }
            }
        }
        if services.is_empty() {
            return Err(Error::config("no lane is left to serve")
                .with_hint("name one with --lane, or give it a route in handoff.yaml"));
        }
        // Stable: equal priorities keep their order.
        services.sort_by_key(|service| service.route.priority);
        let max_concurrent = options.max_concurrent.unwrap_or(config.max_concurrent);
        if max_concurrent == 0 {
            return Err(Error::invalid("at least one agent must be allowed at once"));
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
            depth,
            max_depth: config.max_depth,
            once: options.once,
            config_path: workspace.path.clone(),
            surroundings,
            warnings,
        })
    }

    /// The lanes that are served, in order.
    pub fn lanes(&self) -> Vec<String> {
        self.services.iter().map(|service| service.route.lane.clone()).collect()
    }
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

fn with_options(mut route: Route, options: &Options) -> Route {
    if options.timeout.is_some() {
        route.timeout = options.timeout;
    }
    if let Some(retries) = options.max_retries {
        route.max_retries = retries;
    }
    if let Some(cwd) = &options.cwd {
        route.cwd = Some(cwd.to_string_lossy().into_owned());
    }
    route
}

enum Choice {
    /// What the route or the file's default says.
    Route,
    /// What the command line says.
    Asked(Runner),
    /// The route names another vendor than the command line.
    Another(String),
    Nobody,
}

/// A route's own word wins; then comes the command line, then the default of the file. A dispatcher
/// for one vendor leaves lanes alone that are meant for another.
fn choose_runner(route: &Route, is_own: bool, options: &Options) -> Choice {
    let asked = match (&options.vendor, options.command.first()) {
        (Some(vendor), _) => Some(Runner::Vendor(vendor.clone())),
        (None, Some(program)) => {
            Some(Runner::Command { program: program.to_string_lossy().into_owned(), format: Format::Text })
        }
        (None, None) => None,
    };
    match (&route.runner, asked) {
        (Some(Runner::Vendor(own)), Some(Runner::Vendor(asked))) if is_own && *own != asked => {
            Choice::Another(own.clone())
        }
        (Some(_), _) if is_own => Choice::Route,
        (_, Some(asked)) => Choice::Asked(asked),
        (Some(_), None) => Choice::Route,
        (None, None) => Choice::Nobody,
    }
}

/// A route with what serves it; `base` is where relative programs are looked for.
fn service(
    mut route: Route,
    config: &DispatchConfig,
    base: &Path,
    surroundings: &Surroundings,
) -> Result<Service> {
    let (vendor, account) = match &route.runner {
        Some(Runner::Vendor(name)) => (config.vendors.get(name)?.clone(), name.clone()),
        Some(Runner::Command { program, format }) => {
            let args = std::mem::take(&mut route.args);
            let vendor = Vendor { format: *format, ..Vendor::command(program, &args) };
            (vendor, format!("{COMMAND}:{program}"))
        }
        None => return Err(Error::config(format!("nothing serves lane {}", printable(&route.lane)))),
    };
    let program = find_program(&vendor, &route, base, surroundings)?;
    let filter = Filter::parse(&[format!("required_vendor={},any", vendor.name)])?;
    Ok(Service { route, vendor, program, account, filter })
}

/// Where the vendor's program is. Looked up before anything is claimed: a task should not fail because
/// the dispatcher was started without its agent.
fn find_program(vendor: &Vendor, route: &Route, base: &Path, surroundings: &Surroundings) -> Result<PathBuf> {
    let name = OsStr::new(&vendor.command);
    let mut candidates = if name.as_bytes().contains(&b'/') {
        vec![base.join(name)]
    } else {
        let layers: [&BTreeMap<String, Option<String>>; 2] = [&vendor.env, &route.env];
        let environment = agent_environment(surroundings.environment.clone(), &layers);
        let path = environment.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        std::env::split_paths(&path).map(|dir| base.join(dir).join(name)).collect()
    };
    candidates.retain(|path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    });
    candidates.into_iter().next().ok_or_else(|| {
        let program = printable(&vendor.command);
        Error::config(format!("{program}, the program of {}, is not installed", vendor.name))
            .with_hint(format!("install it, or name another with dispatch.vendors.{}.command", vendor.name))
    })
}
