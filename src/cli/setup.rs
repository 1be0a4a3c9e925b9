//! `lanes setup`: tells the agents of a project when and how to use `lanes`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::inside_run;
use crate::error::{Error, Result, printable};
use crate::model::task::object;
use crate::store::ForeignFile;
use crate::workspace::{SectionMarks, find_section, with_section, without_section};

/// The section for agents.
pub(super) const SECTION: &str = include_str!("../../templates/agents-section.md");
/// The files that agents read, in the order in which they are chosen; the first one is created if there is none.
const FILES: [&str; 2] = ["AGENTS.md", "CLAUDE.md"];
/// The mode of a new file.
const NEW_MODE: u32 = 0o644;

/// The marks around the section.
const MARKS: SectionMarks = SectionMarks {
    begin: "<!-- lanes: begin. Written by `lanes setup`; `lanes setup --remove` removes it. -->",
    begin_mark: "<!-- lanes: begin",
    end: "<!-- lanes: end -->",
};

/// Tell the agents of this project when and how to use lanes.
///
/// Writes a short section into AGENTS.md, or into CLAUDE.md if only that exists in the current directory. The
/// section stands between two marks; a second time, it is updated in place. Everything else in the file stays as it is.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  lanes setup
  lanes setup --print
  lanes setup --file CLAUDE.md
  lanes setup --remove")]
pub(super) struct SetupCommand {
    /// The file [default: AGENTS.md, or CLAUDE.md if only that exists]
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Print what would be written, and change nothing
    #[arg(long, conflicts_with = "remove")]
    print: bool,
    /// Remove what this command has written
    #[arg(long)]
    remove: bool,
}

/// What becomes of the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SectionChange {
    Added,
    Updated,
    Removed,
    Unchanged,
}

impl SectionChange {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Updated => "updated",
            Self::Removed => "removed",
            Self::Unchanged => "unchanged",
        }
    }
}

impl SetupCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        context.refuse_queue("setup", "it changes files of agents, whatever queue they use")?;
        if self.print {
            context.out.raw(with_section(&MARKS, "", SECTION)?.as_bytes())?;
            return Ok(CommandExit::Done);
        }
        inside_run::refuse(context, "setup")?;
        let file = self.open_file(context)?;
        let shown = printable(&file.path().to_string_lossy());
        let old = file.text().unwrap_or_default();
        let located = |error: Error| {
            let hint = error.hint().unwrap_or_default().to_string();
            Error::config(format!("{shown}: {}", error.message())).with_hint(hint)
        };
        let has_section = find_section(&MARKS, old).map_err(located)?.is_some();
        let new = match self.remove {
            true => without_section(&MARKS, old).map_err(located)?,
            false => with_section(&MARKS, old, SECTION).map_err(located)?,
        };
        let change = match (self.remove, has_section) {
            _ if new == old => SectionChange::Unchanged,
            (true, _) => SectionChange::Removed,
            (false, false) => SectionChange::Added,
            (false, true) => SectionChange::Updated,
        };
        match change {
            SectionChange::Unchanged => {}
            // The file had nothing else in it.
            SectionChange::Removed if new.is_empty() && file.link_target().is_none() => file.remove()?,
            _ => file.replace(&new, NEW_MODE)?,
        }
        self.report(context, &file, change)
    }

    /// Opens the file that is named, or the one that agents read here.
    fn open_file(&self, context: &CommandContext) -> Result<ForeignFile> {
        if let Some(path) = &self.file {
            return ForeignFile::read(&context.base.absolute(path)?);
        }
        let directory = context.base.directory()?;
        let exists = |name: &&str| directory.join(name).symlink_metadata().is_ok();
        let mut present: Vec<&str> = FILES.iter().copied().filter(|name| exists(name)).collect();
        if present.is_empty() {
            present.push(FILES[0]);
        }
        let mut files = Vec::new();
        for name in present {
            let file = ForeignFile::read(&directory.join(name))?;
            // A section that is already there is not written a second time into another file.
            if file.text().is_some_and(|text| !matches!(find_section(&MARKS, text), Ok(None))) {
                return Ok(file);
            }
            files.push(file);
        }
        Ok(files.swap_remove(0))
    }

    fn report(
        &self,
        context: &mut CommandContext,
        file: &ForeignFile,
        change: SectionChange,
    ) -> Result<CommandExit> {
        let path = printable(&file.path().to_string_lossy());
        if context.out.json {
            context.out.object(&object([
                ("status", "ok".into()),
                ("change", change.as_str().into()),
                ("path", file.path().to_string_lossy().into()),
                ("link_target", file.link_target().map(Path::to_string_lossy).into()),
            ]))?;
            return Ok(CommandExit::Done);
        }
        context.out.line(&match (change, self.remove) {
            (SectionChange::Added, _) => format!("added the section about lanes to {path}"),
            (SectionChange::Updated, _) => format!("updated the section about lanes in {path}"),
            (SectionChange::Removed, _) => format!("removed the section about lanes from {path}"),
            (SectionChange::Unchanged, false) => format!("{path} has the section about lanes already"),
            (SectionChange::Unchanged, true) => format!("{path} has no section about lanes"),
        })?;
        Ok(CommandExit::Done)
    }
}
