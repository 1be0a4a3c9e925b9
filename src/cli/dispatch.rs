//! `lanes dispatch`: runs an agent for each task, unattended.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::args::{number, seconds, span};
use super::automation::{Automation, AutomationEvent};
use super::context::CommandContext;
use super::dispatch_log::DispatchLog;
use super::env;
use super::exit::CommandExit;
use super::inside_run;
use super::output::{Output, OutputOptions};
use super::table::Table;
use crate::dispatch::agent::reaper::GuardPool;
use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::load::current_sensitive_files;
use crate::dispatch::config::options::{
    CommandLineRunner, DEFAULT_IDLE_EXIT, DispatchOptions, Lifetime, ProcessContext,
};
use crate::dispatch::config::plan::Plan;
use crate::dispatch::config::reload::PlanReloader;
use crate::dispatch::config::sensitive_settings::SensitiveFile;
use crate::dispatch::dispatcher::{DispatchSummary, Dispatcher, ShutdownHandle};
use crate::dispatch::dry_run::{Preview, preview};
use crate::dispatch::event::DispatchEvent;
use crate::dispatch::on_demand;
use crate::error::{Error, Result, printable};
use crate::model::duration::{self, TimeLimit};
use crate::model::task::object;
use crate::model::{LaneName, Owner, Time, limits};
use crate::signals::not_ignored;
use crate::store::Store;
use crate::workspace::Config;

