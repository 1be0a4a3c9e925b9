//! `lanes renew`: extends the lease of a claimed task.

use clap::Args;
use serde_json::Value;

use super::args::seconds;
use super::context::CommandContext;
use super::exit::CommandExit;
use super::given_messages::{hand_out, put_messages, unread};
use super::task_fields::TaskFieldsArg;
use crate::error::Result;
use crate::model::task::object;
use crate::model::{ClaimToken, Command, limits};

/// Extend the lease of a claimed task.
///
/// Exits with code 1 when the task is no longer yours (cancelled, taken over after the lease ended,
/// or answered): stop working on it, and report nothing.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes renew d64cf2 --claim-token $token")]
pub(super) struct RenewCommand {
    /// Id of the task; its beginning or end suffices if unique
    #[arg(value_name = "ID")]
    id: String,
    /// Token printed by `claim`
    #[arg(long, value_name = "TOKEN")]
    claim_token: String,
    /// Length of the lease: seconds, or 15m, 2h; more than 0, at most 30d [default: that of `claim`]
    #[arg(long, value_name = "SPAN", value_parser = seconds, allow_negative_numbers = true)]
    lease_seconds: Option<f64>,
    #[command(flatten)]
    fields: TaskFieldsArg,
}

impl RenewCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        self.fields.apply(context)?;
        let store = context.store()?;
        let token = ClaimToken::from_text(&self.claim_token);
        let id = store.resolve(&self.id)?;
        let lease = self.lease_seconds.map(limits::lease_from_seconds).transpose()?;
        let (task, _) = store.apply(&id, &Command::Renew { token: token.clone(), lease })?;
        let messages = unread(&task);
        if context.out.json {
            let mut reply = object([
                ("status", "renewed".into()),
                ("task_id", task.id.as_str().into()),
                ("claim_token", self.claim_token.clone().into()),
                ("task", Value::Object(task.to_holder_object())),
            ]);
            put_messages(&mut reply, &messages);
            context.out.object(&reply)?;
        } else {
            context.out.line(task.id.as_str())?;
        }
        hand_out(context, &store, &task, &token, &messages)?;
        Ok(CommandExit::Done)
    }
}
