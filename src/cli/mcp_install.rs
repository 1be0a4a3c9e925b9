//! `lanes mcp install`: registers the server with a client.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
use super::inside_run;
use super::mcp_budget::session_budget;
use super::mcp_server_args::McpServerArgs;
use crate::error::{Error, Result, printable};
use crate::mcp::registration::{
    ClientApp, RegistrationChange, RegistrationPlace, RegistrationPlan, RegistrationScope, ServerEntry,
    plan_install, plan_removal,
};
use crate::mcp::tools_to_approve;
use crate::model::task::object;

/// Register the server with a client.
///
/// Uses the client's own command if it is on PATH and can write the whole entry; otherwise edits the
/// client's settings file, leaving the rest of it as it is. Running it again changes nothing.
///
/// With `--scope user`, the server finds the workspace of the directory in which the client runs, and otherwise uses a
/// queue of your own. With `--scope project`, and wherever --config or --store is given, the entry names the workspace.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  lanes mcp install --client claude
  lanes mcp install --client codex --approve --print
  lanes mcp install --client opencode --scope project
  lanes mcp install --client gemini --remove")]
pub(super) struct McpInstallCommand {
    /// The client
    #[arg(long, value_enum)]
    client: ClientArg,
    /// Scope of the registration: everywhere for you, or in the current directory for everybody
    #[arg(long, value_enum, default_value_t = ScopeArg::User)]
    scope: ScopeArg,
    #[command(flatten)]
    server: McpServerArgs,
    /// Let codex run without asking the tools that it refuses where nobody can be asked, such as `delegate`
    #[arg(long)]
    approve: bool,
    /// Print what would be written, and change nothing
    #[arg(long)]
    print: bool,
    /// Remove what this command has written
    #[arg(long, conflicts_with_all = ["tools", "user", "prompts", "max_wait", "budget", "allow_rights", "verbose", "no_dispatch", "attached", "idle_exit", "approve"])]
    remove: bool,
}

/// The values of `--client`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ClientArg {
    Claude,
    Codex,
    Gemini,
    Opencode,
    Cursor,
}

/// The values of `--scope`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScopeArg {
    User,
    Project,
}

