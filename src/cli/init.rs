//! `lanes init`: creates a queue for one project.

use std::path::{Path, PathBuf};

use clap::Args;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::inside_run;
use super::trust::trust_created_config;
use crate::error::{Result, printable, shell_word};
use crate::model::task::object;
use crate::workspace::{InitOptions, init};

/// Set up a queue for one project: a `handoff/` directory in PATH.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes init\n  lanes init ~/src/project --workspace-id project")]
pub(super) struct InitCommand {
    /// Directory of the project
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// Name of the workspace [default: the name of the directory]
    #[arg(long, value_name = "NAME")]
    workspace_id: Option<String>,
    /// Directory of the workspace, relative to handoff/
    #[arg(long, value_name = "PATH", default_value = "..")]
    workspace_root: String,
    /// State directory, relative to handoff/
    #[arg(long, value_name = "PATH", default_value = "state")]
    queue_root: String,
}

impl InitCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        context.refuse_queue("init", "it makes a new queue; --queue-root says where")?;
        inside_run::refuse(context, "init")?;
        let wish = InitOptions {
            workspace_id: self.workspace_id.clone(),
            workspace_root: Some(self.workspace_root.clone()),
            queue_root: Some(self.queue_root.clone()),
        };
        let made = init(&self.path, wish)?;
        if let Some(holder) = made.handoff.parent() {
            trust_created_config(context, holder, &made.handoff.join("handoff.yaml"));
        }
        if let Some(warning) = &made.warning {
            context.out.warn(warning);
        }
        if context.out.json {
            context.out.object(&object([
                ("status", "initialized".into()),
                ("handoff", made.handoff.to_string_lossy().into()),
                ("workspace_id", made.workspace_id.into()),
                ("workspace_root", made.workspace_root.into()),
                ("queue_root", made.queue_root.into()),
                ("next_steps", made.next_steps.into()),
            ]))?;
        } else {
            context.out.line(&printable(&made.handoff.to_string_lossy()))?;
            if self.path != Path::new(".") {
                context.out.hint(&format!("next: cd {}", shell_word(&self.path.to_string_lossy())));
            }
            for step in &made.next_steps {
                context.out.hint(&format!("next: {}", printable(step)));
            }
        }
        Ok(CommandExit::Done)
    }
}
