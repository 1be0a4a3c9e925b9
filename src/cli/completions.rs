//! `lanes completions`: prints the completion script of a shell, or installs it for the user.

use clap::{ArgGroup, Args};
use clap_complete::Shell;

use super::complete;
use super::completions_install::CompletionsPlace;
use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
use super::inside_run;
use crate::error::{Error, Result};

/// Print the completion script for a shell, or install it.
///
/// It completes commands, flags, files, and the lanes and task ids of the current queue. Packages bring the scripts
/// along; without a package, --install writes the file that bash-completion or fish reads, or a marked section of
/// .zshrc, and --uninstall removes that again.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").args(["shell", "install", "uninstall"]).required(true).multiple(true)))]
#[command(
    override_usage = "lanes completions <SHELL>\n       lanes completions --install [SHELL]\n       lanes completions --uninstall [SHELL]",
    after_help = "Examples:\n  lanes completions --install\n  lanes completions bash --uninstall\n  source <(lanes completions bash)\n  source <(lanes completions zsh)\n  lanes completions fish | source"
)]
pub(super) struct CompletionsCommand {
    /// Shell to complete in; with --install and --uninstall, that of $SHELL by default
    #[arg(value_enum)]
    shell: Option<Shell>,
    /// Install the completion for you: bash, zsh, fish
    #[arg(long)]
    install: bool,
    /// Remove what --install has written
    #[arg(long, conflicts_with = "install")]
    uninstall: bool,
}

impl CompletionsCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        context.refuse_queue("completions", "the script finds the queue where it is used")?;
        if !self.install && !self.uninstall {
            context.refuse_json("completions", "it prints a script; with --install, it prints JSON")?;
            let shell = self.shell.map(|shell| shell.to_string()).unwrap_or_default();
            context.out.raw(&complete::script(&shell)?)?;
            return Ok(CommandExit::Done);
        }
        let flag = if self.install { "completions --install" } else { "completions --uninstall" };
        inside_run::refuse(context, flag)?;
        let shell = match self.shell {
            Some(shell) => shell.to_string(),
            None => env::shell_name().ok_or_else(|| {
                Error::invalid("SHELL names no shell").with_hint("name yours: bash, zsh or fish")
            })?,
        };
        let place = CompletionsPlace::of(&shell)?;
        if self.install { place.install(context) } else { place.uninstall(context) }
    }
}
