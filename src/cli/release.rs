//! `lanes release`: returns a claimed task to the queue.

use clap::Args;
use serde_json::Value;

use super::args::seconds;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::task_fields::TaskFieldsArg;
use super::view::print_reply;
use crate::error::Result;
use crate::model::task::object;
use crate::model::{ClaimToken, Command, FailureClass, limits};
use crate::workspace::check_release_is_not_verified_later;

/// Return a claimed task to its lane unfinished.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lanes release d64cf2 --claim-token $token --reason 'no network' --delay 10m"
)]
pub(super) struct ReleaseCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID")]
    id: String,
    /// Token printed by `claim`
    #[arg(long, value_name = "TOKEN")]
    claim_token: String,
    /// Reason, for others to read
    #[arg(long)]
    reason: Option<String>,
    /// Delay before the task can be claimed: seconds, or 15m, 2h, 1d
    #[arg(long, value_name = "SPAN", value_parser = seconds, allow_negative_numbers = true)]
    delay: Option<f64>,
    /// Count the attempt against --max-attempts
    #[arg(long)]
    spent: bool,
    #[command(flatten)]
    fields: TaskFieldsArg,
}

impl ReleaseCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        self.fields.apply(context)?;
        let store = context.store()?;
        let id = store.resolve(&self.id)?;
        let token = ClaimToken::from_text(&self.claim_token);
        check_release_is_not_verified_later(&store, &id, &token)?;
        let release = Command::Release {
            token,
            reason: self.reason.clone(),
            delay: self.delay.map(limits::delay_from_seconds).transpose()?,
            spent: self.spent.then_some(FailureClass::Error),
        };
        let (task, _) = store.apply(&id, &release)?;
        let reply = object([
            ("status", "released".into()),
            ("task_id", id.as_str().into()),
            ("task", Value::Object(store.shown(task).to_public_object())),
        ]);
        print_reply(&mut context.out, &id, &reply)
    }
}