impl McpInstallCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        if !self.print {
            inside_run::refuse(context, "mcp install")?;
        }
        let place = self.place(context)?;
        let program = own_program()?;
        let plan = match self.remove {
            true => plan_removal(place, &program)?,
            false => plan_install(place, &self.entry(context, program)?)?,
        };
        if !self.print {
            plan.apply()?;
        }
        self.report(context, &plan)?;
        Ok(CommandExit::Done)
    }

    fn place(&self, context: &CommandContext) -> Result<RegistrationPlace> {
        Ok(RegistrationPlace {
            client: self.client(),
            scope: self.scope(),
            homes: env::client_homes(),
            directory: context.base.directory()?.to_path_buf(),
            search_path: env::search_path(),
        })
    }

    fn client(&self) -> ClientApp {
        match self.client {
            ClientArg::Claude => ClientApp::Claude,
            ClientArg::Codex => ClientApp::Codex,
            ClientArg::Gemini => ClientApp::Gemini,
            ClientArg::Opencode => ClientApp::Opencode,
            ClientArg::Cursor => ClientApp::Cursor,
        }
    }

    fn scope(&self) -> RegistrationScope {
        match self.scope {
            ScopeArg::User => RegistrationScope::User,
            ScopeArg::Project => RegistrationScope::Project,
        }
    }

    /// Returns the command line of the server.
    fn entry(&self, context: &CommandContext, program: String) -> Result<ServerEntry> {
        let tools = self.server.tool_sets()?;
        if self.approve && self.client() != ClientApp::Codex {
            return Err(Error::invalid(
                "--approve is for codex: other clients have their own rules for tools",
            ));
        }
        let (mut arguments, needs_own_queue) = self.workspace(context)?;
        arguments.push("mcp".to_string());
        if needs_own_queue {
            arguments.push("--user".to_string());
        }
        if !self.server.tools.is_empty() {
            arguments.extend(["--tools".to_string(), self.server.tools.join(",")]);
        }
        if self.server.prompts {
            arguments.push("--prompts".to_string());
        }
        if let Some(seconds) = self.server.max_wait_seconds()? {
            arguments.extend(["--max-wait".to_string(), seconds.to_string()]);
        }
        if let Some(dollars) = self.server.budget {
            session_budget(dollars)?;
            arguments.extend(["--budget".to_string(), dollars.to_string()]);
        }
        if self.server.allow_rights {
            arguments.push("--allow-rights".to_string());
        }
        if self.server.verbose {
            arguments.push("--verbose".to_string());
        }
        if self.server.no_dispatch {
            arguments.push("--no-dispatch".to_string());
        }
        if self.server.attached {
            arguments.push("--attached".to_string());
        }
        if let Some(span) = self.server.idle_exit {
            arguments.extend(["--idle-exit".to_string(), span.as_secs_f64().to_string()]);
        }
        let approved_tools = if self.approve { tools_to_approve(&tools)? } else { Vec::new() };
        Ok(ServerEntry { program, arguments, variables: env::variables_of_server(), approved_tools })
    }

    /// Returns the arguments that name the workspace, and whether a queue of the user is needed where there is none.
    fn workspace(&self, context: &CommandContext) -> Result<(Vec<String>, bool)> {
        let (config, store) = context.explicit_paths();
        let mut arguments = Vec::new();
        if config.is_none() && store.is_none() {
            if self.server.user || self.scope() == RegistrationScope::User {
                return Ok((arguments, true));
            }
            let found = context.config()?;
            let found = found.path().ok_or_else(|| Error::config("the workspace has no file"))?;
            return Ok((vec!["--config".to_string(), utf8(found.to_path_buf())?], false));
        }
        if let Some(config) = config {
            // A typing error must be reported now, not later by the client.
            context.config()?;
            arguments.extend(["--config".to_string(), utf8(context.base.absolute(&config)?)?]);
        }
        if let Some(store) = store {
            arguments.extend(["--store".to_string(), utf8(context.base.absolute(&store)?)?]);
        }
        Ok((arguments, self.server.user))
    }

    fn report(&self, context: &mut CommandContext, plan: &RegistrationPlan) -> Result<()> {
        let (client, path) = (self.client().as_str(), show(plan.path()));
        let commands = plan.shell_lines();
        if context.out.json {
            let print = self.print && !self.remove;
            return context.out.object(&object([
                ("status", if self.print { "dry_run" } else { "ok" }.into()),
                ("change", plan.change.as_str().into()),
                ("client", client.into()),
                ("scope", self.scope().as_str().into()),
                ("path", plan.path().to_string_lossy().into()),
                ("link_target", plan.link_target().map(Path::to_string_lossy).into()),
                ("commands", commands.into()),
                ("entry", print.then(|| plan.entry_text()).into()),
            ]));
        }
        if self.print && plan.change != RegistrationChange::Unchanged {
            return self.print_plan(context, plan, &commands);
        }
        context.out.line(&match (plan.change, self.remove) {
            (RegistrationChange::Added, _) => format!("registered with {client} in {path}"),
            (RegistrationChange::Updated, _) => format!("changed the registration with {client} in {path}"),
            (RegistrationChange::Removed, _) => format!("removed the registration with {client} from {path}"),
            (RegistrationChange::Unchanged, false) => format!("already registered with {client} in {path}"),
            (RegistrationChange::Unchanged, true) => format!("not registered with {client} in {path}"),
        })?;
        if let Some(target) = plan.link_target().filter(|_| plan.change != RegistrationChange::Unchanged) {
            context.out.note(&format!("lanes: {path} is a link to {}, which was changed", show(target)));
        }
        if plan.change == RegistrationChange::Added {
            self.note_permissions(context);
        }
        Ok(())
    }

    fn print_plan(
        &self,
        context: &mut CommandContext,
        plan: &RegistrationPlan,
        commands: &[String],
    ) -> Result<()> {
        let path = show(plan.path());
        if let Some(target) = plan.link_target() {
            context.out.note(&format!("lanes: {path} is a link to {}, which would be changed", show(target)));
        }
        if !commands.is_empty() {
            return commands.iter().try_for_each(|line| context.out.line(line));
        }
        if self.remove {
            return context.out.line(&format!("would remove the entry lanes from {path}"));
        }
        context.out.line(&format!("{path}:"))?;
        plan.entry_text().lines().try_for_each(|line| context.out.line(line))
    }

    /// Names the setting with which tools run without asking.
    fn note_permissions(&self, context: &CommandContext) {
        match self.client() {
            ClientApp::Claude => context.out.note(
                "lanes: \"permissions\": {\"allow\": [\"mcp__lanes\"]} in claude's settings lets all tools run without asking",
            ),
            ClientApp::Codex if !self.approve => context.out.note(
                "lanes: codex refuses `delegate` and `cancel` where nobody can be asked; --approve allows them",
            ),
            _ => {}
        }
    }
}

/// Returns the absolute path of this program.
///
/// # Errors
/// `Config` when it has been removed or is not UTF-8; `Io`.
fn own_program() -> Result<String> {
    let program = std::env::current_exe().map_err(|error| Error::io("find", "this program", error))?;
    if !program.exists() {
        return Err(Error::config("this program was replaced while it was running").with_hint("try again"));
    }
    utf8(program)
}

fn utf8(path: PathBuf) -> Result<String> {
    path.into_os_string().into_string().map_err(|path| {
        Error::config(format!("{} is not UTF-8, which settings must be", show(Path::new(&path))))
    })
}

fn show(path: &Path) -> String {
    printable(&path.to_string_lossy())
}