/// Claim tasks and run an agent for each, until stopped.
///
/// Reads `dispatch:` in handoff.yaml and follows its changes; flags override it, except the vendor that a
/// route itself names. The first SIGINT or SIGTERM lets running agents finish; the second stops them and
/// releases their tasks.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lanes dispatch --vendor claude\n  lanes dispatch --lane work --command -- ./my-agent --quiet\n  lanes dispatch --vendor claude --once --exit-status"
)]
pub(super) struct DispatchCommand {
    /// Vendor of the agents: claude, codex, gemini, opencode, or one of handoff.yaml
    #[arg(long, value_name = "VENDOR", conflicts_with = "command")]
    vendor: Option<String>,
    /// Run a program that reads the prompt on standard input: `--command -- PROGRAM ARGUMENTS...`
    #[arg(long, requires = "program")]
    command: bool,
    /// The lane; repeatable [default: all lanes of handoff.yaml]
    #[arg(long, short, value_name = "LANE")]
    lane: Vec<String>,
    /// Maximum number of concurrent runs [default: 3]
    #[arg(long, value_name = "N", value_parser = number::<u32>, allow_negative_numbers = true)]
    max_concurrent: Option<u32>,
    /// Name under which tasks are claimed [default: USER-VENDOR-PID]
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// Length of the lease: seconds, or 15m, 2h; more than 0, at most 30d [default: 15m, renewed while the agent
    /// works]
    #[arg(long, value_name = "SPAN", value_parser = seconds, allow_negative_numbers = true)]
    lease_seconds: Option<f64>,
    /// Time limit of one run: seconds, 15m, 2h, or none [default: 6h]
    #[arg(long, value_name = "SPAN", value_parser = parse_limit)]
    timeout: Option<TimeLimit>,
    /// Time limit of an agent's silence, or none [default: 30m, none for --command]
    #[arg(long, value_name = "SPAN", value_parser = parse_limit)]
    silence_timeout: Option<TimeLimit>,
    /// Maximum retries after a failed attempt [default: 0]
    #[arg(long, value_name = "N", value_parser = number::<u32>, allow_negative_numbers = true)]
    max_retries: Option<u32>,
    /// Directory in which agents work [default: the task's worktree, else its workspace]
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Directory outside the workspace below which tasks may run agents; repeatable
    #[arg(long, value_name = "DIR")]
    worktree_root: Vec<PathBuf>,
    /// Time between SIGTERM and SIGKILL when an agent is stopped [default: 5s]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    grace: Option<Duration>,
    /// How long running agents may continue after the first signal [default: until they are done]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    drain: Option<Duration>,
    /// Exit when the lanes are empty
    #[arg(long)]
    once: bool,
    /// Exit with code 3 if a task failed
    #[arg(long, requires = "once")]
    exit_status: bool,
    /// Serve the lanes agent/NAME that no other dispatcher serves, and exit after --idle-exit without work; a store has
    /// at most one such dispatcher
    #[arg(long, conflicts_with_all = ["vendor", "command", "lane", "once", "dry_run"])]
    on_demand: bool,
    /// How long a dispatcher that was started on demand stays without work [default: 60s]
    #[arg(long, requires = "on_demand", value_name = "SPAN", value_parser = span)]
    idle_exit: Option<Duration>,
    /// Leave the session of the terminal or program that starts it, so that it outlives them
    #[arg(long, requires = "on_demand")]
    detach: bool,
    /// Stop when standard input is closed, as after a first signal, so that it ends with the program that starts it
    #[arg(long, requires = "on_demand", conflicts_with = "detach")]
    attach: bool,
    /// Agree to what the configuration may run, as `lanes trust` does
    #[arg(long, conflicts_with = "dry_run")]
    trust: bool,
    /// Show what would be done, without doing it
    #[arg(long)]
    dry_run: bool,
    /// Log format: lines for people, or JSON objects
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log: LogFormat,
    /// The program of --command and its arguments
    #[arg(last = true, value_name = "PROGRAM", requires = "command")]
    program: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Parses a limit of time: a span, or `none`.
fn parse_limit(text: &str) -> std::result::Result<TimeLimit, String> {
    TimeLimit::parse(text)
        .ok_or_else(|| "expected seconds, a length such as 90s, 15m or 2h, or none".to_string())
}

impl DispatchCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        if !self.dry_run {
            inside_run::refuse(context, "dispatch")?;
        }
        if self.detach {
            // Fails only for the leader of a process group, which does not need it.
            let _ = rustix::process::setsid();
        }
        let (config, store) =
            if self.dry_run { context.workspace_to_read()? } else { context.workspace()? };
        let on_closed_input = self.attach.then(watch_input).transpose()?;
        // Before anything is read, so that changes made while this process waits take effect.
        let place = if self.on_demand { on_demand::take_place(&store)? } else { None };
        if self.on_demand && place.is_none() {
            context.out.note("lanes: another on-demand dispatcher serves this store");
            return Ok(CommandExit::Done);
        }
        let lanes = self.lane.iter().map(LaneName::new).collect::<Result<_>>()?;
        let process = ProcessContext {
            environment: env::all_variables(),
            cwd: self.directory(context)?,
            pid: std::process::id(),
            program: env::own_program(),
            consent: self.consent_policy(context, &config, &store)?,
        };
        let options = DispatchOptions {
            lanes,
            runner: match &self.vendor {
                Some(vendor) => Some(CommandLineRunner::vendor(vendor)),
                None => CommandLineRunner::program(&self.program),
            },
            max_concurrent: self.max_concurrent,
            owner: self.owner.as_deref().map(Owner::new).transpose()?,
            lease: self.lease_seconds.map(limits::lease_from_seconds).transpose()?,
            timeout: self.timeout,
            silence_timeout: self.silence_timeout,
            max_retries: self.max_retries,
            cwd: self.cwd.as_ref().map(|cwd| process.cwd.join(cwd)),
            worktree_roots: self.worktree_root.iter().map(|root| process.cwd.join(root)).collect(),
            grace: self.grace,
            drain: self.drain,
            lifetime: self.lifetime(),
        };
        let scheduled = (config.clone(), process.consent.clone());
        let (plan, reloader) = PlanReloader::start(config, &store, options, process)?;
        let of_file = context.config().map(|config| config.warnings.clone()).unwrap_or_default();
        for warning in of_file.iter().chain(&plan.warnings) {
            context.out.warn(warning);
        }
        if self.dry_run {
            return print_previews(context, &plan, &preview(&store, &plan)?);
        }
        if !self.on_demand {
            plan.check_ready()?;
        }
        let json = context.out.json || self.log == LogFormat::Json;
        let format = if json { LogFormat::Json } else { LogFormat::Text };
        let exit_of = |summary: &DispatchSummary| match self.exit_status && summary.failed_tasks > 0 {
            true => CommandExit::TaskFailed,
            false => CommandExit::Done,
        };
        let stdin = on_closed_input.as_deref();
        run_dispatcher(context, &store, (plan, reloader), scheduled, format, stdin, &exit_of)
    }

    fn lifetime(&self) -> Lifetime {
        match (self.on_demand, self.once) {
            (true, _) => Lifetime::OnDemand { idle_exit: self.idle_exit.unwrap_or(DEFAULT_IDLE_EXIT) },
            (false, true) => Lifetime::Once,
            (false, false) => Lifetime::UntilStopped,
        }
    }

    /// Returns the current directory, or `/` if it no longer exists and no argument is relative to it.
    fn directory(&self, context: &CommandContext) -> Result<PathBuf> {
        let program = self.program.first().map(Path::new).filter(|program| program.components().count() > 1);
        let paths = self.cwd.iter().chain(&self.worktree_root).map(PathBuf::as_path).chain(program);
        match context.base.directory() {
            Err(error) if paths.into_iter().any(Path::is_relative) => Err(error),
            Err(_) => Ok(PathBuf::from("/")),
            Ok(directory) => Ok(directory.to_path_buf()),
        }
    }

    /// Returns which settings may choose what runs. `--trust` first records consent to all current ones. A dry
    /// run, which runs nothing, allows all settings and warns about those that lack consent.
    fn consent_policy(
        &self,
        context: &CommandContext,
        config: &Config,
        store: &Store,
    ) -> Result<ConsentPolicy> {
        let policy = ConsentPolicy::new(env::trust_records());
        if self.trust {
            let files = current_sensitive_files(config, Some(store))?;
            let files: Vec<SensitiveFile> = files.into_iter().filter(|file| file.needs_consent).collect();
            if !files.is_empty() {
                policy.agree(&files, store.now().wall)?;
            }
        }
        if !self.dry_run {
            return Ok(policy);
        }
        if let Err(error) = policy.check(&current_sensitive_files(config, Some(store))?) {
            context.out.warn(&error.to_string());
        }
        Ok(ConsentPolicy::AllowAll)
    }
}

