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
mod browser;
mod budget;
mod call;
mod cancel;
mod claim;
mod colour;
mod complete;
mod completions;
mod completions_install;
mod config;
mod config_values;
mod context;
mod diff;
mod dispatch;
mod dispatch_log;
mod doctor;
mod each_task;
mod edit;
mod editor;
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
mod lanes;
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
mod prompt;
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
mod task_fields;
mod tell;
mod text_format;
mod top;
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
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::args::EXAMPLES_HEADING;
use self::context::{CommandContext, GlobalArgs, with_short_help};
use self::exit::{
    CommandExit, EXIT_CODES, EXIT_INTERNAL, EXIT_READER_GONE, EXIT_REFUSED, EXIT_USAGE_OR_TIMEOUT,
};
use self::output::{Output, OutputOptions, print_error_line};
use self::usage_error::UsageError;
use crate::error::{ErrorKind, Result};
use crate::store::needs_the_store_itself;
use crate::workspace::BaseDir;

/// A task queue for coding agents, shell scripts and people on one machine.
///
/// Submit a task to a lane; a worker claims it under a lease, renews the lease while it works, and
/// responds; your wait returns. The queue is a directory of plain files: no daemon.
#[derive(Parser, Debug)]
// If a flag is given twice, the last one counts, so that wrapper scripts can pass defaults first.
#[command(name = "lanes", version, max_term_width = 100, args_override_self = true, after_help = after_help())]
#[command(help_template = help_template())]
pub(crate) struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Option<CliCommand>,
}

/// Lists each command once: its name, perhaps a second one, its variant, and the source of its flags.
macro_rules! commands {
    ($(
        $(#[$attribute:meta])* $(if $feature:literal,)? $name:literal $(| $alias:literal)? $variant:ident($flags:ty) $($extra:expr)?;
    )*) => {
        #[derive(Subcommand, Debug)]
        enum CliCommand {
            $($(#[cfg(feature = $feature)])? $(#[$attribute])* #[command(name = $name $(, visible_alias = $alias)?)] $variant($flags),)*
        }

        impl CliCommand {
            /// Returns its usual name.
            fn name(&self) -> &'static str {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$variant(_) => $name,)*
                }
            }

            fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$variant(command) => command.run(context $(, $extra)?),)*
                }
            }
        }

        /// The commands.
        const COMMANDS: &[CommandParts] = &[
            $($(#[cfg(feature = $feature)])? CommandParts {
                names: &[$name $(, $alias)?],
                add_flags: <$flags as clap::Args>::augment_args,
                command_of: |matches| <$flags>::from_arg_matches_mut(matches).map(CliCommand::$variant),
            },)*
        ];
    };
}

commands! {
    "init" Init(init::InitCommand);
    "init-pool" InitPool(init_pool::InitPoolCommand);
    "submit" | "add" Submit(submit::SubmitCommand);
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
    "edit" Edit(edit::EditCommand);
    "move" Move(move_task::MoveCommand);
    "pause" Pause(pause::PauseCommand);
    "resume" Resume(resume::ResumeCommand);
    "status" Status(status::StatusCommand);
    "list" | "ls" List(list::ListCommand);
    "show" Show(show::ShowCommand);
    "lanes" Lanes(lanes::LanesCommand);
    "top" Top(top::TopCommand);
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
    "logs" | "log" Logs(logs::LogsCommand);
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
    "config" Config(config::ConfigCommand);
    "setup" Setup(setup::SetupCommand);
    "prompt" Prompt(prompt::PromptCommand);
    "self-test" SelfTest(self_test::SelfTestCommand);
    "completions" Completions(completions::CompletionsCommand);
    "man" Man(man::ManCommand) Cli::command();
}

/// The commands that work on a store on another machine, through its server.
const ON_SERVERS: [&str; 30] = [
    "answer", "ask", "call", "cancel", "claim", "edit", "event", "events", "graph", "inbox", "lanes", "list",
    "messages", "move", "next", "pause", "redrive", "release", "renew", "respond", "resume", "retry", "show",
    "status", "submit", "tell", "wait", "watch", "why", "workers",
];

