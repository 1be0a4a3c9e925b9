//! Tasks that are submitted together, where one may depend on the tasks of earlier lines.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::model::{DependencyTarget, NewTask, TaskId};
use crate::store::{Store, SubmittedTask};

/// What became of a line: its number, counted from 1, and its task or why it was refused.
pub(crate) type LineResult = (u64, Result<SubmittedTask>);

/// The lines of a batch. They are stored together as far as possible: a line that may depend on one of those before it
/// has these stored first.
pub(crate) struct TaskBatch<'a> {
    store: &'a Store,
    waiting: Vec<(u64, NewTask)>,
    ids: HashMap<u64, TaskId>,
}

impl<'a> TaskBatch<'a> {
    /// Makes a batch without lines.
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store, waiting: Vec::new(), ids: HashMap::new() }
    }

    /// Returns how many lines are not stored yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Adds the task of a line, whose number is above those of all lines before. Returns what became of the lines that
    /// had to be stored for that, and of this one if it is refused.
    ///
    /// # Errors
    /// As [`Store::submit_batch`].
    pub(crate) fn add(&mut self, number: u64, mut task: NewTask) -> Result<Vec<LineResult>> {
        let needs_earlier = |target: &DependencyTarget| match target {
            DependencyTarget::Line(line) => !self.ids.contains_key(line),
            DependencyTarget::Key(_) | DependencyTarget::Group(_) => true,
            DependencyTarget::Task(_) => false,
        };
        let mut results = Vec::new();
        if task.after.iter().any(|dependency| needs_earlier(&dependency.target)) {
            results = self.submit()?;
        }
        for dependency in &mut task.after {
            let DependencyTarget::Line(line) = dependency.target else { continue };
            let Some(id) = self.ids.get(&line) else {
                let is_earlier = (1..number).contains(&line);
                let why = if is_earlier { "was not submitted" } else { "does not come before it" };
                let error = Error::invalid(format!("it depends on line {line}, which {why}"));
                results.push((number, Err(error)));
                return Ok(results);
            };
            dependency.target = DependencyTarget::Task(id.to_string());
        }
        self.waiting.push((number, task));
        Ok(results)
    }

    /// Stores the lines that wait for it, and returns what became of them.
    ///
    /// # Errors
    /// As [`Store::submit_batch`].
    pub(crate) fn submit(&mut self) -> Result<Vec<LineResult>> {
        if self.waiting.is_empty() {
            return Ok(Vec::new());
        }
        let (numbers, tasks): (Vec<u64>, Vec<NewTask>) =
            std::mem::take(&mut self.waiting).into_iter().unzip();
        let results: Vec<LineResult> = numbers.into_iter().zip(self.store.submit_batch(tasks)?).collect();
        for (number, result) in &results {
            if let Ok(submitted) = result {
                self.ids.insert(*number, submitted.task.id.clone());
            }
        }
        Ok(results)
    }
}
