//! `lanes bridge`: makes tasks of the cards of outside boards, and tells the cards what becomes of these.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{ArgGroup, Args, Subcommand};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::automation::{Automation, AutomationEvent};
use super::bridge_check::BridgeCheckCommand;
use super::bridge_import::BridgeImportCommand;
use super::bridge_reloader::BridgeReloader;
use super::bridge_settings::{configured_bridges, named_bridge};
use super::bridge_test::BridgeTestCommand;
use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
use super::inside_run;
use super::output::{Output, print_error_line};
use crate::bridge::adapter::AdapterLog;
use crate::bridge::event::{BridgeEvent, BridgeEventKind};
use crate::bridge::runner::BridgeLifetime;
use crate::bridge::stop::StopFlag;
use crate::bridge::supervisor::{BridgePlan, BridgeSupervisor, BridgeWakeup, SupervisorEnd};
use crate::dispatch::config::consent::ConsentPolicy;
use crate::error::{Error, Result};
use crate::signals::not_ignored;
use crate::store::Store;

/// Turn the cards of a board into tasks, until stopped.
///
/// Bridges are defined under `bridges:` in handoff.yaml. A card in a watched queue becomes a task of the queue's lane,
/// once for each time that it is put there; it moves as its task proceeds, and gets the answer as a comment.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    group(ArgGroup::new("what").args(["name", "all"]).required(true)),
    after_help = "Examples:
  lanes bridge team
  lanes bridge team --dry-run
  lanes bridge --all --once
  lanes bridge check team
  lanes bridge import pyproject.toml
  lanes bridge test -- ./adapter"
)]
pub(super) struct BridgeCommand {
    #[command(subcommand)]
    action: Option<BridgeAction>,
    /// Name of the bridge
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Run all bridges of handoff.yaml
    #[arg(long)]
    all: bool,
    /// Look at the board once, and exit
    #[arg(long)]
    once: bool,
    /// Show what would be done, without doing it
    #[arg(long)]
    dry_run: bool,
}

/// What is done instead of running bridges.
#[derive(Subcommand, Debug)]
enum BridgeAction {
    #[command(name = "check")]
    Check(BridgeCheckCommand),
    #[command(name = "import")]
    Import(BridgeImportCommand),
    #[command(name = "test")]
    Test(BridgeTestCommand),
}

impl BridgeCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        match &self.action {
            Some(BridgeAction::Check(command)) => command.run(context),
            Some(BridgeAction::Import(command)) => command.run(context),
            Some(BridgeAction::Test(command)) => command.run(context),
            None => self.run_bridges(context),
        }
    }

    fn run_bridges(&self, context: &mut CommandContext) -> Result<CommandExit> {
        if !self.dry_run {
            inside_run::refuse(context, "bridge")?;
        }
        let (config, bridges) = configured_bridges(context)?;
        let chosen = match &self.name {
            Some(name) => vec![named_bridge(&config, bridges, name)?],
            None if bridges.is_empty() => {
                return Err(Error::config("the configuration has no bridges")
                    .with_hint("add them under `bridges`, as docs/bridge.md shows"));
            }
            None => bridges,
        };
        for warning in &config.warnings {
            context.out.warn(warning);
        }
        let store = if self.dry_run { context.store()? } else { context.store_or_new()? };
        let lifetime = match (self.once || self.dry_run, self.all) {
            (true, _) => BridgeLifetime::Once,
            (false, false) => BridgeLifetime::UntilStopped,
            (false, true) => BridgeLifetime::Persistent,
        };
        let mut reloader = BridgeReloader::new(config.clone(), self.name.clone(), &store);
        let plan = BridgePlan { config: Arc::new(config.clone()), bridges: chosen };
        let run = || {
            self.supervise(&mut context.out, &store, |supervisor, wakeups| {
                supervisor.run(plan, lifetime, wakeups, &mut || reloader.reload_if_changed(&store))
            })
        };
        let mut end = match self.dry_run {
            true => run(),
            false => {
                let consent = ConsentPolicy::new(env::trust_records());
                Automation::new(&store, config, consent, true, &AutomationEvent::print).during(run)
            }
        }?;
        match (end.errors.pop(), end.errors.as_slice()) {
            (None, _) if end.reported == 0 => Ok(CommandExit::Done),
            (Some(error), []) if end.reported == 0 => Err(error),
            (last, others) => {
                others.iter().chain(&last).for_each(print_failure);
                Ok(CommandExit::Problems)
            }
        }
    }

    /// Makes what bridges need, and stops them at a signal.
    fn supervise(
        &self,
        out: &mut Output,
        store: &Store,
        run: impl FnOnce(&BridgeSupervisor<'_>, &Receiver<BridgeWakeup>) -> SupervisorEnd,
    ) -> Result<SupervisorEnd> {
        let is_quiet = out.quiet;
        let out = Mutex::new(out);
        let observe = |name: &str, event: BridgeEvent| {
            let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
            // If nobody reads the log any more, the bridge goes on.
            let _ = print_event(&mut out, &store.now().wall.to_string(), name, &event);
        };
        let adapter_log = |name: &str| -> AdapterLog {
            let name = name.to_string();
            Arc::new(move |line: &str| {
                if !is_quiet {
                    print_error_line(&format!("bridge {name}: adapter: {line}"));
                }
            })
        };
        let stop = StopFlag::default();
        let (sender, wakeups) = channel();
        let environment = env::all_variables();
        std::thread::scope(|scope| {
            let signals = stop_at_signals(scope, &stop, sender.clone())?;
            let supervisor = BridgeSupervisor {
                store,
                environment: &environment,
                stop: &stop,
                wakeups: sender,
                report: &print_failure,
                observe: &observe,
                adapter_log: &adapter_log,
                // The next start goes on where this one was.
                abandon: &|| std::process::exit(0),
                dry_run: self.dry_run,
            };
            let end = run(&supervisor, &wakeups);
            signals.close();
            Ok(end)
        })
    }
}

/// Stops the bridges at the first signal, and this process at the second. The thread ends when the handle is closed.
fn stop_at_signals<'s>(
    scope: &'s std::thread::Scope<'s, '_>,
    stop: &'s StopFlag,
    wakeups: Sender<BridgeWakeup>,
) -> Result<signal_hook::iterator::Handle> {
    let handled = [&[SIGTERM][..], &not_ignored(&[SIGINT, SIGHUP])].concat();
    let mut signals = Signals::new(handled).map_err(|error| Error::io("listen for", "signals", error))?;
    let handle = signals.handle();
    scope.spawn(move || {
        for signal in signals.forever() {
            if stop.is_set() {
                // The next start goes on where this one was.
                std::process::exit(128 + signal);
            }
            stop.set();
            // If the supervisor is gone, so are the bridges.
            let _ = wakeups.send(BridgeWakeup::Stop);
        }
    });
    Ok(handle)
}

/// Prints why a bridge has failed.
fn print_failure(error: &Error) {
    print_error_line(&format!("lanes: {error}"));
}

/// Prints an event: a warning to standard error, anything else to standard output.
fn print_event(out: &mut Output, now: &str, bridge: &str, event: &BridgeEvent) -> Result<()> {
    if out.json {
        let mut all = event.to_object(bridge);
        all.insert("at".to_string(), now.into());
        out.object_line(&all)?;
    } else if event.kind.is_warning() {
        out.warn(&format!("bridge {bridge}: {}", event.line()));
        return Ok(());
    } else if !(out.quiet && event.kind == BridgeEventKind::Connected) {
        out.line(&format!("{} {bridge}: {}", now.get(11..19).unwrap_or_default(), event.line()))?;
    }
    out.flush()
}