/// Runs the dispatcher until it ends, and prints its events.
fn run_dispatcher(
    context: &mut CommandContext,
    store: &Store,
    (plan, reloader): (Plan, PlanReloader),
    (config, consent): (Config, ConsentPolicy),
    format: LogFormat,
    on_closed_input: Option<&OnceLock<ShutdownHandle>>,
    exit_of: &dyn Fn(&DispatchSummary) -> CommandExit,
) -> Result<CommandExit> {
    let quiet = context.out.quiet;
    context.out.flush()?;
    let mut out = Output::new(OutputOptions { quiet, ..context.global.output_options() });
    let mut log_in_store =
        if plan.lifetime.idle_exit().is_some() { Some(store.spool().on_demand_log()?) } else { None };
    let log = DispatchLog::start(move |at, event| {
        // If nobody reads the log any more, or the disk is full, the dispatcher continues.
        let _ = print_event(&mut out, at, event, format);
        // What an agent does is in the log of its run.
        if let Some(log) = log_in_store.as_mut().filter(|_| !matches!(event, DispatchEvent::Progress { .. }))
        {
            let _ = log.add(&line_of(&at.to_string(), event));
        }
    });
    let observe = |event: DispatchEvent| {
        if !(quiet && matches!(event, DispatchEvent::Progress { .. })) {
            log.add(store.now().wall, event);
        }
    };
    let guard_pool = GuardPool::of_this_process();
    let dispatcher = Dispatcher::new(store, plan, reloader, &guard_pool, &observe);
    handle_signals(dispatcher.shutdown_handle())?;
    if let Some(handle) = on_closed_input {
        let _ = handle.set(dispatcher.shutdown_handle());
    }
    let observe_automation = |event: AutomationEvent| {
        observe(match event {
            AutomationEvent::Scheduled { schedule, task_id } => {
                DispatchEvent::Scheduled { task_id, schedule }
            }
            AutomationEvent::Warning(message) => DispatchEvent::Warning { message },
        });
    };
    let automation = Automation::new(store, config, consent, false, &observe_automation);
    let ended = automation.during(|| dispatcher.run());
    let exit = ended.map(|summary| exit_of(&summary));
    if !log.finish(store.now().wall)
        && let Ok(exit) = &exit
    {
        // The thread of the log still locks standard output, and returning from `main` would wait for it.
        std::process::exit(exit.code().into());
    }
    exit
}

