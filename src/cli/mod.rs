//! The command line: parses arguments, calls the library, and prints the reply. It contains no rule of the queue.
//!
//! One file per command: its flags (whose comments are the help text), the call of the library, and the
//! text of the reply.

#[cfg(feature = "mcp")]
mod agent_registry;
mod agents;
mod agents_change;
mod agents_diagnoses;
mod answer;
mod args;
mod ask;
mod automation;
mod body;
mod bridge;
mod bridge_check;
mod bridge_counts;
mod bridge_diagnoses;
mod bridge_import;
mod bridge_reloader;
mod bridge_settings;
mod bridge_test;
mod budget;
mod call;
mod cancel;
mod claim;
mod complete;
mod completions;
mod context;
mod diff;
mod dispatch;
mod dispatch_log;
mod doctor;
mod each_task;
mod env;
mod event;
mod events;
mod exit;
mod export;
mod fsck;
mod gc;
mod given_messages;
mod graph;
mod idle;
mod import;
mod inbox;
mod init;
mod init_pool;
mod inside_run;
mod lane_or_vendor;
mod list;
mod logs;
mod man;
#[cfg(feature = "mcp")]
mod mcp;
#[cfg(feature = "mcp")]
mod mcp_budget;
#[cfg(feature = "mcp")]
mod mcp_diagnoses;
#[cfg(feature = "mcp")]
mod mcp_install;
#[cfg(feature = "mcp")]
mod mcp_over_http;
#[cfg(feature = "mcp")]
mod mcp_self_test;
#[cfg(feature = "mcp")]
mod mcp_server_args;
#[cfg(feature = "mcp")]
mod mcp_settings;
mod messages;
mod move_task;
mod next;
#[cfg(feature = "mcp")]
mod on_demand_dispatcher;
mod output;
mod pause;
mod redrive;
mod release;
mod renew;
mod respond;
mod resume;
mod retry;
mod schedules;
mod self_test;
mod serve;
mod setup;
mod show;
mod stats;
mod status;
mod submit;
mod submit_batch;
mod table;
mod task_args;
mod tell;
mod trust;
mod usage_error;
mod view;
mod wait;
mod waiting;
mod why;
mod workers;
mod worktrees;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::builder::StyledStr;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::args::EXAMPLES_HEADING;
use self::context::{CommandContext, GlobalArgs};
use self::exit::{
    CommandExit, EXIT_CODES, EXIT_INTERNAL, EXIT_READER_GONE, EXIT_REFUSED, EXIT_USAGE_OR_TIMEOUT,
};
use self::output::{Output, print_error_line};
use crate::error::Result;
use crate::workspace::BaseDir;

/// A task queue for coding agents, shell scripts and people on one machine.
///
/// Submit a task to a lane; a worker claims it under a lease, renews the lease while it works, and
/// responds; your wait returns. The queue is a directory of plain files: no daemon.
#[derive(Parser, Debug)]
// If a flag is given twice, the last one counts, so that wrapper scripts can pass defaults first.
#[command(name = "lanes", version, max_term_width = 100, args_override_self = true, after_help = after_help())]
pub(crate) struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Option<CliCommand>,
}

