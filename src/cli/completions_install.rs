//! `lanes completions --install`: where the completion of each shell belongs, and who owns that file.

use std::path::{Path, PathBuf};

use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
use crate::error::{Error, Result, printable};
use crate::model::task::object;
use crate::store::ForeignFile;
use crate::workspace::{SectionMarks, find_section, with_section, without_section};

/// The mode of a new file.
const NEW_MODE: u32 = 0o644;

/// The first line of a file that belongs to `--install` as a whole.
const OWN_FILE: &str =
    "# Written by `lanes completions --install`; `lanes completions --uninstall` removes it.\n";

/// The line after it in bash. The script comes from the program, so that both are of the same version.
const BASH_LINE: &str = "command -v lanes > /dev/null && source <(lanes completions bash)\n";

/// The line after it in fish.
const FISH_LINE: &str = "command -q lanes; and lanes completions fish | source\n";

/// Where bash-completion is, without which bash reads no files of single programs.
const BASH_COMPLETION: &str = "/usr/share/bash-completion/bash_completion";

/// The section of .zshrc. It works before and after the `compinit` of the user, and prints nothing without `lanes`.
const ZSH_SECTION: &str = "\
if (( $+commands[lanes] )); then
  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
  source <(lanes completions zsh)
fi
";

/// The marks around that section.
const MARKS: SectionMarks = SectionMarks {
    begin: "# lanes: begin. Written by `lanes completions --install`; `lanes completions zsh --uninstall` removes it.",
    begin_mark: "# lanes: begin",
    end: "# lanes: end",
};

/// What was done with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlaceChange {
    Installed,
    Updated,
    Removed,
    Unchanged,
}

impl PlaceChange {
    fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Updated => "updated",
            Self::Removed => "removed",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Where the completion of a shell belongs.
pub(super) struct CompletionsPlace {
    shell: String,
    path: PathBuf,
    /// Whether the file belongs to the user, who gets a marked section in it.
    is_shared: bool,
}

impl CompletionsPlace {
    /// Returns the place for a shell.
    ///
    /// # Errors
    /// `Invalid` for a shell without one, or when the home directory is not known.
    pub(super) fn of(shell: &str) -> Result<Self> {
        let homes = env::completion_homes();
        let homeless =
            || Error::invalid_here("HOME is not set to an absolute path").with_hint("set it, and try again");
        let (path, is_shared) = match shell {
            "bash" => (homes.bash.map(|dir| dir.join("completions/lanes")), false),
            "fish" => (homes.fish.map(|dir| dir.join("completions/lanes.fish")), false),
            "zsh" => (homes.zsh.map(|dir| dir.join(".zshrc")), true),
            other => {
                return Err(Error::invalid(format!(
                    "--install does not know where {} reads completions",
                    printable(other)
                ))
                .with_hint(format!("`lanes completions {}` prints the script", printable(other))));
            }
        };
        Ok(Self { shell: shell.to_string(), path: path.ok_or_else(homeless)?, is_shared })
    }

    /// Writes the file, or the section of the user's file.
    ///
    /// # Errors
    /// `Refused` when somebody else wrote the file; `Config` for marks that form no section; `Io`.
    pub(super) fn install(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let file = ForeignFile::read(&self.path)?;
        let old = file.text();
        let (new, had_one) = if self.is_shared {
            let text = old.unwrap_or_default();
            let has_section = find_section(&MARKS, text).map_err(|error| self.located(&error))?.is_some();
            (with_section(&MARKS, text, ZSH_SECTION).map_err(|error| self.located(&error))?, has_section)
        } else {
            self.check_is_own(old)?;
            let line = if self.shell == "fish" { FISH_LINE } else { BASH_LINE };
            (format!("{OWN_FILE}{line}"), old.is_some())
        };
        let change = match (old == Some(new.as_str()), had_one) {
            (true, _) => PlaceChange::Unchanged,
            (false, true) => PlaceChange::Updated,
            (false, false) => PlaceChange::Installed,
        };
        if change != PlaceChange::Unchanged {
            file.replace(&new, NEW_MODE)?;
        }
        self.report(context, change, true)
    }

    /// Removes what [`Self::install`] has written.
    ///
    /// # Errors
    /// As [`Self::install`].
    pub(super) fn uninstall(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let file = ForeignFile::read(&self.path)?;
        let Some(old) = file.text() else { return self.report(context, PlaceChange::Unchanged, false) };
        if !self.is_shared {
            self.check_is_own(Some(old))?;
            file.remove()?;
            return self.report(context, PlaceChange::Removed, false);
        }
        let new = without_section(&MARKS, old).map_err(|error| self.located(&error))?;
        if new == old {
            return self.report(context, PlaceChange::Unchanged, false);
        }
        // The file had nothing else in it.
        if new.is_empty() && file.link_target().is_none() {
            file.remove()?
        } else {
            file.replace(&new, NEW_MODE)?
        }
        self.report(context, PlaceChange::Removed, false)
    }

    /// Refuses a file that another program or a person has written.
    fn check_is_own(&self, text: Option<&str>) -> Result<()> {
        if text.is_none_or(|text| text.starts_with(OWN_FILE)) {
            return Ok(());
        }
        let path = printable(&self.path.to_string_lossy());
        Err(Error::refused(format!("{path} was not written by `lanes completions --install`"))
            .with_hint("move it away first"))
    }

    fn located(&self, error: &Error) -> Error {
        let hint = error.hint().unwrap_or_default().to_string();
        Error::config(format!("{}: {}", printable(&self.path.to_string_lossy()), error.message()))
            .with_hint(hint)
    }

    fn report(
        &self,
        context: &mut CommandContext,
        change: PlaceChange,
        is_install: bool,
    ) -> Result<CommandExit> {
        let (shell, path) = (&self.shell, printable(&self.path.to_string_lossy()));
        if is_install && shell == "bash" && !Path::new(BASH_COMPLETION).exists() {
            context.out.note(
                "lanes: bash reads that file once bash-completion is installed; \
                 without it, put `source <(lanes completions bash)` into ~/.bashrc",
            );
        }
        if context.out.json {
            context.out.object(&object([
                ("status", "ok".into()),
                ("shell", shell.clone().into()),
                ("change", change.as_str().into()),
                ("path", self.path.to_string_lossy().into()),
            ]))?;
            return Ok(CommandExit::Done);
        }
        let what = if self.is_shared { "the section for lanes in " } else { "" };
        context.out.line(&match (change, is_install) {
            (PlaceChange::Installed, _) => format!("installed: {what}{path}; new shells complete lanes, and `lanes completions {shell} --uninstall` removes it"),
            (PlaceChange::Updated, _) => format!("updated: {what}{path}; `lanes completions {shell} --uninstall` removes it"),
            (PlaceChange::Removed, _) => format!("removed: {what}{path}"),
            (PlaceChange::Unchanged, true) => format!("installed already: {what}{path}"),
            (PlaceChange::Unchanged, false) => format!("nothing to remove: --install has written nothing to {path}"),
        })?;
        Ok(CommandExit::Done)
    }
}
