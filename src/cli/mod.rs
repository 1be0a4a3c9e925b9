//! The command line: says what a user asked for, and holds no rule of the queue.
//!
//! One file for each command: its flags (whose comments are the help text), the call of the library,
//! and the words of the reply.

mod args;
mod body;
mod claim;
mod context;
mod dispatch;
mod doctor;
mod env;
mod event;
mod events;
mod fsck;
mod gc;
mod hold;
mod init;
mod lane_verbs;
mod list;
mod logs;
mod next;
mod output;
mod respond;
mod self_test;
mod serve;
mod shell;
mod show;
mod stats;
mod status;
mod submit;
mod submit_batch;
mod table;
mod transfer;
mod verbs;
mod view;
mod wait;
mod waiting;
mod why;
mod workers;

use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::{CommandFactory, Parser, Subcommand};

use crate::error::{EXIT_INTERNAL, EXIT_OK, EXIT_REFUSED, EXIT_USAGE_OR_TIMEOUT, ErrorKind, Result};
use context::{Context, GlobalArgs};
use output::{Output, complain};

const EXIT_CODES: &str = "Exit codes: 0 done; 1 refused or failed, with one line on standard error; 2 bad usage, \
    or a wait whose time was over; 3 the task failed (call, wait --exit-status); 4 nothing to claim (claim --lane)";

/// A task queue for coding agents, shell scripts and people on one machine.
///
/// Submit a task to a lane; somebody claims it under a lease, renews while working, and responds;
/// your wait returns. The queue is a directory of plain files: no daemon.
#[derive(Parser, Debug)]
// Of a flag given twice the last one counts, so that wrapper scripts can pass defaults first.
#[command(name = "lanes", version, max_term_width = 100, args_override_self = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    Init(init::InitCommand),
    InitPool(init::InitPoolCommand),
    Submit(submit::SubmitCommand),
    Call(submit::CallCommand),
    Wait(wait::WaitCommand),
    Next(next::NextCommand),
    /// The same as next
    Watch(next::NextCommand),
    Claim(claim::ClaimCommand),
    Renew(hold::RenewCommand),
    Release(hold::ReleaseCommand),
    Event(event::EventCommand),
    Respond(respond::RespondCommand),
    Cancel(verbs::CancelCommand),
    Retry(verbs::RetryCommand),
    Redrive(verbs::RedriveCommand),
    Move(verbs::MoveCommand),
    Pause(lane_verbs::PauseCommand),
    Resume(lane_verbs::ResumeCommand),
    Status(status::StatusCommand),
    List(list::ListCommand),
    Show(show::ShowCommand),
    Why(why::WhyCommand),
    Dispatch(dispatch::DispatchCommand),
    Stats(stats::StatsCommand),
    Events(events::EventsCommand),
    Logs(logs::LogsCommand),
    Workers(workers::WorkersCommand),
    Doctor(doctor::DoctorCommand),
    Fsck(fsck::FsckCommand),
    Gc(gc::GcCommand),
    Export(transfer::ExportCommand),
    Import(transfer::ImportCommand),
    Serve(serve::ServeCommand),
    SelfTest(self_test::SelfTestCommand),
    Completions(shell::CompletionsCommand),
    Man(shell::ManCommand),
}