/// The commands that need no store, or only name it.
const WITHOUT_STORE: [&str; 8] =
    ["completions", "config", "init", "init-pool", "man", "prompt", "self-test", "setup"];

/// What is needed to parse a command alone.
struct CommandParts {
    /// Its names, the usual one first.
    names: &'static [&'static str],
    /// Adds its flags.
    add_flags: fn(clap::Command) -> clap::Command,
    /// Makes it of the values of its flags.
    command_of: fn(&mut ArgMatches) -> ClapResult<CliCommand>,
}

/// The result of parsing.
type ClapResult<T> = std::result::Result<T, clap::Error>;

/// Parses a command line.
///
/// Building the flags of all commands takes longer than running most commands, and even those of a single command take
/// twice as long below the flags of `lanes`, since clap copies the global ones. A command line that begins with a command is
/// therefore parsed as that of a program with its flags and the global ones, and one that begins with a flag with the flags
/// of the commands that it names. Only if that fails is it parsed again with all flags, for the help and the error messages.
fn parse(args: &[OsString]) -> ClapResult<Cli> {
    let begins_with_flag = args.get(1).is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"));
    let parsed = if begins_with_flag { parse_with_named(args) } else { parse_alone(args).map(Ok) };
    parsed.unwrap_or_else(|| parse_fully(args))
}

/// Parses a command line that begins with a command and is right; returns `None` for another one.
fn parse_alone(args: &[OsString]) -> Option<Cli> {
    let (name, words) = args.get(1..)?.split_first()?;
    let parts = COMMANDS.iter().find(|parts| parts.names.iter().any(|known| name == known))?;
    let program = clap::Command::new(parts.names[0])
        .no_binary_name(true)
        .args_override_self(true)
        .disable_help_flag(true)
        .disable_help_subcommand(true);
    let mut program = (parts.add_flags)(GlobalArgs::augment_args(program));
    if !program.has_subcommands() {
        // The values of global flags are copied.
        program = program.mut_args(|arg| arg.global(false));
    }
    let mut matches = program.try_get_matches_from(words).ok()?;
    let global = GlobalArgs::from_arg_matches_mut(&mut matches).ok()?;
    Some(Cli { global, command: Some((parts.command_of)(&mut matches).ok()?) })
}

/// Parses a command line with the flags of the commands whose names are among its words. Returns `None` if it is not
/// right, and the error that prints the version if it asks for that.
fn parse_with_named(args: &[OsString]) -> Option<ClapResult<Cli>> {
    let top = clap::Command::new("lanes").version(env!("CARGO_PKG_VERSION")).args_override_self(true);
    let is_named =
        |parts: &&CommandParts| args.iter().any(|word| parts.names.iter().any(|name| word == name));
    let some = COMMANDS.iter().filter(is_named).fold(GlobalArgs::augment_args(top), |all, parts| {
        let command = clap::Command::new(parts.names[0]).visible_aliases(parts.names[1..].iter().copied());
        all.subcommand((parts.add_flags)(command))
    });
    match some.try_get_matches_from(args).and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches)) {
        Ok(cli) if cli.command.is_some() => Some(Ok(cli)),
        Err(version) if version.kind() == clap::error::ErrorKind::DisplayVersion => Some(Err(version)),
        _ => None,
    }
}

