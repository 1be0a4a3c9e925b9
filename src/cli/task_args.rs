//! The flags that describe a task, made from the list of the fields of a submit.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, value_parser};
use serde_json::Value;

use super::args::{integer, seconds};
use super::body;
use super::env;
use super::output::Output;
use crate::error::{Error, Result, printable};
use crate::model::command_list::shell_command;
use crate::model::{DependencyRef, DependencyTarget, Time};
use crate::workspace::{
    MAX_PROMPT_ONLY, SUBMIT_FIELDS, SubmitField, SubmitRequest, SubmitValue, parse_pairs,
};

/// The values of the flags that describe a task.
#[derive(Debug, Default)]
pub(super) struct TaskArgs {
    /// The fields whose values are known.
    request: SubmitRequest,
    /// The texts of the fields that are parsed when the command runs.
    unread: Vec<(SubmitField, Vec<String>)>,
    /// Whether the lane was given as a word, without its flag.
    lane_is_word: bool,
    /// Whether the prompt is the only word.
    prompt_is_word: bool,
}

/// The ids of the two words: the lane and the text, or only one of them.
const WORDS: [&str; 2] = ["word", "second_word"];

/// Returns the fields that have a flag here. The time limit of a run has a different flag in each command.
fn fields() -> impl Iterator<Item = &'static SubmitField> {
    SUBMIT_FIELDS.iter().filter(|field| field.key != "timeout")
}

/// Returns the help for the time limit of a run.
pub(super) fn run_timeout_help() -> String {
    SUBMIT_FIELDS.iter().find(|field| field.key == "timeout").map(help).unwrap_or_default()
}

fn help(field: &SubmitField) -> String {
    help_with(field, "")
}

/// Returns the help for a flag. Not with `format!`, which takes several times as long, and every submit makes all of
/// them.
fn help_with(field: &SubmitField, end: &str) -> String {
    [field.help, field.flag_help, end].concat()
}

fn flag(field: &SubmitField) -> Arg {
    let arg = Arg::new(field.key).long(field.flag).value_name(field.value_name);
    let arg = match field.value {
        SubmitValue::Text(..) | SubmitValue::Time(_) | SubmitValue::Schema(_) => arg,
        SubmitValue::Path(_) => arg.value_parser(value_parser!(PathBuf)),
        SubmitValue::Paths(_) => arg.value_parser(value_parser!(PathBuf)).action(ArgAction::Append),
        SubmitValue::Texts(_) | SubmitValue::Map(_) | SubmitValue::Commands(_) => {
            arg.action(ArgAction::Append)
        }
        SubmitValue::Dependencies(..) => arg.action(ArgAction::Append).value_delimiter(','),
        SubmitValue::Integer(..) => arg.value_parser(integer).allow_negative_numbers(true),
        SubmitValue::Seconds(..) => arg.value_parser(seconds).allow_negative_numbers(true),
    };
    let repeatable = if matches!(arg.get_action(), ArgAction::Append) { "; repeatable" } else { "" };
    let arg = arg.help(help_with(field, repeatable));
    match field.key {
        "lane" => arg.short('l'),
        "prompt" => arg.short('p').allow_hyphen_values(true).conflicts_with(WORDS[1]),
        "prompt_file" => arg.conflicts_with(WORDS[1]),
        "not_before" => arg.conflicts_with("delay"),
        _ => arg,
    }
}

impl clap::Args for TaskArgs {
    fn augment_args(command: Command) -> Command {
        let task = Arg::new("task").long("task").value_name("FILE").value_parser(value_parser!(PathBuf));
        let task = task.help("A YAML or JSON file with defaults for the flags below");
        let lane = Arg::new(WORDS[0]).value_name("LANE");
        let lane = lane.help(
            "Lane that is in use already, if TEXT, -p or --prompt-file follows; one word alone is the TEXT",
        );
        let text = Arg::new(WORDS[1]).value_name("TEXT").conflicts_with("lane");
        let text = text.help("Text for the worker; `-` reads it from standard input");
        command.args([lane, text, task]).args(fields().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for TaskArgs {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        let words = WORDS.map(|id| matches.get_one::<String>(id).cloned());
        let request = &mut self.request;
        request.task_file = matches.get_one("task").cloned();
        for field in fields() {
            match field.value {
                SubmitValue::Text(_, slot) => *slot(request) = matches.get_one(field.key).cloned(),
                SubmitValue::Path(slot) => *slot(request) = matches.get_one(field.key).cloned(),
                SubmitValue::Integer(_, _, slot) => *slot(request) = matches.get_one(field.key).copied(),
                SubmitValue::Seconds(_, slot) => *slot(request) = matches.get_one(field.key).copied(),
                SubmitValue::Paths(slot) => {
                    *slot(request) = matches.get_many(field.key).into_iter().flatten().cloned().collect();
                }
                SubmitValue::Texts(slot) => {
                    *slot(request) = matches.get_many(field.key).into_iter().flatten().cloned().collect();
                }
                SubmitValue::Dependencies(on, slot) => {
                    let ids = matches.get_many::<String>(field.key).into_iter().flatten();
                    let of = |id: &String| DependencyRef { target: DependencyTarget::Task(id.clone()), on };
                    *slot(request) = ids.map(of).collect();
                }
                SubmitValue::Schema(slot) => {
                    *slot(request) = matches.get_one::<String>(field.key).cloned().map(Value::String);
                }
                SubmitValue::Commands(slot) => {
                    let texts = matches.get_many::<String>(field.key).into_iter().flatten();
                    *slot(request) = texts.map(|text| shell_command(text)).collect();
                }
                SubmitValue::Time(_) | SubmitValue::Map(_) => {
                    if let Some(texts) = matches.get_many(field.key) {
                        self.unread.push((*field, texts.cloned().collect()));
                    }
                }
            }
        }
        let has_text = request.prompt.is_some() || request.prompt_file.is_some();
        match words {
            [Some(lane), None] if has_text && request.lane.is_some() => {
                let lane = printable(&lane);
                let message =
                    format!("the lane and the text have their flags already; '{lane}' is one word too many");
                return Err(clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, message));
            }
            [Some(lane), None] if has_text => (request.lane, self.lane_is_word) = (Some(lane), true),
            [Some(text), None] => (request.prompt, self.prompt_is_word) = (Some(text), true),
            [Some(lane), Some(text)] => {
                (request.lane, request.prompt, self.lane_is_word) = (Some(lane), Some(text), true);
            }
            [None, _] => {}
        }
        Ok(())
    }
}

impl TaskArgs {
    /// Returns whether the lane was given as a word, which may be the first of a text without quotes.
    pub(super) fn lane_is_word(&self) -> bool {
        self.lane_is_word
    }

