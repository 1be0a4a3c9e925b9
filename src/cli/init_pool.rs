//! `lanes init-pool`: creates one queue for a directory of projects.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::context::CommandContext;
use super::exit::CommandExit;
use super::inside_run;
use super::trust::trust_created_config;
use crate::error::{Result, printable};
use crate::model::task::object;
use crate::workspace::init_pool;

/// Set up one queue for a directory of projects.
///
/// The queue is in `.agent-lanes-queue/` in PATH, scripts that start dispatchers are in `dispatchers/`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes init-pool ~/src")]
pub(super) struct InitPoolCommand {
    /// Directory that holds the projects
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Name of the workspace [default: the name of the directory]
    #[arg(long, value_name = "NAME")]
    workspace_id: Option<String>,
}

impl InitPoolCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        context.refuse_queue("init-pool", "it makes a new queue in PATH")?;
        inside_run::refuse(context, "init-pool")?;
        let made = init_pool(&self.path, self.workspace_id.as_deref())?;
        if let Some(holder) = made.queue.parent() {
            trust_created_config(context, holder, &made.config);
        }
        if let Some(warning) = &made.warning {
            context.out.warn(warning);
        }
        let text = |path: &PathBuf| Value::from(path.to_string_lossy());
        if context.out.json {
            let dispatchers: Vec<Value> = made
                .dispatchers
                .iter()
                .map(|(vendor, path)| json!({"vendor": vendor, "wrapper": text(path)}))
                .collect();
            context.out.object(&object([
                ("status", "initialized".into()),
                ("workspace_id", made.workspace_id.clone().into()),
                ("queue", text(&made.queue)),
                ("config", text(&made.config)),
                ("store", text(&made.store)),
                ("dispatchers", dispatchers.into()),
                ("polling_prompt", text(&made.polling_prompt)),
            ]))?;
        } else {
            context.out.line(&printable(&made.queue.to_string_lossy()))?;
            for (vendor, path) in &made.dispatchers {
                let path = printable(&path.to_string_lossy());
                context.out.hint(&format!("next: {path} works on the queue with {vendor}"));
            }
            let prompt = printable(&made.polling_prompt.to_string_lossy());
            context.out.hint(&format!("or:   paste {prompt} into a chat that can run commands"));
        }
        Ok(CommandExit::Done)
    }
}