/// Parses any command line, with help and error messages.
fn parse_fully(args: &[OsString]) -> ClapResult<Cli> {
    let mut matches = with_short_help(Cli::command()).try_get_matches_from(args)?;
    Cli::from_arg_matches_mut(&mut matches)
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
            "lanes: standard output is closed, so nothing was done; redirect it to /dev/null if you do not \
             need the answer",
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
    let out = Output::new(global.output_options());
    let mut context = CommandContext { global, out, base: BaseDir::current(), reaches_servers: false };
    let result = match parsed {
        Ok(Cli { command: Some(command), .. }) => run_where_the_store_is(&command, &mut context),
        Ok(Cli { command: None, .. }) => {
            help(&mut context.out, &with_short_help(Cli::command()).render_help())
        }
        // Help and version are replies; every other error of clap is bad usage.
        Err(error) if error.use_stderr() => {
            let UsageError { message, hint } = UsageError::of(&error, Cli::command(), &args);
            let wants_json = args
                .iter()
                .take_while(|word| *word != "--")
                .any(|word| word == "--json" || word == "--compact");
            let out = Output::new(OutputOptions { json: wants_json, ..OutputOptions::default() });
            return out.failure(
                ErrorKind::Invalid.code(),
                &message,
                Some(hint.as_str()),
                EXIT_USAGE_OR_TIMEOUT,
            );
        }
        Err(error) => help(&mut context.out, &error.render()),
    };
    match result.and_then(|exit| context.out.flush().map(|()| exit)) {
        Ok(exit) => {
            if let CommandExit::TimedOut { message, hint } = &exit {
                return context.out.failure("timed_out", message, Some(hint), exit.code());
            }
            ExitCode::from(exit.code())
        }
        Err(_) if context.out.reader_is_gone() => ExitCode::from(EXIT_READER_GONE),
        Err(error) => {
            // The output before the failure is still useful.
            let _ = context.out.flush();
            context.out.failure(error.kind().code(), error.message(), error.hint(), exit::code_of(&error))
        }
    }
}

/// Runs a command, unless it needs the store itself and an address is named as the store.
fn run_where_the_store_is(command: &CliCommand, context: &mut CommandContext) -> Result<CommandExit> {
    let name = command.name();
    context.reaches_servers = ON_SERVERS.contains(&name);
    if !context.reaches_servers && !WITHOUT_STORE.contains(&name) && context.names_server() {
        return Err(needs_the_store_itself());
    }
    command.run(context)
}

/// Answers the completion script of a shell, without error messages.
fn answer_completion(shell: &OsStr, args: &[OsString]) -> ExitCode {
    let mut context = CommandContext {
        global: GlobalArgs::default(),
        out: Output::quiet(),
        base: BaseDir::current(),
        reaches_servers: false,
    };
    let answered = complete::print_candidates(&mut context, Cli::command(), shell, args);
    let ended = answered.and_then(|exit| context.out.flush().map(|()| exit.code()));
    ExitCode::from(ended.unwrap_or(EXIT_REFUSED))
}

/// The commands in the help of `lanes`, by what they are for.
const SECTIONS: &[(&str, &[&str])] = &[
    ("Set up", &["init", "init-pool", "config", "setup", "prompt"]),
    ("Submit", &["submit", "call", "wait"]),
    ("Work", &["claim", "renew", "event", "ask", "messages", "respond", "release", "next", "watch"]),
    ("Run", &["dispatch", "bridge", "serve", "mcp", "agents", "trust"]),
    (
        "Look",
        &[
            "top",
            "status",
            "lanes",
            "inbox",
            "list",
            "show",
            "why",
            "graph",
            "diff",
            "events",
            "logs",
            "workers",
            "schedules",
            "budget",
            "stats",
        ],
    ),
    ("Steer", &["answer", "tell", "cancel", "retry", "redrive", "edit", "move", "pause", "resume"]),
    ("Maintain", &["doctor", "fsck", "gc", "worktrees", "export", "import", "self-test"]),
    ("Shell", &["completions", "man", "help"]),
];