/// Lists each command once: its variant, its name, and the source of its flags.
macro_rules! commands {
    ($(
        $(#[$attribute:meta])* $(if $feature:literal,)? $name:literal $variant:ident($flags:ty) $($extra:expr)?;
    )*) => {
        #[derive(Subcommand, Debug)]
        enum CliCommand {
            $($(#[cfg(feature = $feature)])? $(#[$attribute])* #[command(name = $name)] $variant($flags),)*
        }

        impl CliCommand {
            fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$variant(command) => command.run(context $(, $extra)?),)*
                }
            }
        }

        /// The name of each command, and the function that adds its flags.
        const COMMANDS: &[(&str, fn(clap::Command) -> clap::Command)] =
            &[$($(#[cfg(feature = $feature)])? ($name, <$flags as clap::Args>::augment_args),)*];
    };
}

commands! {
    "init" Init(init::InitCommand);
    "init-pool" InitPool(init_pool::InitPoolCommand);
    "submit" Submit(submit::SubmitCommand);
    "call" Call(call::CallCommand);
    "wait" Wait(wait::WaitCommand);
    "next" Next(next::NextCommand) "next";
    /// Same as next
    "watch" Watch(next::NextCommand) "watch";
    "claim" Claim(claim::ClaimCommand);
    "renew" Renew(renew::RenewCommand);
    "release" Release(release::ReleaseCommand);
    "event" Event(event::EventCommand);
    "respond" Respond(respond::RespondCommand);
    "ask" Ask(ask::AskCommand);
    "answer" Answer(answer::AnswerCommand);
    "tell" Tell(tell::TellCommand);
    "messages" Messages(messages::MessagesCommand);
    "cancel" Cancel(cancel::CancelCommand);
    "retry" Retry(retry::RetryCommand);
    "redrive" Redrive(redrive::RedriveCommand);
    "move" Move(move_task::MoveCommand);
    "pause" Pause(pause::PauseCommand);
    "resume" Resume(resume::ResumeCommand);
    "status" Status(status::StatusCommand);
    "list" List(list::ListCommand);
    "show" Show(show::ShowCommand);
    "why" Why(why::WhyCommand);
    "inbox" Inbox(inbox::InboxCommand);
    "graph" Graph(graph::GraphCommand);
    "agents" Agents(agents::AgentsCommand);
    "dispatch" Dispatch(dispatch::DispatchCommand);
    "bridge" Bridge(bridge::BridgeCommand);
    "trust" Trust(trust::TrustCommand);
    "schedules" Schedules(schedules::SchedulesCommand);
    "budget" Budget(budget::BudgetCommand);
    "stats" Stats(stats::StatsCommand);
    "events" Events(events::EventsCommand);
    "logs" Logs(logs::LogsCommand);
    "diff" Diff(diff::DiffCommand);
    "worktrees" Worktrees(worktrees::WorktreesCommand);
    "workers" Workers(workers::WorkersCommand);
    "doctor" Doctor(doctor::DoctorCommand);
    "fsck" Fsck(fsck::FsckCommand);
    "gc" Gc(gc::GcCommand);
    "export" Export(export::ExportCommand);
    "import" Import(import::ImportCommand);
    "serve" Serve(serve::ServeCommand);
    if "mcp", "mcp" Mcp(mcp::McpCommand);
    "setup" Setup(setup::SetupCommand);
    "self-test" SelfTest(self_test::SelfTestCommand);
    "completions" Completions(completions::CompletionsCommand);
    "man" Man(man::ManCommand) Cli::command();
}

/// Parses a command line.
///
/// Building the flags of all commands takes longer than running most commands. The command line is therefore
/// parsed with the flags of the commands that it names; only if that fails is it parsed again with all flags, for
/// the help and the error messages.
fn parse(args: &[OsString]) -> std::result::Result<Cli, clap::Error> {
    let top = clap::Command::new("lanes").version(env!("CARGO_PKG_VERSION")).args_override_self(true);
    let named = COMMANDS.iter().filter(|(name, _)| args.iter().any(|word| word == name));
    let some = named.fold(GlobalArgs::augment_args(top), |all, (name, add_flags)| {
        all.subcommand(add_flags(clap::Command::new(*name)))
    });
    match some.try_get_matches_from(args).and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches)) {
        Ok(cli) if cli.command.is_some() => Ok(cli),
        Err(version) if version.kind() == clap::error::ErrorKind::DisplayVersion => Err(version),
        _ => Cli::try_parse_from(args),
    }
}

/// Runs the command line of this process. `stdout_is_closed` means that it was started without a standard output.
pub fn run(stdout_is_closed: bool) -> ExitCode {
    if let Some(code) = crate::guard::run_if_guard(std::env::args_os()) {
        return code;
    }
    report_panics_in_one_line();
    ignore_file_size_signal();
    if stdout_is_closed {
        print_error_line(
            "lanes: standard output is closed, so nothing was done; give /dev/null if no answer is wanted",
        );
        return ExitCode::from(EXIT_REFUSED);
    }
    let args: Vec<OsString> = std::env::args_os().collect();
    // No command begins with `--`. Without this check, a variable left in the environment would turn every command
    // into a completion.
    if args.get(1).is_some_and(|word| word == "--")
        && let Some(shell) = env::completing_shell()
    {
        return answer_completion(&shell, &args);
    }
    let parsed = parse(&args);
    let global = parsed.as_ref().map(|cli| cli.global.clone()).unwrap_or_default();
    let out = Output::new(global.json, global.quiet);
    let mut context = CommandContext { global, out, base: BaseDir::current() };
    let result = match parsed {
        Ok(Cli { command: Some(command), .. }) => command.run(&mut context),
        Ok(Cli { command: None, .. }) => help(&mut context.out, &Cli::command().render_help()),
        // Help and version are replies; every other error of clap is bad usage.
        Err(error) if error.use_stderr() => {
            print_error_line(&format!("lanes: {}", usage_error::one_line(&error, Cli::command(), &args)));
            return ExitCode::from(EXIT_USAGE_OR_TIMEOUT);
        }
        Err(error) => help(&mut context.out, &error.render()),
    };
    match result.and_then(|exit| context.out.flush().map(|()| exit)) {
        Ok(exit) => {
            if let CommandExit::TimedOut(line) = &exit {
                print_error_line(&format!("lanes: {line}"));
            }
            ExitCode::from(exit.code())
        }
        Err(_) if context.out.reader_is_gone() => ExitCode::from(EXIT_READER_GONE),
        Err(error) => {
            // The output before the failure is still useful.
            let _ = context.out.flush();
            print_error_line(&format!("lanes: {error}"));
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

/// Answers the completion script of a shell, without error messages.
fn answer_completion(shell: &OsStr, args: &[OsString]) -> ExitCode {
    let mut context =
        CommandContext { global: GlobalArgs::default(), out: Output::quiet(), base: BaseDir::current() };
    let answered = complete::print_candidates(&mut context, Cli::command(), shell, args);
    let ended = answered.and_then(|exit| context.out.flush().map(|()| exit.code()));
    ExitCode::from(ended.unwrap_or(EXIT_REFUSED))
}

/// Returns the end of the help of `lanes` itself.
fn after_help() -> String {
    let codes: Vec<String> =
        EXIT_CODES.iter().map(|(code, meaning)| format!("  {code}  {meaning}")).collect();
    format!(
        "{EXAMPLES_HEADING}\n  lanes init\n  lanes submit --lane review --prompt 'Is the lock fair?'\n  \
         lanes claim --lane review --wait\n\nExit codes:\n{}",
        codes.join("\n")
    )
}

fn help(out: &mut Output, text: &StyledStr) -> Result<CommandExit> {
    let text = if out.colour() { text.ansi().to_string() } else { text.to_string() };
    out.raw(text.as_bytes())?;
    Ok(CommandExit::Done)
}

/// Makes a panic, which is a bug of this program, print one line with its location and end the process.
fn report_panics_in_one_line() {
    std::panic::set_hook(Box::new(|info| {
        let place =
            info.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
        let line = format!("lanes: internal error at {place}; nothing that was reported as done is lost");
        if crate::http::is_panic_caught() {
            // The server continues even if its standard error is not read: one thread may wait for that.
            static IS_REPORTING: AtomicBool = AtomicBool::new(false);
            if !IS_REPORTING.swap(true, Ordering::SeqCst) {
                std::thread::spawn(move || {
                    print_error_line(&line);
                    IS_REPORTING.store(false, Ordering::SeqCst);
                });
            }
            return;
        }
        print_error_line(&line);
        // The process ends whichever thread panicked, since its state cannot be trusted. An abort would add a
        // message of the shell.
        std::process::exit(EXIT_INTERNAL.into());
    }));
}

/// Makes a write beyond the limit on file sizes fail instead of ending the process.
fn ignore_file_size_signal() {
    let flag = std::sync::Arc::new(AtomicBool::new(false));
    // Without the handler, such a write ends the process.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, flag);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_line_means_the_same_with_few_flags_as_with_all() {
        for line in [
            "--json status --all",
            "--store status list --limit 3",
            "submit --lane claim --prompt next -q",
            "status --json --json",
            "next next",
            "watch a",
            "help",
            "status --help",
            "--version",
            "stat",
            "",
        ] {
            let args: Vec<OsString> =
                std::iter::once("lanes").chain(line.split_whitespace()).map(Into::into).collect();
            let shown = |parsed: std::result::Result<Cli, clap::Error>| match parsed {
                Ok(cli) => format!("{cli:?}"),
                Err(error) => error.render().to_string(),
            };
            assert_eq!(shown(parse(&args)), shown(Cli::try_parse_from(&args)), "{line}");
        }
    }

    #[test]
    fn every_command_has_examples_that_it_understands() {
        let all = Cli::command();
        let inner = all.get_subcommands().flat_map(clap::Command::get_subcommands);
        for command in all.get_subcommands().chain(inner).chain([&all]) {
            let name = command.get_name();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help
                .strip_prefix(EXAMPLES_HEADING)
                .unwrap_or_default()
                .split("\n\n")
                .next()
                .unwrap_or_default();
            assert!(examples.contains("lanes ") && examples.contains(name), "{name}: {help}");
            for example in examples.lines().filter(|line| !line.is_empty()) {
                let words = words(example);
                let parsed = Cli::try_parse_from(&words);
                assert!(parsed.is_ok(), "{example}: {words:?}: {}", parsed.unwrap_err());
            }
        }
    }

    /// Returns the arguments of the `lanes` in a shell command line, without redirections.
    fn words(line: &str) -> Vec<String> {
        let line = line.trim().trim_start_matches("source <(").trim_end_matches(')');
        let command = line.split(" | ").find(|part| part.starts_with("lanes ")).unwrap_or_default();
        let command = command.split(" > ").next().unwrap_or_default();
        let mut words = Vec::new();
        for (number, part) in command.trim().split('\'').enumerate() {
            match number % 2 {
                0 => words.extend(part.split_whitespace().map(str::to_string)),
                _ => words.push(part.to_string()),
            }
        }
        words
    }
}