impl Command {
    fn run(&self, context: &mut Context) -> Result<u8> {
        match self {
            Self::Init(command) => command.run(context),
            Self::InitPool(command) => command.run(context),
            Self::Submit(command) => command.run(context),
            Self::Call(command) => command.run(context),
            Self::Wait(command) => command.run(context),
            Self::Next(command) => command.run(context, "next"),
            Self::Watch(command) => command.run(context, "watch"),
            Self::Claim(command) => command.run(context),
            Self::Renew(command) => command.run(context),
            Self::Release(command) => command.run(context),
            Self::Event(command) => command.run(context),
            Self::Respond(command) => command.run(context),
            Self::Cancel(command) => command.run(context),
            Self::Retry(command) => command.run(context),
            Self::Redrive(command) => command.run(context),
            Self::Move(command) => command.run(context),
            Self::Pause(command) => command.run(context),
            Self::Resume(command) => command.run(context),
            Self::Status(command) => command.run(context),
            Self::List(command) => command.run(context),
            Self::Show(command) => command.run(context),
            Self::Why(command) => command.run(context),
            Self::Dispatch(command) => command.run(context),
            Self::Stats(command) => command.run(context),
            Self::Events(command) => command.run(context),
            Self::Logs(command) => command.run(context),
            Self::Workers(command) => command.run(context),
            Self::Doctor(command) => command.run(context),
            Self::Fsck(command) => command.run(context),
            Self::Gc(command) => command.run(context),
            Self::Export(command) => command.run(context),
            Self::Import(command) => command.run(context),
            Self::Serve(command) => command.run(context),
            Self::SelfTest(command) => command.run(context),
            Self::Completions(command) => command.run(context),
            Self::Man(command) => command.run(context),
        }
    }
}

/// Runs the command line of this process; `stdout_is_closed` when it was started without a standard
/// output.
pub fn run(stdout_is_closed: bool) -> ExitCode {
    say_panics_in_one_line();
    ignore_file_size_signal();
    if stdout_is_closed {
        complain(
            "lanes: standard output is closed, so nothing was done; give /dev/null if no answer is wanted",
        );
        return ExitCode::from(EXIT_REFUSED);
    }
    let parsed = Cli::try_parse();
    let global = parsed.as_ref().map(|cli| cli.global.clone()).unwrap_or_default();
    let out = Output::new(global.json, global.quiet);
    let mut context = Context { global, out };
    let result = match parsed {
        Ok(Cli { command: Some(command), .. }) => command.run(&mut context),
        Ok(Cli { command: None, .. }) => help(&mut context.out, &Cli::command().render_help()),
        // Help and version are answers; everything else that clap says is bad usage.
        Err(error) if error.use_stderr() => {
            complain(&format!("lanes: {}", usage_line(&error.render().to_string())));
            return ExitCode::from(EXIT_USAGE_OR_TIMEOUT);
        }
        Err(error) => help(&mut context.out, &error.render()),
    };
    match result.and_then(|code| context.out.flush().map(|()| code)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // What was found out before the failure is worth having.
            let _ = context.out.flush();
            if error.kind() != ErrorKind::BrokenPipe {
                complain(&format!("lanes: {error}"));
            }
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// What clap says of bad usage, as one line.
fn usage_line(text: &str) -> String {
    let head = text.split("\n\nUsage:").next().unwrap_or(text);
    let head = head.split("\n\nFor more information").next().unwrap_or(head);
    let words: Vec<&str> = head.split_whitespace().collect();
    let line = words.join(" ");
    format!("{}; `lanes help COMMAND` tells what it takes", line.strip_prefix("error: ").unwrap_or(&line))
}

fn help(out: &mut Output, text: &StyledStr) -> Result<u8> {
    let text = if out.colour() { text.ansi().to_string() } else { text.to_string() };
    out.raw(text.as_bytes())?;
    Ok(EXIT_OK)
}

/// A panic is a mistake of ours; one line says where, and the process ends.
fn say_panics_in_one_line() {
    std::panic::set_hook(Box::new(|info| {
        let place =
            info.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
        complain(&format!("lanes: internal error at {place}; nothing that was reported as done is lost"));
        // Whichever thread it was: the rest of the process cannot be trusted, and an abort would add
        // the shell's own words.
        std::process::exit(EXIT_INTERNAL.into());
    }));
}

/// A limit on file sizes is to be an error of the write, not the end of the process.
fn ignore_file_size_signal() {
    let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    // Without the handler the limit still holds, only less politely.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, flag);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_usage_is_told_in_one_line() {
        let said = Cli::try_parse_from(["lanes", "claim"]).unwrap_err().render().to_string();
        let expected = "the following required arguments were not provided: <ID>; `lanes help COMMAND` tells what it takes";
        assert_eq!(usage_line(&said), expected);
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