/// Returns the template of the help of `lanes` itself, which has the commands in sections.
fn help_template() -> StyledStr {
    let all = CliCommand::augment_subcommands(clap::Command::new("lanes"));
    let about = |name: &str| -> Option<String> {
        if name == "help" {
            return Some("Show this, or the help of a command".to_string());
        }
        let command = all.get_subcommands().find(|command| command.get_name() == name)?;
        let alias: String = command.get_visible_aliases().map(|alias| format!(" [alias: {alias}]")).collect();
        Some(format!("{}{alias}", command.get_about().map(ToString::to_string).unwrap_or_default()))
    };
    let mut sections = String::new();
    for (heading, names) in SECTIONS {
        sections.push_str(&format!("\u{1b}[1m\u{1b}[4m{heading}:\u{1b}[0m\n"));
        // A command of a feature that was left out is unknown.
        for (name, about) in names.iter().filter_map(|name| Some((name, about(name)?))) {
            sections.push_str(&format!("  \u{1b}[1m{name:<11}\u{1b}[0m  {about}\n"));
        }
        sections.push('\n');
    }
    StyledStr::from(format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{sections}\
         \u{1b}[1m\u{1b}[4mGlobal options:\u{1b}[0m\n{{options}}{{after-help}}"
    ))
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
    let text = if out.is_coloured() { text.ansi().to_string() } else { text.to_string() };
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
        top::terminal::give_back();
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
    use std::collections::{BTreeMap, BTreeSet};

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
            "mcp install --client codex --json",
            "--json mcp --store x install --client codex",
            "mcp --json install --client codex --store y",
            "agents --wide list",
            "next --lane a",
            "watch a",
            "ls -l a",
            "add text",
            "call review text -l other",
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
            assert_eq!(shown(parse(&args)), shown(parse_fully(&args)), "{line}");
        }
    }

    /// The flags that take something else in different commands, or whose short form stands for another flag, and why.
    const SEVERAL_MEANINGS: [(&str, &str); 5] = [
        ("--body", "agent-lanes: `wait` prints answers, `respond` takes one"),
        ("--log", "`dispatch` has two formats, `serve` has one"),
        ("--prompt", "`logs` shows the prompt that the others give"),
        ("--question", "`ask` gives the text, `answer` the number"),
        ("-m", "the text of each command, whose flag has another name"),
    ];

    /// What a flag is said to be, for each flag and each of its meanings, with a command that says so.
    type Said = BTreeMap<String, BTreeMap<String, String>>;

    /// Checks that each flag has one meaning in all commands, except those that are `intended`, each with the reason.
    fn assert_one_meaning(of: fn(&clap::Arg) -> Vec<(String, String)>, intended: &[(&str, &str)]) {
        fn visit(
            command: &clap::Command,
            path: &str,
            of: fn(&clap::Arg) -> Vec<(String, String)>,
            said: &mut Said,
        ) {
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                for (flag, meaning) in of(arg) {
                    said.entry(flag).or_default().insert(meaning, path.to_string());
                }
            }
            for inner in command.get_subcommands() {
                visit(inner, &format!("{path} {}", inner.get_name()), of, said);
            }
        }
        let mut said = Said::new();
        visit(&Cli::command(), "lanes", of, &mut said);
        assert!(said.len() > 100, "{said:?}");
        let several: BTreeSet<&str> =
            said.iter().filter(|(_, meanings)| meanings.len() > 1).map(|(flag, _)| flag.as_str()).collect();
        let intended: BTreeSet<&str> = intended.iter().map(|(flag, _)| *flag).collect();
        let wrong: Vec<_> = several.difference(&intended).map(|flag| (flag, &said[*flag])).collect();
        assert!(wrong.is_empty(), "fix these, or say why: {wrong:#?}");
        let gone: Vec<_> = intended.difference(&several).collect();
        assert!(gone.is_empty(), "these have one meaning: {gone:?}");
    }

    #[test]
    fn a_flag_takes_the_same_in_all_commands() {
        fn takes(arg: &clap::Arg) -> Vec<(String, String)> {
            let Some(long) = arg.get_long().map(|long| format!("--{long}")) else { return Vec::new() };
            let values = arg.get_value_names().unwrap_or_default().iter().map(|name| name.as_str());
            let takes = match arg.get_action().takes_values() {
                true => values.collect::<Vec<_>>().join(" "),
                false => "nothing".to_string(),
            };
            let short = arg.get_short().map(|short| (format!("-{short}"), long.clone()));
            [(long, takes)].into_iter().chain(short).collect()
        }
        assert_one_meaning(takes, &SEVERAL_MEANINGS);
    }

    /// The flags that are described in other words in other commands, and why.
    const SEVERAL_DESCRIPTIONS: [(&str, &str); 17] = [
        ("--all", "all of what the command is about"),
        ("--body", "see SEVERAL_MEANINGS"),
        ("--choice", "`ask` suggests one, `answer` takes one"),
        (
            "--description",
            "that of an agent is for those who choose one, that of a task for people and boards",
        ),
        ("--file", "`setup` names the file that it changes, the others read a text"),
        ("--group", "`submit` puts a task into it, the others select by it, each other tasks"),
        ("--lane", "`submit` puts a task into it, the others select by it, each other tasks or workers"),
        ("--limit", "the newest tasks, but the first events after a place"),
        ("--log", "see SEVERAL_MEANINGS"),
        ("--message", "the text of each command"),
        ("--metadata", "that of a task chooses its agent, that of an answer is free"),
        ("--once", "a dispatcher ends with its lanes, a bridge after a look, `top` after a frame"),
        ("--prompt", "see SEVERAL_MEANINGS"),
        ("--question", "see SEVERAL_MEANINGS"),
        ("--timeout", "of a wait or of a run, as in agent-lanes"),
        ("--vendor", "that of an agent or a route, or what is paused"),
        ("--wait", "`claim` waits for a task, `ask` for an answer"),
    ];

    #[test]
    fn a_flag_is_described_in_the_same_words_in_all_commands() {
        fn words(arg: &clap::Arg) -> Vec<(String, String)> {
            let (Some(long), Some(help)) = (arg.get_long(), arg.get_help()) else { return Vec::new() };
            // Defaults differ with reason.
            let words = help.to_string().split(" [").next().unwrap_or_default().to_string();
            vec![(format!("--{long}"), words)]
        }
        assert_one_meaning(words, &SEVERAL_DESCRIPTIONS);
    }

    #[test]
    fn the_help_has_each_command_in_one_section_and_on_one_line() {
        let all = Cli::command();
        let mut listed: Vec<&str> = SECTIONS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        listed.retain(|name| *name != "help" && (cfg!(feature = "mcp") || *name != "mcp"));
        let mut known: Vec<&str> = all.get_subcommands().map(clap::Command::get_name).collect();
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
        let help = with_short_help(Cli::command()).render_help().to_string();
        let commands =
            help.lines().skip_while(|line| *line != "Set up:").take_while(|line| *line != "Global options:");
        for line in commands {
            assert!(line.len() <= 80, "{line}");
        }
    }

    #[test]
    fn the_help_of_a_command_names_the_global_options_and_describes_its_own() {
        let help = |words: &[&str]| match parse_fully(&words.iter().map(OsString::from).collect::<Vec<_>>()) {
            Err(error) => error.render().to_string(),
            Ok(cli) => panic!("{cli:?}"),
        };
        for words in
            [&["lanes", "show", "--help"][..], &["lanes", "help", "show"], &["lanes", "agents", "add", "-h"]]
        {
            let text = help(words);
            assert!(!text.contains("--lock-timeout <SPAN>"), "{text}");
            for arg in GlobalArgs::augment_args(clap::Command::new("global")).get_arguments() {
                let flag = format!("--{}", arg.get_long().unwrap());
                assert_eq!(
                    text.split([' ', ',', '\n']).filter(|word| *word == flag).count(),
                    1,
                    "{flag}: {text}"
                );
            }
        }
        assert!(help(&["lanes", "--help"]).contains("--lock-timeout <SPAN>"));
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
