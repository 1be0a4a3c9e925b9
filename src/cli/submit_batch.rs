//! `lanes submit --batch`: submits many tasks from one file.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use super::body;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::output::ProgressLine;
use crate::error::{Error, Result};
use crate::model::json;
use crate::model::task::object;
use crate::store::SubmittedTask;
use crate::workspace::{SubmitContext, SubmitRequest, check_line};

/// How many lines are checked before they are submitted together.
const LINES_PER_BATCH: usize = 480;

/// The longest line, in bytes: the largest prompt with every character escaped.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// Submits the tasks of `file`. The exit code is 1 if any line was refused; the other tasks are submitted.
pub(super) fn submit_batch(
    context: &mut CommandContext,
    file: &Path,
    common: &SubmitRequest,
) -> Result<CommandExit> {
    let (config, store) = context.workspace()?;
    let mut input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(BufReader::new(body::open(file)?))
    };
    let mut progress = ProgressLine::new(&context.out, "lanes submit");
    let (mut number, mut tasks, mut errors) = (0, Vec::new(), Vec::new());
    let mut at_end = false;
    while !at_end {
        let (mut numbers, mut checked) = (Vec::new(), Vec::new());
        let mut results: Vec<(u64, Result<SubmittedTask>)> = Vec::new();
        while checked.len() < LINES_PER_BATCH {
            let mut line = Vec::new();
            let mut bounded = (&mut input).take(MAX_LINE);
            bounded.read_until(b'\n', &mut line).map_err(|error| Error::io("read", file, error))?;
            if line.is_empty() {
                at_end = true;
                break;
            }
            if line.len() as u64 == MAX_LINE {
                return Err(Error::invalid(format!("line {} is longer than {MAX_LINE} bytes", number + 1)));
            }
            number += 1;
            if json::strip_byte_order_mark(&line).trim_ascii().is_empty() {
                continue;
            }
            // Each line has its own hashes: lines may arrive hours apart, and their files may change in
            // between.
            let checks = SubmitContext::new(&config, &context.base, store.now().wall);
            match check_line(&checks, (number, &line), common.clone()) {
                Ok(fine) => {
                    for warning in &fine.warnings {
                        context.out.warn(warning);
                    }
                    numbers.push(number);
                    checked.push(fine.task);
                }
                Err(error) => results.push((number, Err(error))),
            }
        }
        let submitted = store.submit_batch(checked)?;
        results.extend(
            numbers
                .into_iter()
                .zip(submitted)
                .map(|(number, result)| (number, result.map_err(|error| name_line(number, &error)))),
        );
        results.sort_by_key(|(number, _)| *number);
        for (number, result) in results {
            match result {
                Ok(submitted) => {
                    if !context.out.json {
                        context.out.line(submitted.task.id.as_str())?;
                    }
                    tasks.push(entry(number, &submitted));
                }
                Err(error) => {
                    context.out.warn(&error.to_string());
                    errors.push(refusal(number, &error));
                }
            }
        }
        // The ids are printed as soon as their tasks are submitted.
        context.out.flush()?;
        progress.update(|| format!("{number} lines"));
    }
    let refused = errors.len();
    if context.out.json {
        context.out.object(&object([
            ("status", if refused == 0 { "ok" } else { "partly_refused" }.into()),
            ("count", tasks.len().into()),
            ("tasks", tasks.into()),
            ("errors", errors.into()),
        ]))?;
    }
    Ok(if refused == 0 { CommandExit::Done } else { CommandExit::Problems })
}

fn name_line(number: u64, error: &Error) -> Error {
    let named = Error::new(error.kind(), format!("line {number}: {}", error.message()));
    match error.hint() {
        Some(hint) => named.with_hint(hint),
        None => named,
    }
}

fn entry(number: u64, submitted: &SubmittedTask) -> Value {
    Value::Object(object([
        ("line", number.into()),
        ("task_id", submitted.task.id.as_str().into()),
        ("existing", submitted.existing.into()),
    ]))
}

/// Returns a refused line as JSON for programs.
pub(super) fn refusal(number: u64, error: &Error) -> Value {
    Value::Object(object([
        ("line", number.into()),
        ("code", error.kind().code().into()),
        ("error", error.message().into()),
    ]))
}
