//! `lanes bridge test`: checks a program that speaks the adapter protocol.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::args::span;
use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
use super::inside_run;
use super::output::print_error_line;
use crate::bridge::adapter::{AdapterLog, AdapterProgram};
use crate::bridge::board::QueueRef;
use crate::bridge::conformance::{CheckOutcome, CheckReport, ScratchQueues, check_program};
use crate::error::Result;
use crate::model::json::Object;
use crate::model::task::object;
use crate::workspace::parse_pairs;

/// Check whether a program speaks the adapter protocol: all methods and errors, on two cards in a scratch queue.
///
/// Prints a line for each check, and the program's standard error. The two cards stay on the board, because the
/// protocol cannot delete cards; the next test finds them again.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  lanes bridge test -- ./adapter
  lanes bridge test --queue Scratch --other Scratch2 --set path=board.md -- ./markdown.py
  lanes bridge test --queue scratch --set repo=me/test --env-file .env --secret GH_TOKEN -- ./github.py")]
pub(super) struct BridgeTestCommand {
    /// Queue for the cards of the test [default: a new one, lanes-bridge-test]
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Second queue, for moves [default: a new one]
    #[arg(long, value_name = "QUEUE")]
    other: Option<String>,
    /// Setting for the program, as a key of its bridge in handoff.yaml; VALUE may be JSON
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Secret for the program, from the env file or the environment
    #[arg(long = "secret", value_name = "NAME")]
    secrets: Vec<String>,
    /// File with the secrets, as NAME=VALUE lines
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// How long the program may take for an answer
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "30s")]
    call_timeout: Duration,
    /// The program and its arguments
    #[arg(value_name = "PROGRAM", required = true, last = true)]
    program: Vec<String>,
}

impl BridgeTestCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        inside_run::refuse(context, "bridge test")?;
        let program = self.adapter_program(context)?;
        let queue = |name: &Option<String>| name.clone().map(QueueRef::Name);
        let scratch = ScratchQueues { queue: queue(&self.queue), other: queue(&self.other) };
        let mut printed = Ok(());
        let mut checks = Vec::new();
        let out = &mut context.out;
        let (counts, left) = check_program(&program, &scratch, &mut |report| {
            checks.push(Value::Object(view(report)));
            if !out.json && printed.is_ok() {
                // Each line is printed when it is known: a check may take as long as the program's time limit.
                printed = out.foreign(line(report).as_bytes()).and_then(|()| out.flush());
            }
        });
        printed?;
        if out.json {
            out.object(&object([
                ("checks", checks.into()),
                ("passed", counts.passed.into()),
                ("failed", counts.failed.into()),
                ("skipped", counts.skipped.into()),
                ("left", left.clone().into()),
            ]))?;
        } else {
            let total = counts.passed + counts.failed + counts.skipped;
            let (passed, failed, skipped) = (counts.passed, counts.failed, counts.skipped);
            let checks = if total == 1 { "check" } else { "checks" };
            out.line(&format!("{total} {checks}: {passed} ok, {failed} failed, {skipped} skipped"))?;
        }
        if let Some(left) = left {
            out.note(&left);
        }
        Ok(if counts.failed == 0 { CommandExit::Done } else { CommandExit::Problems })
    }

    fn adapter_program(&self, context: &CommandContext) -> Result<AdapterProgram> {
        let env_file = self.env_file.as_ref().map(|path| context.base.absolute(path)).transpose()?;
        let is_quiet = context.out.quiet;
        let log: AdapterLog = Arc::new(move |line: &str| {
            if !is_quiet {
                print_error_line(&format!("adapter: {line}"));
            }
        });
        Ok(AdapterProgram {
            argv: self.program.clone(),
            directory: context.base.directory()?.to_path_buf(),
            env_file,
            secrets: self.secrets.clone(),
            config: self.config()?,
            call_timeout: self.call_timeout,
            environment: env::all_variables(),
            log,
            stop: Arc::default(),
        })
    }

    /// Returns the settings: JSON where a value is JSON, and otherwise text, as YAML would have it.
    fn config(&self) -> Result<Object> {
        let pairs = parse_pairs("--set", &self.settings)?.into_iter();
        Ok(pairs
            .map(|(key, text)| (key, serde_json::from_str(&text).unwrap_or(Value::String(text))))
            .collect())
    }
}

fn line(report: &CheckReport) -> String {
    let name = &report.name;
    match &report.outcome {
        CheckOutcome::Passed => format!("ok       {name}\n"),
        CheckOutcome::Failed { expected, came } => {
            format!("FAILED   {name}: expected {expected}, got {came}\n")
        }
        CheckOutcome::Skipped(why) => format!("skipped  {name}: {why}\n"),
    }
}

fn view(report: &CheckReport) -> Object {
    let name = ("name", report.name.clone().into());
    match &report.outcome {
        CheckOutcome::Passed => object([name, ("result", "ok".into())]),
        CheckOutcome::Failed { expected, came } => object([
            name,
            ("result", "failed".into()),
            ("expected", expected.clone().into()),
            ("came", came.clone().into()),
        ]),
        CheckOutcome::Skipped(why) => {
            object([name, ("result", "skipped".into()), ("reason", why.clone().into())])
        }
    }
}
