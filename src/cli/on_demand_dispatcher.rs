//! Starts the on-demand dispatcher for a server of chats.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::env;
use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::options::{DispatchOptions, Lifetime, ProcessContext};
use crate::dispatch::config::plan::Plan;
use crate::error::{Error, ErrorKind, Result, printable};
use crate::mcp::DispatcherStarter;
use crate::model::LaneName;
use crate::os::own_process;
use crate::store::Store;
use crate::workspace::{Config, ConfigOrigin};

/// How long a start waits until somebody claims from the lane.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two looks at a dispatcher that starts or ends.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);
/// How long the agents of an attached dispatcher may continue after the end of the server.
const DRAIN: Duration = Duration::from_secs(5);
/// How long an attached dispatcher may take to end in all, before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(15);
/// The most bytes of what a dispatcher printed that are searched for the reason of its end.
const MAX_REASON: usize = 4096;

/// The dispatchers of a server that have not been reaped, by their process ids.
type Children = Arc<Mutex<BTreeMap<u32, Child>>>;

/// Starts on-demand dispatchers: this program, with the configuration of the server.
pub(super) struct OnDemandStarter {
    idle_exit: Duration,
    /// Whether dispatchers end with the server.
    is_attached: bool,
    /// Held during a start, so that calls which come at the same time start one.
    starting: Mutex<()>,
    children: Children,
}

impl OnDemandStarter {
    /// Makes a starter of dispatchers that stay without work for `idle_exit`. Attached ones end with this process.
    pub(super) fn new(idle_exit: Duration, is_attached: bool) -> Self {
        Self { idle_exit, is_attached, starting: Mutex::default(), children: Children::default() }
    }

    fn lifetime(&self) -> Lifetime {
        Lifetime::OnDemand { idle_exit: self.idle_exit }
    }

    /// Returns the command of a dispatcher for this configuration.
    ///
    /// A configuration that the server has found is not named, but found again from the directory that holds it: naming
    /// it would be consent to what it runs.
    fn command(&self, config: &Config) -> Command {
        let mut command = Command::new(own_process::program());
        command.arg0("lanes").env_remove("LANES_CONFIG").env_remove("LANES_STORE");
        let directory = match &config.origin {
            ConfigOrigin::FoundFile(_, found) => &found.holder,
            ConfigOrigin::NamedFile(file) => {
                command.arg("--config").arg(&file.path);
                &config.workspace_root
            }
            ConfigOrigin::StoreOnly => &config.workspace_root,
        };
        if config.store_is_named() {
            command.arg("--store").arg(&config.store_root);
        }
        command.current_dir(directory);
        command.args(["dispatch", "--on-demand", "--log", "json", "--idle-exit"]);
        command.arg(self.idle_exit.as_secs_f64().to_string());
        if self.is_attached {
            command.args(["--attach", "--drain"]).arg(DRAIN.as_secs().to_string());
            command.stdin(Stdio::piped());
        } else {
            command.arg("--detach").stdin(Stdio::null());
        }
        command.stdout(Stdio::null());
        command
    }

    /// Starts a dispatcher that prints errors to `log`. Returns how it ends, once it has.
    fn spawn(&self, config: &Config, log: File) -> Result<Receiver<ExitStatus>> {
        let child = self.command(config).stderr(log).spawn();
        let child = child.map_err(|error| Error::io("start", "a dispatcher", error))?;
        let (pid, children) = (child.id(), Arc::clone(&self.children));
        lock(&children).insert(pid, child);
        let (sender, ended) = mpsc::channel();
        std::thread::Builder::new()
            .name("reaper".to_string())
            .spawn(move || {
                wait_until_exited(pid);
                // Nobody can have reaped it, so that its process id was valid for as long as it was listed.
                if let Some(Ok(status)) = lock(&children).remove(&pid).map(|mut child| child.wait()) {
                    let _ = sender.send(status);
                }
            })
            .map_err(|error| Error::io("wait for", "a dispatcher", error))?;
        Ok(ended)
    }
}

impl DispatcherStarter for OnDemandStarter {
    fn check(&self, config: &Config, store: &Store, lane: &LaneName) -> Result<()> {
        let process = ProcessContext {
            environment: env::all_variables(),
            cwd: PathBuf::from("/"),
            pid: std::process::id(),
            program: env::own_program(),
            consent: ConsentPolicy::new(env::trust_records()),
        };
        let options = DispatchOptions { lifetime: self.lifetime(), ..DispatchOptions::default() };
        let plan = Plan::new(config, store, options, process).map_err(for_a_person)?;
        let served = plan.served_lanes.iter().find(|served| served.route.lane == *lane);
        let served = served.ok_or_else(|| {
            Error::config(format!("no vendor is configured for lane {lane}"))
                .with_hint("a person must give it a route with a vendor in handoff.yaml")
        })?;
        served.check_ready().map_err(|error| {
            Error::not_found(error.message()).with_hint(error.hint().unwrap_or("a person must make it"))
        })
    }

    fn start(&self, config: &Config, store: &Store, lane: &LaneName) -> Result<()> {
        let _one_at_a_time = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if store.lane_is_attended(lane)? {
            return Ok(());
        }
        let log = store.spool().on_demand_log()?.into_file();
        let printed = log.try_clone().map_err(|error| Error::io("read", "the log of a dispatcher", error))?;
        let before = printed.metadata().map_or(0, |meta| meta.len());
        let ended = self.spawn(config, log)?;
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            match ended.recv_timeout(CHECK_INTERVAL) {
                // Another one is there, or waits until its predecessor has left.
                Ok(status) if status.success() => return Ok(()),
                Ok(status) => return Err(ended_at_once(status, &printed, before)),
                Err(RecvTimeoutError::Timeout) if store.lane_is_attended(lane)? => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(())
    }

    fn end(&self) {
        if !self.is_attached {
            return;
        }
        let signal = |signal| {
            for child in lock(&self.children).values() {
                let _ = rustix::process::kill_process(Pid::from_child(child), signal);
            }
        };
        signal(Signal::TERM);
        if !self.are_reaped_within(END_TIMEOUT) {
            // Their guards end the agents.
            signal(Signal::KILL);
            self.are_reaped_within(END_TIMEOUT);
        }
    }
}

impl OnDemandStarter {
    fn are_reaped_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !lock(&self.children).is_empty() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(CHECK_INTERVAL);
        }
        true
    }
}

fn lock(children: &Children) -> MutexGuard<'_, BTreeMap<u32, Child>> {
    children.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until a child has exited, and leaves it to be reaped.
fn wait_until_exited(pid: u32) {
    let Some(pid) = Pid::from_raw(pid.cast_signed()) else { return };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(rustix::process::waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
}

/// Adds to the refusal of a configuration that a person must agree: what reads it is a model.
fn for_a_person(error: Error) -> Error {
    match error.hint().map(str::to_string) {
        Some(hint) if error.kind() == ErrorKind::Refused => error.with_hint(format!("a person must {hint}")),
        _ => error,
    }
}

/// Returns the error about a dispatcher that ended before it claimed from the lane, with what it printed last.
fn ended_at_once(status: ExitStatus, log: &File, from: u64) -> Error {
    let mut bytes = vec![0; MAX_REASON];
    let length = log.read_at(&mut bytes, from).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    let said = text.lines().rev().find_map(|line| line.strip_prefix("lanes: ")).map(printable);
    let why = said.unwrap_or_else(|| status.to_string());
    Error::config(format!("the dispatcher that was started has ended: {why}"))
}
