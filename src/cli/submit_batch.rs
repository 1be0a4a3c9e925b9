//! `lanes submit --batch`: submits many tasks from one file.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use super::body;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::inside_run;
use super::output::ProgressLine;
use crate::error::{Error, Result};
use crate::model::NewTask;
use crate::model::json;
use crate::model::task::object;
use crate::store::{Store, SubmittedTask};
use crate::workspace::{LineResult, SubmitContext, SubmitRequest, TaskBatch, check_line, misspelt_lane};

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
        context.out.reads_stdin();
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(BufReader::new(body::open(file)?))
    };
    let mut progress = ProgressLine::new(&context.out, "lanes submit");
    let mut batch = Batch::new(&store);
    let mut number = 0;
    // The lanes whose spelling was looked at.
    let mut lanes = BTreeSet::new();
    while let Some(line) = next_line(&mut input, file, number)? {
        number += 1;
        if !json::strip_byte_order_mark(&line).trim_ascii().is_empty() {
            // Each line has its own hashes: lines may arrive hours apart, and their files may change in
            // between.
            let checks = SubmitContext::new(&config, &context.base, store.now().wall);
            let checked = check_line(&checks, (number, &line), common.clone());
            let allowed =
                checked.and_then(|fine| inside_run::refuse_commands(context, &fine.task).map(|()| fine));
            match allowed {
                Ok(fine) => {
                    for warning in &fine.warnings {
                        context.out.warn(warning);
                    }
                    let lane = &fine.task.spec.lane;
                    if lanes.insert(lane.clone())
                        && let Some(warning) = misspelt_lane(&config, &store, lane)
                    {
                        context.out.note(&format!("lanes: line {number}: {warning}"));
                    }
                    batch.add(context, number, fine.task)?;
                }
                Err(error) => batch.refused.push((number, error)),
            }
        }
        if batch.lines.waiting() + batch.refused.len() >= LINES_PER_BATCH {
            batch.submit(context)?;
            progress.update(|| format!("{number} lines"));
        }
    }
    batch.submit(context)?;
    let Batch { tasks, errors, .. } = batch;
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

/// Reads the next line, with its end; `None` at the end of the file.
fn next_line(input: &mut dyn BufRead, file: &Path, number: u64) -> Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut bounded = input.take(MAX_LINE);
    bounded.read_until(b'\n', &mut line).map_err(|error| Error::io("read", file, error))?;
    if line.len() as u64 == MAX_LINE {
        return Err(Error::invalid_here(format!("line {} is longer than {MAX_LINE} bytes", number + 1)));
    }
    Ok((!line.is_empty()).then_some(line))
}

/// The lines of a batch.
struct Batch<'a> {
    /// The checked tasks.
    lines: TaskBatch<'a>,
    /// Lines that were refused and not reported yet.
    refused: Vec<(u64, Error)>,
    /// What was submitted and what was refused, for programs.
    tasks: Vec<Value>,
    errors: Vec<Value>,
}

impl<'a> Batch<'a> {
    fn new(store: &'a Store) -> Self {
        Self { lines: TaskBatch::new(store), refused: Vec::new(), tasks: Vec::new(), errors: Vec::new() }
    }

    /// Adds the task of a line.
    fn add(&mut self, context: &mut CommandContext, number: u64, task: NewTask) -> Result<()> {
        let results = self.lines.add(number, task)?;
        if results.is_empty() { Ok(()) } else { self.report(context, results) }
    }

    /// Submits the tasks that wait for it.
    fn submit(&mut self, context: &mut CommandContext) -> Result<()> {
        let results = self.lines.submit()?;
        self.report(context, results)
    }

    /// Prints what became of lines, and which others were refused.
    fn report(&mut self, context: &mut CommandContext, results: Vec<LineResult>) -> Result<()> {
        let mut results: Vec<LineResult> = results
            .into_iter()
            .map(|(number, result)| (number, result.map_err(|error| name_line(number, &error))))
            .chain(std::mem::take(&mut self.refused).into_iter().map(|(number, error)| (number, Err(error))))
            .collect();
        results.sort_by_key(|(number, _)| *number);
        for (number, result) in results {
            match result {
                Ok(submitted) => {
                    if !context.out.json {
                        context.out.line(submitted.task.id.as_str())?;
                    }
                    self.tasks.push(entry(number, &submitted));
                }
                Err(error) => {
                    context.out.warn(&error.to_string());
                    self.errors.push(refusal(number, &error));
                }
            }
        }
        // The ids are printed as soon as their tasks are submitted.
        context.out.flush()
    }
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
    let mut refused = object([
        ("line", number.into()),
        ("code", error.kind().code().into()),
        ("error", error.message().into()),
    ]);
    refused.extend(error.hint().map(|hint| ("hint".to_string(), hint.into())));
    Value::Object(refused)
}
