//! The flag with which a caller selects fields of the tasks in JSON.

use std::collections::BTreeSet;

use clap::Args;

use super::context::CommandContext;
use crate::error::{Error, Result, printable};
use crate::model::spec::SPEC_FIELDS;
use crate::workspace::did_you_mean;

/// The fields of a task in JSON, except those of its specification, and what `list`, `status` and `show` add to them.
const OTHER_FIELDS: [&str; 33] = [
    "assignees",
    "attempt",
    "claim_owner",
    "claim_token",
    "claimed_age_seconds",
    "claimed_at",
    "completed_at",
    "created_at",
    "description",
    "failed_at",
    "failure_class",
    "failure_reason",
    "fence",
    "id",
    "last_event",
    "last_event_age_seconds",
    "lease_expired",
    "lease_expires_at",
    "lease_seconds",
    "messages",
    "missing_response",
    "navigation",
    "next_action",
    "not_before",
    "questions",
    "request_path",
    "request_sha256",
    "response_exists",
    "response_path",
    "retried_as",
    "seconds_until_lease_expiry",
    "state",
    "updated_at",
];

/// The parts of the answer of `show` that `--fields` selects, too.
pub(super) const SHOW_PARTS: [&str; 3] = ["dependencies", "events", "response"];

/// The flag that selects fields of tasks.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct TaskFieldsArg {
    /// In JSON, print only these fields of each task
    #[arg(long, value_name = "FIELD[,FIELD...]", value_delimiter = ',')]
    fields: Vec<String>,
}

/// Returns the fields of a task in JSON.
fn task_fields() -> impl Iterator<Item = &'static str> {
    SPEC_FIELDS.iter().map(|(key, _)| *key).chain(OTHER_FIELDS)
}

/// Returns what `--fields` selects; `show` has other parts of its answer, too.
pub(super) fn known_fields(has_parts: bool) -> BTreeSet<&'static str> {
    let parts: &[&str] = if has_parts { &SHOW_PARTS } else { &[] };
    task_fields().chain(parts.iter().copied()).collect()
}

impl TaskFieldsArg {
    /// Selects the fields in what the command prints from here on.
    ///
    /// # Errors
    /// `Invalid` for a field that no task has, and without --json.
    pub(super) fn apply(&self, context: &mut CommandContext) -> Result<()> {
        self.apply_with(context, &[])
    }

    /// As [`Self::apply`], where `parts` are parts of the answer that can be selected, too: they are not of the task.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub(super) fn apply_with(&self, context: &mut CommandContext, parts: &[&'static str]) -> Result<()> {
        if self.fields.is_empty() {
            return Ok(());
        }
        if !context.out.json {
            return Err(Error::invalid("--fields selects fields of the JSON output").with_hint("add --json"));
        }
        let known: BTreeSet<&str> = task_fields().chain(parts.iter().copied()).collect();
        if let Some(unknown) = self.fields.iter().find(|field| !known.contains(field.as_str())) {
            let all: Vec<&str> = known.into_iter().collect();
            let similar = did_you_mean(unknown, &all).map_or(String::new(), |similar| format!("{similar} "));
            return Err(Error::invalid(format!("a task has no field '{}'", printable(unknown)))
                .with_hint(format!("{similar}the fields are {}", all.join(", "))));
        }
        let of_task = self.fields.iter().filter(|field| !parts.contains(&field.as_str()));
        context.out.task_fields = Some(of_task.cloned().collect());
        Ok(())
    }

    /// Returns whether a part of the answer besides the task is wanted.
    pub(super) fn wants(&self, part: &str) -> bool {
        self.fields.is_empty() || self.fields.iter().any(|field| field == part)
    }
}