    /// Returns the prompt if it was the only word, and no flag names the lane: it may have been meant as one.
    pub(super) fn only_word(&self) -> Option<&str> {
        self.request.prompt.as_deref().filter(|_| self.prompt_is_word && self.request.lane.is_none())
    }

    /// Returns the request that the flags describe; `run_timeout` is the time limit of one run, in seconds.
    ///
    /// # Errors
    /// `Invalid` for a time, metadata or `LANES_CHAIN` that cannot be read, `Io` for standard input.
    pub(super) fn request(&self, out: &Output, run_timeout: Option<f64>) -> Result<SubmitRequest> {
        let mut request = self.request.clone();
        request.timeout_seconds = run_timeout;
        for (field, texts) in &self.unread {
            match field.value {
                SubmitValue::Time(slot) => {
                    *slot(&mut request) = texts.last().map(|text| time(field, text)).transpose()?;
                }
                SubmitValue::Map(slot) => {
                    let pairs = parse_pairs(&format!("--{}", field.flag), texts)?.into_iter();
                    slot(&mut request).extend(pairs.map(|(key, text)| (key, Value::from(text))));
                }
                _ => {}
            }
        }
        if let Some(chain) = env::agent_chain()? {
            // Dispatchers limit it, so a value that the agent itself gives does not count.
            chain.record_in(&mut request.metadata);
        }
        let is_dash = request.prompt_file.as_deref() == Some(Path::new("-"));
        if is_dash || (request.prompt_file.is_none() && request.prompt.as_deref() == Some("-")) {
            let prompt = body::from_stdin(out, MAX_PROMPT_ONLY)?;
            if prompt.trim().is_empty() && request.request_from.is_none() && request.task_file.is_none() {
                return Err(Error::invalid_here("there is nothing to do: standard input is empty"));
            }
            if request.prompt_file.take().is_some() && request.prompt.is_some() {
                out.warn("both --prompt and --prompt-file are given: standard input is used");
            }
            request.prompt = Some(prompt);
        }
        Ok(request)
    }
}

fn time(field: &SubmitField, text: &str) -> Result<Time> {
    Time::parse(text).map_err(|_| {
        Error::invalid(format!("--{} is not a valid RFC 3339 time: {}", field.flag, printable(text)))
            .with_hint("write it as 2026-12-24T18:00:00Z, or with an offset such as +01:00 in place of Z")
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;
    use crate::model::spec::SPEC_FIELDS;

    fn page(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn every_field_is_in_the_help_the_schema_and_the_documents() {
        let document = Value::Object(crate::http::document());
        let body =
            &document["paths"]["/tasks"]["post"]["requestBody"]["content"]["application/json"]["schema"];
        let task = &document["components"]["schemas"]["Task"];
        let (commands, protocol) = (page("commands.md"), page("protocol.md"));
        let cli = Cli::command();
        let submit = cli.find_subcommand("submit").unwrap();
        for field in &SUBMIT_FIELDS {
            let flag = submit.get_arguments().find(|arg| arg.get_long() == Some(field.flag));
            let shown = flag.and_then(Arg::get_help).map(ToString::to_string).unwrap_or_default();
            assert!(shown.starts_with(field.help), "--{} has the help {shown:?}", field.flag);
            if let Some(name) = field.body {
                let described = body["properties"][name]["description"].as_str().unwrap_or_default();
                assert!(described.starts_with(field.help), "{name} of POST /tasks: {described:?}");
            }
            let row = format!("| `--{} ", field.flag);
            assert!(commands.contains(&row), "docs/commands.md has no row for --{}", field.flag);
            let key = format!("`{}`", field.key);
            let keys = if field.in_task_file { &protocol } else { &commands };
            assert!(keys.contains(&key), "the key {key} of task files is in no document");
        }
        for (key, _) in SPEC_FIELDS {
            assert!(task["properties"][key].is_object(), "{key} of a task is not in the schema");
            assert!(protocol.contains(&format!("`{key}`")), "docs/protocol.md lacks {key} of task.json");
        }
    }
}
