//! `lanes man`: prints or writes the manual pages.

use std::io;
use std::path::PathBuf;

use clap::Args;
use clap::builder::Resettable;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::args::EXAMPLES_HEADING;
use super::context::CommandContext;
use super::exit::{CommandExit, EXIT_CODES};
use crate::error::{Error, Result};

/// Print the manual page, or write a page for every command into DIR.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes man ~/.local/share/man/man1")]
pub(super) struct ManCommand {
    /// Directory for the pages; created if missing
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl ManCommand {
    pub(super) fn run(
        &self,
        context: &mut CommandContext,
        command_line: clap::Command,
    ) -> Result<CommandExit> {
        context.refuse_json("man", "`lanes help COMMAND` has the same text")?;
        context.refuse_queue("man", "leave it out")?;
        // `lanes help COMMAND` would repeat the page of COMMAND.
        let mut command = command_line.disable_help_subcommand(true);
        command.build();
        let Some(directory) = &self.directory else {
            let page = page(&command).map_err(|error| Error::io("write", "the manual page", error))?;
            context.out.raw(&page)?;
            return Ok(CommandExit::Done);
        };
        let fail = |error| Error::io("write manual pages to", directory, error);
        std::fs::create_dir_all(directory).map_err(fail)?;
        let commands = command.get_subcommands();
        let with_theirs = commands.flat_map(|command| {
            // `lanes mcp help` repeats the page of `lanes mcp`.
            let inner = command.get_subcommands().filter(|inner| inner.get_name() != "help");
            std::iter::once(command).chain(inner)
        });
        for command in std::iter::once(&command).chain(with_theirs) {
            let name = command.get_display_name().unwrap_or_else(|| command.get_name());
            let page = page(command).map_err(fail)?;
            std::fs::write(directory.join(format!("{name}.1")), page).map_err(fail)?;
        }
        Ok(CommandExit::Done)
    }
}

/// Returns the manual page of one command.
fn page(command: &clap::Command) -> io::Result<Vec<u8>> {
    let version = env!("CARGO_PKG_VERSION");
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut page = Vec::new();
    Man::new(command.clone().after_help(Resettable::Reset).version(version))
        // Not empty: roff would take what follows for the date.
        .date(" ")
        .source(format!("lanes {version}"))
        .manual("lanes")
        .render(&mut page)?;
    let mut end = Roff::new();
    if let Some(examples) = examples.strip_prefix(EXAMPLES_HEADING) {
        end.control("SH", ["EXAMPLES"]).control("nf", []);
        for example in examples.trim_start_matches('\n').lines().take_while(|line| !line.is_empty()) {
            end.text([roman(example.trim_start())]);
        }
        end.control("fi", []);
    }
    end.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        end.control("TP", []).text([bold(code)]).text([roman(meaning)]);
    }
    if !command.has_subcommands() {
        end.control("SH", ["SEE ALSO"]).text([bold("lanes"), roman("(1)")]);
    }
    page.extend(end.to_roff().into_bytes());
    Ok(page)
}
