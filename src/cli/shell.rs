//! `lanes completions` and `lanes man`: help for shells and readers.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::context::Context;
use crate::error::{EXIT_OK, Error, Result};

/// Print the completion script for a shell.
#[derive(Args, Debug)]
pub struct CompletionsCommand {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "lanes", &mut script);
        context.out.raw(&script)?;
        Ok(EXIT_OK)
    }
}

/// Print the manual page, or write a page for every command into DIR.
#[derive(Args, Debug)]
pub struct ManCommand {
    /// Where to write the pages; made if missing
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl ManCommand {
    pub(super) fn run(&self, context: &mut Context) -> Result<u8> {
        let mut command = Cli::command();
        command.build();
        let Some(directory) = &self.directory else {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(command).render(&mut page);
            rendered.map_err(|error| Error::io("write", "the manual page", error))?;
            context.out.raw(&page)?;
            return Ok(EXIT_OK);
        };
        let fail = |error| Error::io("write manual pages to", directory, error);
        std::fs::create_dir_all(directory).map_err(fail)?;
        clap_mangen::generate_to(command, directory).map_err(fail)?;
        Ok(EXIT_OK)
    }
}