/// Prints an event: a warning to standard error, anything else to standard output.
fn print_event(out: &mut Output, at: Time, event: &DispatchEvent, format: LogFormat) -> Result<()> {
    let now = at.to_string();
    if let (DispatchEvent::Warning { message }, LogFormat::Text) = (event, format) {
        out.warn(&printable(message));
        return Ok(());
    }
    if format == LogFormat::Json {
        let mut all = event.to_object();
        all.insert("at".to_string(), now.into());
        out.object_line(&all)?;
    } else {
        out.line(&line_of(now.get(11..19).unwrap_or_default(), event))?;
    }
    out.flush()
}

/// Formats an event for people.
fn line_of(time: &str, event: &DispatchEvent) -> String {
    let task = event.task_id().map(|id| format!(" {id}:")).unwrap_or_default();
    printable(&format!("{time}{task} {}", event.message()))
}

/// Waits for the end of standard input on a thread of its own. It then ends the dispatcher whose handle is in the
/// returned cell, or the process if it has not come to that.
fn watch_input() -> Result<Arc<OnceLock<ShutdownHandle>>> {
    let handle = Arc::new(OnceLock::<ShutdownHandle>::new());
    let set_later = Arc::clone(&handle);
    let watch = move || {
        // An error counts as the end: the process at the other side is gone.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        match set_later.get() {
            Some(handle) => handle.end(),
            None => std::process::exit(CommandExit::Done.code().into()),
        }
    };
    let thread = std::thread::Builder::new().name("input".to_string()).spawn(watch);
    thread.map(|_| handle).map_err(|error| Error::io("watch", "standard input", error))
}

/// Handles signals: the first lets agents finish, the second stops them, the third ends this process at once.
fn handle_signals(control: ShutdownHandle) -> Result<()> {
    // A signal that is ignored stays ignored: with nohup, or `&` in a script, the dispatcher is meant to stay.
    let handled = [&[SIGTERM][..], &not_ignored(&[SIGINT, SIGHUP])].concat();
    let mut signals = Signals::new(handled).map_err(|error| Error::io("listen for", "signals", error))?;
    std::thread::spawn(move || {
        for (count, signal) in signals.forever().enumerate() {
            if count >= 2 {
                // The guards end the agents; the next dispatcher recovers their tasks.
                std::process::exit(128 + signal);
            }
            control.end();
        }
        ExitCode::SUCCESS
    });
    Ok(())
}

/// Prints the next run of each lane.
fn print_previews(context: &mut CommandContext, plan: &Plan, previews: &[Preview]) -> Result<CommandExit> {
    if context.out.json {
        let lanes: Vec<Value> = previews.iter().map(|preview| Value::Object(preview.to_object())).collect();
        context.out.object(&object([
            ("status", "ok".into()),
            ("owner", plan.owner.clone().into()),
            ("max_concurrent", plan.max_concurrent.into()),
            ("lanes", lanes.into()),
        ]))?;
        return Ok(CommandExit::Done);
    }
    let mut table = Table::new(&["LANE", "VENDOR", "PROGRAM", "TIMEOUT", "SILENCE", "NEXT TASK"]);
    for preview in previews {
        table.row(vec![
            preview.lane.to_string(),
            preview.vendor.clone(),
            preview.program.clone().unwrap_or_else(|| "not installed".to_string()),
            limit_text(preview.timeout),
            limit_text(preview.silence_timeout),
            preview.task_id.clone().unwrap_or_else(|| "none".to_string()),
        ]);
    }
    table.print(&mut context.out)?;
    for preview in previews {
        if let Some(cooldown) = &preview.cooldown {
            context.out.line("")?;
            context.out.line(&printable(&format!("{}: {}", preview.lane, cooldown.describe())))?;
        }
    }
    for preview in previews {
        let text = match &preview.command {
            Ok(Some(argv)) => argv.join(" "),
            Ok(None) => continue,
            Err(reason) => format!("would fail: {reason}"),
        };
        context.out.line("")?;
        if let Some(worktree) = &preview.worktree {
            let (path, branch) = (worktree.path.display(), &worktree.branch);
            let verb = if worktree.exists { "goes on in" } else { "gets" };
            context
                .out
                .line(&printable(&format!("{}: {verb} the worktree {path} on {branch}", preview.lane)))?;
        }
        context.out.line(&printable(&format!("{}: {text}", preview.lane)))?;
    }
    Ok(CommandExit::Done)
}

/// Formats a limit of a run for people.
fn limit_text(limit: Option<Duration>) -> String {
    limit.map_or_else(|| "none".to_string(), duration::format_coarse)
}
